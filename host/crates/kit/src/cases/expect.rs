//! Owns what a case expects, and what is not as expected in an outcome.

use std::{fmt, sync::Arc};

use pointsman_core::{
    command::Command,
    decimal::Decimal,
    json::{self, Node, NodeValue},
    outcome::{Level, LogLine, Outcome, Status},
};
use pointsman_rules::{Pattern, RuleFile, RuleSet};

use super::diff::{Edit, diff};

/// Lines of a diff that are shown.
const LINES_MAX: usize = 100;

/// What a call must come to. What is not said here may be as it likes.
#[derive(Clone, Debug)]
pub struct Expect {
    /// How the call ends.
    pub status: Status,
    /// The answer.
    pub output: Option<ExpectedOutput>,
    /// A part of the error's message.
    pub message: Option<String>,
    /// When an unavailable handler wants to be asked again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// All lines that the handler writes, in order.
    pub logs: Option<Vec<ExpectedLine>>,
}

/// The answer that a case expects.
#[derive(Clone, Debug)]
pub enum ExpectedOutput {
    /// This JSON text, whatever the order of its keys.
    Exact(String),
    /// An object that this pattern matches.
    Matches {
        /// As it stands in the file.
        text: String,
        /// As it is read.
        pattern: Box<Pattern>,
    },
}

/// A line that a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedLine {
    /// A part of the line, which may have any level.
    Part(String),
    /// The line.
    Whole {
        /// Its level.
        level: Level,
        /// Its text.
        message: String,
    },
}

/// One thing that is not as expected.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The key below `expect`, or `requests`.
    pub key: &'static str,
    /// What was expected and what was found, in one line.
    pub summary: String,
    /// Both line by line, where they have several.
    pub diff: Vec<Edit>,
    /// What may explain it: the stack of a trap, the lines of the handler.
    pub notes: Vec<String>,
}

