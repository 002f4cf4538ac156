//! `pointsman rules`: two versions of the rules, held against real commands.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use serde_json::json;

use super::{Exit, input, print, terminal::out};
use crate::{
    command::Command,
    files, reload,
    rules::{MAX_FILE_BYTES, RuleFile, RuleSet},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, clap::Subcommand)]
enum Cmd {
    /// Show which commands would be routed differently
    Diff(Diff),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  git worktree add /tmp/old main
  pointsman rules diff /tmp/old/rules rules --commands commands.jsonl

Exit codes: 0 no differences, 1 some commands are routed differently, 2 invalid
rules or commands.")]
struct Diff {
    /// Rule file or folder: the old version
    old: PathBuf,
    /// Rule file or folder: the new version
    new: PathBuf,
    /// Commands, one JSON object per line; `-` to read standard input
    #[arg(long, value_name = "FILE.jsonl")]
    commands: PathBuf,
    /// Print one line of JSON per command that is routed differently
    #[arg(long)]
    json: bool,
}

/// The longest line of commands.
const LINE_MAX_BYTES: u64 = 64 << 20;

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Cmd::Diff(diff) = &args.command;
    let (old, new) = (load(&diff.old)?, load(&diff.new)?);
    let path = diff.commands.display();
    let mut commands = open(&diff.commands)?;
    let (mut all, mut moved) = (0_u64, 0_u64);
    for number in 1_u64.. {
        let at = || format!("{path}:{number}");
        let mut line = Vec::new();
        let limited = &mut (&mut commands).take(LINE_MAX_BYTES);
        if limited.read_until(b'\n', &mut line).with_context(at)? == 0 {
            break;
        }
        if line.len() as u64 == LINE_MAX_BYTES {
            anyhow::bail!("{}: the line has more than {LINE_MAX_BYTES} bytes", at());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let command = Command::parse(&line).with_context(at)?;
        let line = command.attributes();
        let route = |rules: &RuleSet| -> anyhow::Result<BTreeSet<String>> {
            let matches = rules.route(&command).with_context(at)?;
            Ok(matches
                .into_iter()
                .map(|matched| matched.handler.to_string())
                .collect())
        };
        let (before, after) = (route(&old)?, route(&new)?);
        all += 1;
        if before == after {
            continue;
        }
        moved += 1;
        if diff.json {
            out!("{}", json!({ "line": number, "old": before, "new": after }));
            continue;
        }
        out!("{} {}", print::Styled(print::BOLD, at()), line.trim());
        before
            .difference(&after)
            .for_each(|handler| out!("  {}", print::bad(format!("- {handler}"))));
        after
            .difference(&before)
            .for_each(|handler| out!("  {}", print::good(format!("+ {handler}"))));
    }
    if !diff.json {
        out!("{moved} of {all} commands are routed differently");
    }
    Ok(if moved > 0 {
        Exit::Failed
    } else {
        Exit::Succeeded
    })
}

fn open(commands: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if commands == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = files::apart_blocking(commands, files::open)
        .map_err(|error| input::unreadable(commands, &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn load(path: &Path) -> anyhow::Result<RuleSet> {
    let paths = match path.is_dir() {
        true => reload::Listing::of(path)
            .with_context(|| path.display().to_string())?
            .files(&reload::RULE_ENDINGS),
        false => vec![path.to_owned()],
    };
    let mut files = Vec::new();
    for path in paths {
        let display = path.display().to_string();
        let bytes = files::read(&path, MAX_FILE_BYTES as u64)
            .with_context(|| format!("{display}: cannot be read"))?;
        files.push(Arc::new(RuleFile::parse(&display, &bytes)?));
    }
    Ok(RuleSet::build(files)?)
}
