//! `pointsman new`: the source folder of a new handler.

use std::path::PathBuf;

use super::{Exit, print, terminal::out};
use crate::{build::Language, name::HandlerName, new};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman new greet --lang rust
  pointsman new greet --lang python --in plugins")]
pub(super) struct Args {
    /// The handler's name, such as create-policy
    #[arg(value_parser = HandlerName::parse)]
    name: HandlerName,
    /// The language: rust, ts, js, python or c
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder that the new one goes into
    #[arg(long, value_name = "DIR", default_value = ".")]
    r#in: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let folder = new::create(&args.r#in, &args.name, args.lang)?;
    let folder = folder.display();
    out!("wrote {}", print::Styled(print::BOLD, &folder));
    out!(
        "next: pointsman build {folder}, and its rule: cp {folder}/rule.json rules/{}.json",
        args.name
    );
    Ok(Exit::Succeeded)
}
