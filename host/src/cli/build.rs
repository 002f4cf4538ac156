//! `pointsman build`: source folders in, components in the plugins folder out.

use std::path::{Path, PathBuf};

use anstream::eprintln;

use super::{Exit, print};
use crate::build;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman build                       all sources below plugins/
  pointsman build plugins/create-policy
  pointsman build ../my-handler --plugins plugins")]
pub(super) struct Args {
    /// Source folders [default: all below the plugins folder]
    dirs: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, plugins: &Path) -> anyhow::Result<Exit> {
    if args.dirs.is_empty() {
        return all(plugins);
    }
    Ok(each(&args.dirs, plugins))
}

/// Builds and installs every source below `plugins`.
pub(super) fn all(plugins: &Path) -> anyhow::Result<Exit> {
    let sources = build::sources(plugins)?;
    if sources.is_empty() {
        eprintln!(
            "nothing to build: no handler's source below {}",
            plugins.display()
        );
    }
    Ok(each(&sources, plugins))
}

/// One that does not build does not keep the others from it.
fn each(dirs: &[PathBuf], plugins: &Path) -> Exit {
    let mut exit = Exit::Succeeded;
    for dir in dirs {
        let say = |line: &str| eprintln!("{line}");
        let installed = build::build(dir, &say).and_then(|built| {
            let path = build::install(&built, plugins)?;
            Ok((path, built))
        });
        match installed {
            Ok((path, built)) => eprintln!(
                "built {} ({})",
                print::Styled(print::BOLD, path.display()),
                print::bytes(built.bytes.len() as u64)
            ),
            Err(error) => {
                print::error(&error.into());
                exit = Exit::Failed;
            }
        }
    }
    exit
}
