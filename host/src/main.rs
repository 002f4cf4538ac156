//! The `pointsman` program: parses, runs one subcommand, maps to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pointsman::cli::main()
}
