//! `pointsman build`: source folders in, components in the plugins folder out.

use std::path::{Path, PathBuf};

use super::{Exit, print, screen, terminal::err};
use crate::build;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds run code of the source and its packages, such as build scripts, outside the
sandbox: build only what you trust. npm install scripts are disabled. Of the
environment, the tools see only paths and network settings, not for example
RUSTFLAGS or NODE_ENV.

Examples:
  pointsman build                       build all handlers in plugins/
  pointsman build plugins/create-policy
  pointsman build ../my-handler --plugins plugins")]
pub(super) struct Args {
    /// Source folders [default: all in the plugins folder]
    dirs: Vec<PathBuf>,
    /// Do not use the network; missing tools and dependencies are errors
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(args: &Args, plugins: &Path) -> anyhow::Result<Exit> {
    let options = build::BuildOptions {
        offline: args.offline,
        ..build::BuildOptions::default()
    };
    if args.dirs.is_empty() {
        return all(plugins, &options);
    }
    Ok(each(&args.dirs, plugins, &options))
}

/// Builds and installs every source below `plugins`.
pub(super) fn all(plugins: &Path, options: &build::BuildOptions) -> anyhow::Result<Exit> {
    let sources = build::sources(plugins)?;
    if sources.is_empty() {
        err!(
            "nothing to build: found no handler source in {}",
            plugins.display()
        );
    }
    Ok(each(&sources, plugins, options))
}

/// One that does not build does not keep the others from it.
fn each(dirs: &[PathBuf], plugins: &Path, options: &build::BuildOptions) -> Exit {
    let mut exit = Exit::Succeeded;
    for dir in dirs {
        let say = |line: &str| err!("{line}");
        let progress = screen::progress(format_args!("building {}", dir.display()));
        let installed = build::build(dir, options, &say).and_then(|built| {
            let path = build::install(&built.component, plugins, &built.about.name)?;
            Ok((path, built))
        });
        drop(progress);
        match installed {
            Ok((path, built)) => err!(
                "built {} ({})",
                print::Styled(print::BOLD, path.display()),
                print::bytes(built.component.len() as u64)
            ),
            Err(error) => {
                print::error(&error.into());
                exit = Exit::Failed;
            }
        }
    }
    exit
}
