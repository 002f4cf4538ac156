//! `pointsman new`: creates a handler from a template.

use std::path::PathBuf;

use super::{Exit, completions, print, terminal::out};
use crate::{
    build::Language,
    name::HandlerName,
    new::{self, NewRule},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman new greet --lang rust
  pointsman new greet --lang python --in plugins")]
pub(super) struct Args {
    /// Name of the handler, for example create-policy
    #[arg(value_parser = HandlerName::parse)]
    name: HandlerName,
    /// Language of the template
    #[arg(long, value_name = "rust|ts|js|python|c", add = completions::languages())]
    lang: Language,
    /// Folder in which to create it
    #[arg(long, value_name = "DIR", default_value = ".")]
    r#in: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let folder = new::create(&args.r#in, &args.name, args.lang, NewRule::Beside)?;
    let folder = folder.strip_prefix(".").unwrap_or(&folder);
    out!("created {}", print::Styled(print::BOLD, folder.display()));
    let rule = print::argument(&folder.join("rule.json"));
    let folder = print::argument(folder);
    let name = &args.name;
    out!("  test it on every change:  pointsman dev {folder}");
    out!("  route commands to it:     cp {rule} rules/{name}.json");
    let request_type = new::request_type(name);
    out!(
        "  run a command:            pointsman run '{{\"requestType\":\"{request_type}\",\"name\":\"Ada\"}}'"
    );
    Ok(Exit::Succeeded)
}
