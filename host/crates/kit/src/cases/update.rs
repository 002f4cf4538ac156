//! Owns the writing of expectations: into the file, where the rest stays as it
//! is, to the last space.

use std::{fs, io::Write as _, path::Path};

use pointsman_core::{
    json::{self, Node, NodeValue},
    outcome::{LogLine, Outcome, Status},
};

use super::{
    Case, CaseError, Difference, Verdict,
    file::{self, Members},
    requests,
};

/// The longest line that is written where it can be broken.
const WIDTH: usize = 100;

/// Writes what the call of `case` came to into its file, as far as it is not as
/// expected, databases, state and follow-up commands included; where the file has no
/// `expect`, all of it but rows, for which it names no queries. A pattern is left as
/// it is: it says what a person means. So is the file of a call that the host
/// did not let begin, or whose requests are not as expected: what it came to says
/// nothing yet. Says whether it wrote.
///
/// # Errors
/// [`CaseError`], if the file cannot be read or written.
pub fn update(case: &Case, verdict: &Verdict) -> Result<bool, CaseError> {
    let (path, outcome) = (&case.path, &verdict.outcome);
    let unexpected = |difference: &Difference| difference.key == requests::KEY;
    if !Status::ENDS.contains(&outcome.status()) || verdict.differences.iter().any(unexpected) {
        return Ok(false);
    }
    let text = file::text(path)?;
    let places = file::places(path, &text)?;
    let new = match &places.expect {
        None => {
            let mut members = all(outcome);
            for (key, json) in verdict.found.members(&case.after) {
                members.push((key.into(), json));
            }
            let expect = object(&members, 1, Some("  \"expect\": ".len()));
            format!(
                "{},\n  \"expect\": {expect}{}",
                &text[..places.end],
                &text[places.end..]
            )
        }
        Some((range, old)) => {
            let members = corrected(old, case, verdict);
            if members == *old {
                return Ok(false);
            }
            let was_one_line = !text[range.clone()].contains('\n');
            let column = was_one_line.then(|| column(&text, range.start));
            let expect = object(&members, 1, column);
            format!("{}{expect}{}", &text[..range.start], &text[range.end..])
        }
    };
    write(path, &new)?;
    Ok(true)
}

fn member(key: &str, json: impl Into<serde_json::Value>) -> (String, String) {
    (key.into(), json.into().to_string())
}

/// All that can be expected of a call that ends like this one.
fn all(outcome: &Outcome) -> Members {
    let status = outcome.status();
    let mut members = answer(outcome);
    // What is so without being said is not said.
    if status != Status::Succeeded {
        members.insert(0, member("status", status.as_str()));
    }
    if !outcome.logs.lines.is_empty() {
        members.push(logs(outcome));
    }
    members
}

/// The answer, or why there is none.
fn answer(outcome: &Outcome) -> Members {
    match &outcome.result {
        Ok(output) => {
            let output = output.as_ref().map_or("null", |output| output.get());
            vec![("output".into(), output.into())]
        }
        Err(failure) => {
            let message = member("message", failure.message.as_str());
            let after = failure.retry_after.map(|after| after.as_millis());
            let after = after.map(|after| ("retry_after_ms".into(), after.to_string()));
            [message].into_iter().chain(after).collect()
        }
    }
}

fn logs(outcome: &Outcome) -> (String, String) {
    let line = |line: &LogLine| serde_json::json!({ "level": line.level.as_str(), "message": line.message });
    let lines: Vec<_> = outcome.logs.lines.iter().map(line).collect();
    member("logs", lines)
}

/// What can be expected whatever the answer is.
const BESIDE_THE_ANSWER: [&str; 5] = ["status", "logs", "sql", "state", "emitted"];

