//! `pointsman new`: a new handler from a template.

use std::path::PathBuf;

use super::{Exit, print, terminal::out};
use crate::{build::Language, name::HandlerName, new};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman new greet --lang rust
  pointsman new greet --lang python --in plugins")]
pub(super) struct Args {
    /// Name of the handler, for example create-policy
    #[arg(value_parser = HandlerName::parse)]
    name: HandlerName,
    /// Language: rust, ts, js, python or c
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// Folder in which to create it
    #[arg(long, value_name = "DIR", default_value = ".")]
    r#in: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let folder = new::create(&args.r#in, &args.name, args.lang)?;
    let folder = folder.display();
    out!("created {}", print::Styled(print::BOLD, &folder));
    let name = &args.name;
    out!("  test it on every change:  pointsman dev {folder}");
    out!("  route commands to it:     cp {folder}/rule.json rules/{name}.json");
    Ok(Exit::Succeeded)
}
