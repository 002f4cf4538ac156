//! Owns the results as JUnit XML, as CI systems read it.

use std::io;

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::suite::{Ran, Suite};
use crate::text::{escaped, escaped_lines};

/// One suite a handler, one case a case; a case that could not be run is an error.
pub(super) fn document(suites: &[Suite]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .with_attribute(("name", "pointsman"))
        .write_inner_content(|writer| suites.iter().try_for_each(|one| suite(writer, one)))?;
    let mut xml = writer.into_inner();
    xml.push(b'\n');
    Ok(xml)
}

type Xml = Writer<Vec<u8>>;

fn suite(writer: &mut Xml, suite: &Suite) -> io::Result<()> {
    let count = |is: &dyn Fn(&Ran) -> bool| suite.cases.iter().filter(|ran| is(ran)).count();
    let failures = count(&|ran| ran.result.is_ok() && !ran.passed());
    let errors = count(&|ran| ran.result.is_err());
    let seconds = suite
        .cases
        .iter()
        .filter_map(Ran::took)
        .sum::<std::time::Duration>();
    // A handler that could not be tested must not look like one without failures.
    let stuck = usize::from(suite.error.is_some());
    writer
        .create_element("testsuite")
        .with_attributes([
            ("name", clean(&suite.handler).as_str()),
            ("tests", &(suite.cases.len() + stuck).to_string()),
            ("failures", &failures.to_string()),
            ("errors", &(errors + stuck).to_string()),
            ("time", &format!("{:.6}", seconds.as_secs_f64())),
        ])
        .write_inner_content(|writer| {
            if let Some(error) = &suite.error {
                writer
                    .create_element("testcase")
                    .with_attributes([
                        ("classname", clean(&suite.handler).as_str()),
                        ("name", "load"),
                    ])
                    .write_inner_content(|writer| problem(writer, "error", "handler", error))?;
            }
            suite
                .cases
                .iter()
                .try_for_each(|ran| case(writer, &suite.handler, ran))
        })?;
    Ok(())
}

fn case(writer: &mut Xml, handler: &str, ran: &Ran) -> io::Result<()> {
    let seconds = ran.took().unwrap_or_default().as_secs_f64();
    let element = writer.create_element("testcase").with_attributes([
        ("classname", clean(handler).as_str()),
        ("name", &clean(&ran.name)),
        ("file", &clean(&ran.path.display().to_string())),
        ("time", &format!("{seconds:.6}")),
    ]);
    element.write_inner_content(|writer| {
        let verdict = match &ran.result {
            Ok(verdict) => verdict,
            Err(broken) => return problem(writer, "error", "case", &broken.message),
        };
        for difference in &verdict.differences {
            problem(writer, "failure", difference.key, &difference.to_string())?;
        }
        let lines = verdict.outcome.logs.lines.iter();
        let lines: Vec<_> = lines
            .map(|line| format!("{:5} {}", line.level.as_str(), escaped(&line.message)))
            .collect();
        if !lines.is_empty() {
            writer
                .create_element("system-out")
                .write_text_content(BytesText::new(&clean_lines(&lines.join("\n"))))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn problem(writer: &mut Xml, element: &str, kind: &str, text: &str) -> io::Result<()> {
    let text = clean_lines(text);
    let message = text.lines().next().unwrap_or_default();
    writer
        .create_element(element)
        .with_attributes([("type", kind), ("message", message)])
        .write_text_content(BytesText::new(&text))?;
    Ok(())
}

/// A text for an attribute: on one line.
fn clean(text: &str) -> String {
    allowed(&escaped(text).to_string())
}

/// A text of several lines.
fn clean_lines(text: &str) -> String {
    allowed(&escaped_lines(text).to_string())
}

/// Without the characters that no XML may hold, escaped or not.
fn allowed(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars()
        .map(|c| if allowed(c) { c } else { '\u{fffd}' })
        .collect()
}
