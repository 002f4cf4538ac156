//! `pointsman explain`: why each rule did or did not match a command.

use super::{
    Exit, input, print, screen,
    terminal::{self, out},
    warn_of,
};
use crate::{
    command::Command,
    config::Config,
    host::Unloaded,
    reload::Wait,
    rules::{ClauseReport, Explanation},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pointsman explain '{\"requestType\":\"CreatePolicy\",\"productType\":\"HighRisk\"}'

Exit codes: 0 a handler matched, 2 invalid command, 3 no handler matched.")]
pub(super) struct Args {
    /// Command as JSON, `-` to read standard input, `@FILE` to read a file
    command: String,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, config: Config) -> anyhow::Result<Exit> {
    let command = Command::parse(input::command(
        &args.command,
        config.host.command_max_bytes,
    )?)?;
    // Rules alone decide where a command goes: no need to wait for components to compile.
    let progress = screen::progress("loading handlers and rules");
    let host = Unloaded::new(config)?.load(Wait::WhileLoading).await;
    drop(progress);
    let snapshot = host.snapshot();
    let explanation = host.dispatcher().explain(command).await?;
    if args.json {
        terminal::json(&explanation)?;
    } else {
        warn_of(&snapshot.problems);
        show(&explanation);
    }
    Ok(match explanation.matches.is_empty() {
        true => Exit::NoMatch,
        false => Exit::Succeeded,
    })
}

fn show(explanation: &Explanation) {
    match explanation.matches.as_slice() {
        [] => out!("{}", print::Styled(print::BOLD, "no handler matches")),
        matches => {
            let handlers: Vec<_> = matches
                .iter()
                .map(|matched| format!("`{}`", matched.handler))
                .collect();
            out!(
                "{}",
                print::Styled(
                    print::BOLD,
                    format_args!("routed to {}", handlers.join(", "))
                )
            );
        }
    }
    for fired in &explanation.fired {
        let handlers: Vec<_> = fired.handlers.iter().map(ToString::to_string).collect();
        let place = place(&fired.file, fired.line);
        out!(
            "{} {}  {place}  → {}",
            print::good("✓ fired"),
            fired.rule,
            handlers.join(", ")
        );
        fired.clauses.iter().for_each(clause);
    }
    for overruled in &explanation.overruled {
        let why = if overruled.fallback {
            "a fallback, and"
        } else {
            "outranked:"
        };
        out!(
            "{} {}  {}  {why} `{}` fired in group `{}`",
            print::soso("~ overruled"),
            overruled.rule,
            place(&overruled.file, overruled.line),
            overruled.by,
            overruled.group
        );
    }
    for miss in &explanation.misses {
        out!(
            "{} {}  {}",
            print::bad("✗ missed"),
            miss.rule,
            place(&miss.file, miss.line)
        );
        miss.failed.iter().for_each(clause);
        if let Some(reason) = &miss.reason {
            out!("    {reason}");
        }
    }
    if explanation.more > 0 {
        out!("and {} more matching rules", explanation.more);
    }
    if explanation.incomplete {
        out!("incomplete: evaluating all rules for this command takes too many steps");
    }
}

fn clause(clause: &ClauseReport) {
    out!("    {clause}");
}

fn place(file: &str, line: u32) -> print::Styled<String> {
    print::Styled(print::DIM, format!("{file}:{line}"))
}