impl Difference {
    pub(super) fn new(key: &'static str, summary: String) -> Self {
        Self {
            key,
            summary,
            diff: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.summary)?;
        for edit in &self.diff {
            write!(f, "\n{} {}", edit.mark(), edit.text)?;
        }
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

impl Expect {
    /// What is not as expected.
    pub(super) fn compare(&self, outcome: &Outcome) -> Vec<Difference> {
        let mut differences = Vec::new();
        let status = outcome.status();
        if status != self.status {
            let mut summary = format!(
                "expected `{}`, found `{}`",
                self.status.as_str(),
                status.as_str()
            );
            let mut notes = Vec::new();
            match &outcome.result {
                Ok(None) => {}
                Ok(Some(output)) => summary += &format!(" with the output {output}"),
                Err(failure) => {
                    summary += &format!(": {}", failure.message);
                    let frames = failure.backtrace.iter();
                    notes.extend(frames.map(|frame| format!("at {frame}")));
                }
            }
            // Not said twice where the lines are compared below.
            if self.logs.is_none() {
                notes.extend(outcome.logs.lines.iter().map(shown));
            }
            differences.push(Difference {
                notes,
                ..Difference::new("status", summary)
            });
        }
        match &outcome.result {
            // Of another end, the status has said what it is.
            _ if status != self.status => {}
            Ok(output) => {
                let found = output.as_ref().map_or("null", |output| output.get());
                let expected = self.output.as_ref();
                differences.extend(expected.and_then(|expected| expected.compare(found)));
            }
            Err(failure) => {
                if let Some(message) = &self.message
                    && !failure.message.contains(message)
                {
                    let found = &failure.message;
                    let summary = format!("expected a part `{message}`, found `{found}`");
                    differences.push(Difference::new("message", summary));
                }
                let found = failure.retry_after.map(|after| after.as_millis());
                if let Some(expected) = self.retry_after_ms
                    && found != Some(expected.into())
                {
                    let found = found.map_or_else(|| "none".into(), |found| found.to_string());
                    let summary = format!("expected {expected}, found {found}");
                    differences.push(Difference::new("retry_after_ms", summary));
                }
            }
        }
        differences.extend(self.logs.as_ref().and_then(|logs| lines(logs, outcome)));
        differences
    }
}

impl ExpectedOutput {
    fn compare(&self, found: &str) -> Option<Difference> {
        match self {
            Self::Exact(expected) => {
                let (expected, found) = (canonical(expected), canonical(found));
                (expected != found).then(|| {
                    let mut difference = Difference::new("output", "is not as expected".to_owned());
                    difference.diff = diff(&expected, &found, |e, f| e == f);
                    difference.cut()
                })
            }
            Self::Matches { text, pattern } => {
                // An output is JSON as strict as a command's, though of any kind.
                let reasons = match Command::parse(found) {
                    Err(_) => vec!["only an object can match".into()],
                    Ok(output) => match pattern.matches(&output) {
                        Ok(true) => return None,
                        Ok(false) => reasons(text, &output),
                        Err(error) => vec![error.to_string()],
                    },
                };
                let summary = format!("{found} does not match");
                Some(Difference {
                    notes: reasons,
                    ..Difference::new("output_matches", summary)
                })
            }
        }
    }
}

impl Difference {
    /// Shows no more lines than a person reads.
    pub(super) fn cut(mut self) -> Self {
        let more = self.diff.len().saturating_sub(LINES_MAX);
        self.diff.truncate(LINES_MAX);
        if more > 0 {
            self.notes.push(format!("… {more} more lines"));
        }
        self
    }
}

/// Which fields keep an output from matching: what a rule with this pattern
/// would say of such a command.
fn reasons(pattern: &str, output: &Command) -> Vec<String> {
    let rule =
        format!(r#"{{"rules":[{{"name":"expect","match":{pattern},"handlers":["handler"]}}]}}"#);
    let rules = RuleFile::parse("case.json", rule.as_bytes())
        .and_then(|file| RuleSet::build([Arc::new(file)]));
    let Some(miss) = rules.ok().and_then(|rules| rules.nearest_miss(output)) else {
        return vec![format!("the pattern is {pattern}")];
    };
    let clauses = miss.failed.iter().map(ToString::to_string);
    clauses.chain(miss.reason).collect()
}

fn lines(expected: &[ExpectedLine], outcome: &Outcome) -> Option<Difference> {
    let found = &outcome.logs.lines;
    let fits = |(expected, line): (&ExpectedLine, &LogLine)| expected.fits(line);
    let all_fit = expected.len() == found.len() && expected.iter().zip(found).all(fits);
    if all_fit {
        return None;
    }
    let expected: Vec<_> = expected.iter().map(Shown::expected).collect();
    let found: Vec<_> = found.iter().map(|line| Shown(shown(line), line)).collect();
    let mut difference = Difference::new("logs", "differ".into());
    difference.diff = diff(&expected, &found, |expected, found| {
        expected.1.fits(found.1)
    });
    Some(difference.cut())
}

impl ExpectedLine {
    fn fits(&self, line: &LogLine) -> bool {
        match self {
            Self::Part(part) => line.message.contains(part),
            Self::Whole { level, message } => *level == line.level && *message == line.message,
        }
    }
}

/// A line as a diff shows it, and what it is.
struct Shown<'a, T>(String, &'a T);

impl<T> AsRef<str> for Shown<'_, T> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a> Shown<'a, ExpectedLine> {
    fn expected(line: &'a ExpectedLine) -> Self {
        let text = match line {
            ExpectedLine::Part(part) => format!("…{part}…"),
            ExpectedLine::Whole { level, message } => format!("{:5} {message}", level.as_str()),
        };
        Self(text, line)
    }
}

fn shown(line: &LogLine) -> String {
    format!("{:5} {}", line.level.as_str(), line.message)
}

/// JSON text, a line for each value, keys in order and numbers spelled alike.
pub(super) fn canonical(json: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    match json::parse(json) {
        Ok(node) => write(&node, 0, &mut lines),
        // The host has let it pass as JSON; nesting beyond our reader's limit remains.
        Err(_) => lines = vec![json.into()],
    }
    lines
}

fn write(node: &Node<'_>, depth: usize, lines: &mut Vec<String>) {
    let last = |lines: &mut Vec<String>, text: &str| {
        lines
            .last_mut()
            .expect("there is always one")
            .push_str(text);
    };
    let line = |lines: &mut Vec<String>, depth: usize| lines.push("  ".repeat(depth));
    match &node.value {
        NodeValue::Number(text) => last(lines, &Decimal::parse(text).to_string()),
        NodeValue::Array(items) if !items.is_empty() => {
            last(lines, "[");
            for (at, item) in items.iter().enumerate() {
                line(lines, depth + 1);
                write(item, depth + 1, lines);
                if at + 1 < items.len() {
                    last(lines, ",");
                }
            }
            line(lines, depth);
            last(lines, "]");
        }
        NodeValue::Object(members) if !members.is_empty() => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.key.cmp(&b.key));
            last(lines, "{");
            for (at, member) in members.iter().enumerate() {
                line(lines, depth + 1);
                let key = serde_json::Value::from(&*member.key);
                last(lines, &format!("{key}: "));
                write(&member.value, depth + 1, lines);
                if at + 1 < members.len() {
                    last(lines, ",");
                }
            }
            line(lines, depth);
            last(lines, "}");
        }
        _ => {
            let mut text = String::new();
            node.write(&mut text);
            last(lines, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_equal_whatever_the_order_of_keys_and_the_spelling_of_numbers() {
        let same = |a: &str, b: &str| assert_eq!(canonical(a), canonical(b));
        same(r#"{"a":1,"b":[1.50]}"#, r#"{ "b": [15e-1], "a": 1.0 }"#);
        same(r#""\u0041""#, r#""A""#);
        let other = |a: &str, b: &str| assert_ne!(canonical(a), canonical(b));
        other("[1,2]", "[2,1]");
        other("9007199254740993", "9007199254740992");
        other("[]", "{}");
        other("null", "\"null\"");
        // Lines of a list must not look like those of another.
        other(r#"["a,"]"#, r#"["a",""]"#);
    }

    #[test]
    fn a_pattern_that_does_not_match_names_the_field() {
        let text = r#"{"policy":["created"],"risk":["low"]}"#;
        let expected = ExpectedOutput::Matches {
            text: text.into(),
            pattern: Box::new(Pattern::parse(text).unwrap()),
        };
        assert!(
            expected
                .compare(r#"{"policy":"created","risk":"low"}"#)
                .is_none()
        );
        let difference = expected.compare(r#"{"policy":"default"}"#).unwrap();
        expect_test::expect![[r#"
            output_matches: {"policy":"default"} does not match
              `policy` is "default", expected "created"
              `risk` is absent, expected "low""#]]
        .assert_eq(&difference.to_string());
        let difference = expected.compare("[]").unwrap();
        assert!(difference.to_string().ends_with("only an object can match"));
    }
}