/// The members with those replaced that are not as they should be.
fn corrected(members: &Members, case: &Case, verdict: &Verdict) -> Members {
    let outcome = &verdict.outcome;
    let wrong = |key: &str| {
        let mut differences = verdict.differences.iter();
        differences.any(|difference| difference.key == key)
    };
    let mut corrected = members.clone();
    let mut put =
        |(key, json): (String, String)| match corrected.iter_mut().find(|(known, _)| *known == key)
        {
            Some((_, text)) => *text = json,
            None => corrected.push((key, json)),
        };
    if wrong("status") {
        put(member("status", outcome.status().as_str()));
        // What belongs to the other end goes; this one has an answer of its own.
        answer(outcome).into_iter().for_each(&mut put);
    }
    for key in ["output", "message", "retry_after_ms"] {
        if wrong(key) {
            answer(outcome)
                .into_iter()
                .filter(|(known, _)| known == key)
                .for_each(&mut put);
        }
    }
    if wrong("logs") {
        put(logs(outcome));
    }
    for (key, json) in verdict.found.members(&case.after) {
        if wrong(key) {
            put((key.into(), json));
        }
    }
    if wrong("status") {
        let kept = answer(outcome);
        corrected.retain(|(key, _)| {
            BESIDE_THE_ANSWER.contains(&key.as_str()) || kept.iter().any(|(known, _)| known == key)
        });
    }
    corrected
}

/// An object: in one line if it is to begin at a `column` and fits from there,
/// else one member a line, indented by `depth` steps and one more.
fn object(members: &Members, depth: usize, column: Option<usize>) -> String {
    let shown: Vec<_> = members
        .iter()
        .map(|(key, json)| {
            let key = serde_json::Value::from(key.as_str());
            (format!("{key}: "), json)
        })
        .collect();
    let one_line: Vec<_> = shown
        .iter()
        .map(|(key, json)| format!("{key}{}", in_one_line(json)))
        .collect();
    let one_line = format!("{{ {} }}", one_line.join(", "));
    if members.is_empty() {
        return "{}".into();
    }
    let fits = |column| column + one_line.len() <= WIDTH && !one_line.contains('\n');
    if column.is_some_and(fits) {
        return one_line;
    }
    let indent = "  ".repeat(depth + 1);
    let lines: Vec<_> = shown
        .iter()
        .map(|(key, json)| {
            let value = value(json, depth + 1, indent.len() + key.len());
            format!("{indent}{key}{value}")
        })
        .collect();
    format!("{{\n{}\n{}}}", lines.join(",\n"), "  ".repeat(depth))
}

/// A JSON text as this file writes it. What was broken by hand stays so.
pub(super) fn value(json: &str, depth: usize, column: usize) -> String {
    if json.contains('\n') {
        return json.into();
    }
    let one_line = in_one_line(json);
    if column + one_line.len() <= WIDTH {
        return one_line;
    }
    let Ok(node) = json::parse(json) else {
        return json.into();
    };
    let text = |node: &Node<'_>| json[node.at..node.end].to_owned();
    match &node.value {
        NodeValue::Object(members) => {
            let members = members.iter();
            let members = members.map(|member| (member.key.to_string(), text(&member.value)));
            object(&members.collect(), depth, Some(column))
        }
        NodeValue::Array(items) if !items.is_empty() => {
            let indent = "  ".repeat(depth + 1);
            let items: Vec<_> = items
                .iter()
                .map(|item| {
                    let value = value(&text(item), depth + 1, indent.len());
                    format!("{indent}{value}")
                })
                .collect();
            format!("[\n{}\n{}]", items.join(",\n"), "  ".repeat(depth))
        }
        _ => json.into(),
    }
}

/// `{ "a": [1, 2] }`, numbers and order as they are. What has several lines
/// keeps them.
fn in_one_line(json: &str) -> String {
    let node = match json::parse(json) {
        Ok(node) if !json.contains('\n') => node,
        _ => return json.into(),
    };
    let text = |node: &Node<'_>| in_one_line(&json[node.at..node.end]);
    match &node.value {
        NodeValue::Object(members) if !members.is_empty() => {
            let members = members.iter().map(|member| {
                let key = serde_json::Value::from(&*member.key);
                format!("{key}: {}", text(&member.value))
            });
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        NodeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        _ => json.into(),
    }
}

/// Characters before `at` in its line.
fn column(text: &str, at: usize) -> usize {
    let before = text[..at].rsplit('\n').next().unwrap_or_default();
    before.chars().count()
}

/// Writes the file of a case, if that can be read again.
///
/// # Errors
/// [`CaseError`]; then the file is as it was.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CaseError> {
    file::check_size(path, text)?;
    file::places(path, text)?;
    replace(path, text).map_err(|cause| CaseError::Io {
        path: path.into(),
        cause,
    })
}

/// A reader sees the old file or the new one, never a half.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report; the temporary may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    written
}
