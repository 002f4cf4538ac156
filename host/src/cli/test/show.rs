//! Owns how results look: for people on a terminal, and as JSON.

use std::io::IsTerminal as _;

use serde_json::{Value, json};

use super::suite::{Ran, Suite};
use crate::{
    cases::{Difference, Edit, Side},
    cli::{
        print::{self, Styled},
        terminal::{self, out, out_lines},
    },
};

/// Empties the screen, where there is one.
pub(in crate::cli) fn clear() {
    if std::io::stdout().is_terminal() {
        // The screen, what was scrolled away, and the cursor to the top.
        terminal::raw(b"\x1b[2J\x1b[3J\x1b[H");
    }
}

/// A line for each case, and what is not as expected.
pub(in crate::cli) fn suite(suite: &Suite) {
    // All were filtered out.
    if suite.cases.is_empty() && suite.error.is_none() {
        return;
    }
    out!("{}", print::handler(&suite.handler));
    if let Some(error) = &suite.error {
        out_lines!(4, "  {} {}", print::bad("✗"), indented(error, "    "));
    }
    let width = suite.cases.iter().map(|ran| ran.name.chars().count()).max();
    for ran in &suite.cases {
        case(ran, width.unwrap_or(0));
    }
}

fn case(ran: &Ran, width: usize) {
    let mark = if ran.passed() {
        print::good("✓")
    } else {
        print::bad("✗")
    };
    let took = ran.took().map(print::duration).unwrap_or_default();
    let updated = if ran.updated { "  updated" } else { "" };
    let name = &ran.name;
    out!(
        "  {mark} {name:width$}  {}{updated}",
        Styled(print::DIM, &took)
    );
    if ran.passed() {
        return;
    }
    if let Some(description) = &ran.description {
        out!("      {description}");
    }
    match &ran.result {
        // The message begins with the path.
        Err(broken) => out_lines!(6, "      {}", indented(&broken.message, "      ")),
        Ok(verdict) => {
            out!("      {}", Styled(print::DIM, ran.path.display()));
            verdict.differences.iter().for_each(difference);
        }
    }
}

fn difference(difference: &Difference) {
    let summary = indented(&difference.summary, "        ");
    out_lines!(
        8,
        "      {}: {summary}",
        Styled(print::BOLD, difference.key)
    );
    if !difference.diff.is_empty() {
        out!(
            "        {}   {}",
            print::good("- expected"),
            print::bad("+ found")
        );
    }
    for edit in &difference.diff {
        line(edit);
    }
    for note in &difference.notes {
        out!("        {}", Styled(print::DIM, note));
    }
}

fn line(edit: &Edit) {
    let text = format!("{} {}", edit.mark(), edit.text);
    match edit.side {
        Side::Expected => out!("        {}", print::good(text)),
        Side::Found => out!("        {}", print::bad(text)),
        Side::Both | Side::Skipped => out!("        {}", Styled(print::DIM, text)),
    }
}

fn indented(text: &str, indent: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{indent}"))
}

/// The last line.
pub(in crate::cli) fn summary(suites: &[Suite]) {
    let (passed, failed) = count(suites);
    let stuck = suites.iter().filter(|suite| suite.error.is_some()).count();
    let updated = suites.iter().flat_map(|suite| &suite.cases);
    let cases = if passed == 1 { "case" } else { "cases" };
    let mut text = format!("{passed} {cases} passed");
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    match updated.filter(|ran| ran.updated).count() {
        0 => {}
        updated => text += &format!(", {updated} updated"),
    }
    match stuck {
        0 => {}
        1 => text += "; 1 handler could not be tested",
        stuck => text += &format!("; {stuck} handlers could not be tested"),
    }
    let text = Styled(print::BOLD, text);
    match (failed, stuck) {
        (0, 0) => out!("{}", print::good(text)),
        _ => out!("{}", print::bad(text)),
    }
}

fn count(suites: &[Suite]) -> (usize, usize) {
    let all = suites.iter().flat_map(|suite| &suite.cases);
    let (passed, failed): (Vec<_>, Vec<_>) = all.partition(|ran| ran.passed());
    (passed.len(), failed.len())
}

/// The results as one document.
pub(super) fn json(suites: &[Suite]) -> Value {
    let (passed, failed) = count(suites);
    let handlers: Vec<_> = suites
        .iter()
        .map(|suite| {
            let cases: Vec<_> = suite.cases.iter().map(case_json).collect();
            match &suite.error {
                None => json!({ "handler": suite.handler, "cases": cases }),
                Some(error) => json!({ "handler": suite.handler, "error": error, "cases": [] }),
            }
        })
        .collect();
    json!({ "passed": passed, "failed": failed, "handlers": handlers })
}

fn case_json(ran: &Ran) -> Value {
    let mut case = json!({
        "case": ran.name,
        "path": ran.path.display().to_string(),
        "description": ran.description,
        "passed": ran.passed(),
        "updated": ran.updated,
    });
    match &ran.result {
        Err(broken) => case["error"] = json!(broken.message),
        Ok(verdict) => {
            let outcome = &verdict.outcome;
            case["status"] = json!(outcome.status());
            match &outcome.result {
                Ok(output) => case["output"] = json!(output),
                Err(failure) => case["failure"] = json!(failure),
            }
            case["logs"] = json!(outcome.logs.lines);
            case["spent"] = json!(outcome.spent);
            let differences = verdict.differences.iter().map(|difference| {
                let diff = difference.diff.iter();
                let diff = diff.map(|edit| format!("{} {}", edit.mark(), edit.text));
                json!({
                    "key": difference.key,
                    "summary": difference.summary,
                    "diff": diff.collect::<Vec<_>>(),
                    "notes": difference.notes,
                })
            });
            case["differences"] = differences.collect();
        }
    }
    case
}
