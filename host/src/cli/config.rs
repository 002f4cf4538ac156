//! `pointsman config`: the settings in force, and where each comes from.

use std::path::Path;

use serde_json::json;

use super::{
    Exit, print,
    terminal::{self, err, out},
};
use crate::{
    config::{Config, FILE_MAX_BYTES, Setting},
    files::read_text,
    reload::{Listing, parse_settings},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, clap::Subcommand)]
enum Cmd {
    /// Show every setting, its value and where it comes from
    #[command(after_help = "\
The output is valid TOML. URLs with credentials are hidden.

Examples:
  pointsman config show
  POINTSMAN_LIMITS_TIMEOUT=5s pointsman config show --changed")]
    Show {
        /// Only settings that are not the default
        #[arg(long)]
        changed: bool,
        /// Print the settings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the settings of the host and of each handler
    #[command(after_help = "\
Exit codes: 0 all settings are valid, 1 settings of a handler are not, 2 settings of
the host are not.")]
    Check,
}

pub(super) fn run(args: &Args, config: &Config, settings: &[Setting]) -> anyhow::Result<Exit> {
    match args.command {
        Cmd::Show { changed, json } => {
            let is_shown = |setting: &&Setting| !changed || !setting.is_default();
            let settings: Vec<_> = settings.iter().filter(is_shown).collect();
            if json {
                terminal::json(&json!({ "settings": settings }))?;
            } else {
                show(&settings);
            }
            Ok(Exit::Succeeded)
        }
        Cmd::Check => check(config, settings),
    }
}

fn show(settings: &[&Setting]) {
    let line = |setting: &Setting| format!("{} = {}", setting.key, setting.value);
    let lines: Vec<_> = settings.iter().map(|setting| line(setting)).collect();
    let width = lines.iter().map(String::len).max().unwrap_or(0);
    for (setting, line) in settings.iter().zip(&lines) {
        let comment = format!("# {}", setting.source);
        match setting.is_default() {
            true => out!("{line:width$}  {}", print::Styled(print::DIM, comment)),
            false => out!("{line:width$}  {comment}"),
        }
    }
}

/// The host's own settings are valid, or there would be no `config`.
fn check(config: &Config, settings: &[Setting]) -> anyhow::Result<Exit> {
    let changed = settings.iter().filter(|setting| !setting.is_default());
    out!(
        "{} the host: {}",
        print::good("✓"),
        print::counted(changed.count(), "setting")
    );
    let mut exit = Exit::Succeeded;
    if !config.plugins.is_dir() {
        return Ok(exit);
    }
    for path in Listing::of(&config.plugins)?.files(&["toml"]) {
        match check_handler(&path, config) {
            Ok(()) => out!("{} {}", print::good("✓"), path.display()),
            Err(error) => {
                print::error(&error);
                exit = Exit::Failed;
            }
        }
        if !path.with_extension("wasm").is_file() {
            err!(
                "warning: {}: there is no component {}",
                path.display(),
                path.with_extension("wasm").display()
            );
        }
    }
    Ok(exit)
}

fn check_handler(path: &Path, config: &Config) -> anyhow::Result<()> {
    let text = read_text(path, FILE_MAX_BYTES)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    parse_settings(path, &text, config)?;
    Ok(())
}
