//! Owns what the program says of itself and of a command line that it does not
//! understand: its version, and the subcommand that was probably meant.

use std::sync::LazyLock;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;
use crate::name::nearest;

/// The sandbox's release, as it is in `Cargo.lock`.
const WASMTIME: &str = "48.0.8";

/// What `--version` shows behind the name. `build.rs` says which commit a release is of.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("BUILD_COMMIT").filter(|commit| !commit.is_empty());
        let commit = commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
        format!(
            "{} (wasmtime {WASMTIME}{commit})",
            env!("CARGO_PKG_VERSION")
        )
    });
    &VERSION
}

/// Leaves the one subcommand that is nearest to what was given: clap names all
/// that share some letters, such as `dev` for `serv`.
pub(super) fn suggest_one(error: &mut clap::Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let command = Cli::command();
    let names = command.get_subcommands();
    let names = names.filter(|command| !command.is_hide_set());
    let near = nearest(given, names.map(clap::Command::get_name)).map(str::to_owned);
    match near {
        Some(near) => {
            let near = ContextValue::Strings(vec![near]);
            error.insert(ContextKind::SuggestedSubcommand, near);
        }
        None => {
            error.remove(ContextKind::SuggestedSubcommand);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_version_of_the_sandbox_is_the_one_that_is_built() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let built = format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n");
        assert!(lock.contains(&built), "set it to the version in Cargo.lock");
        assert!(version().contains(WASMTIME));
    }

    #[test]
    fn the_nearest_subcommand_alone_is_suggested() {
        let shown = |given: &str| {
            let mut error = Cli::try_parse_from(["pointsman", given]).unwrap_err();
            suggest_one(&mut error);
            error.to_string()
        };
        let serve = shown("serv");
        assert!(serve.contains("'serve'"), "{serve}");
        assert!(!serve.contains("'dev'"), "{serve}");
        let nothing = shown("zzzzzz");
        assert!(!nothing.contains("tip"), "{nothing}");
    }
}
