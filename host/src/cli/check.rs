//! `pointsman check`: the rules against the loaded handlers, or single
//! components against the contract, before a host does it.

use std::{collections::HashSet, path::PathBuf};

use serde_json::json;

use super::{
    Exit, check_files, print, screen,
    terminal::{self, out, out_lines},
};
use crate::{config::Config, diagnostic::Severity, host::Host, rules::Finding};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without files: loads all handlers and rules, runs the tests in the rule files, and
reports rules that name an unknown handler, can never match or are shadowed by
another rule, and fields that no test covers.

With files: loads each component as a server would and shows its contract version,
metadata, imports and the grants that it may need, or each difference from the
contract.

Exit codes: 0 no problems, 1 errors (with --strict also warnings), 2 file not found.

Examples:
  pointsman check
  pointsman check plugins/create-policy.wasm")]
pub(super) struct Args {
    /// Components to check instead of the rules
    #[arg(value_name = "FILE.wasm")]
    files: Vec<PathBuf>,
    /// Treat warnings as errors
    #[arg(long, conflicts_with = "files")]
    strict: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, config: Config) -> anyhow::Result<Exit> {
    if !args.files.is_empty() {
        return check_files::run(&args.files, args.json, &config);
    }
    let progress = screen::progress("loading handlers and rules");
    let host = Host::load(config).await?;
    drop(progress);
    let snapshot = host.snapshot();
    let handlers: Vec<_> = snapshot.handlers.keys().cloned().collect();
    let findings = snapshot.rules.lint(&handlers);
    // The snapshot says by itself, as a problem, what the lint says of unknown handlers.
    let found: HashSet<_> = findings.iter().map(subject).collect();
    let problems: Vec<_> = snapshot
        .problems
        .iter()
        .filter(|problem| {
            let line = problem.location().and_then(|location| location.line);
            !found.contains(&(problem.code(), problem.path(), line))
        })
        .collect();
    let severities = problems.iter().map(|problem| problem.severity());
    let severities = severities.chain(findings.iter().map(|finding| finding.severity));
    let errors = severities
        .filter(|severity| *severity == Severity::Error)
        .count();
    let warnings = problems.len() + findings.len() - errors;
    if args.json {
        let document = json!({ "errors": errors, "warnings": warnings, "problems": problems, "findings": findings });
        terminal::json(&document)?;
    } else {
        for problem in problems {
            out_lines!(2, "{} {problem}", print::severity(problem.severity()));
        }
        for finding in &findings {
            out_lines!(2, "{} {finding}", print::severity(finding.severity));
        }
        out!(
            "{}",
            print::Styled(
                print::BOLD,
                format_args!(
                    "checked {} in {} against {}: {}, {}",
                    print::counted(snapshot.rules.len(), "rule"),
                    print::counted(snapshot.rule_files.len(), "file"),
                    print::counted(handlers.len(), "handler"),
                    print::counted(errors, "error"),
                    print::counted(warnings, "warning")
                )
            )
        );
    }
    let failed = errors > 0 || (args.strict && warnings > 0);
    Ok(if failed {
        Exit::Failed
    } else {
        Exit::Succeeded
    })
}

/// What a finding is about: a problem about the same says nothing more.
fn subject(finding: &Finding) -> (&str, &str, Option<u32>) {
    (finding.code, &finding.file, Some(finding.line))
}
