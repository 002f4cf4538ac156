//! Owns what the lists have in common: fields to choose a handler and a time, and
//! the way from page to page.

use std::fmt::Display;

use maud::{Markup, html};

use super::parts::{Query, Text, exact};
use crate::{
    http::{
        parameters::{Parameters, not},
        problem::Problem,
    },
    name::HandlerName,
    queue::Timestamp,
};

/// A span of time; an end that is not set is open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Range {
    /// From the parameters `from` and `until`, as [`range`] and links write them.
    pub(super) fn take(parameters: &mut Parameters) -> Result<Self, Problem> {
        let mut end = |name: &str| {
            let text: Option<String> = parameters.take(name)?;
            text.map(|text| instant(name, &text)).transpose()
        };
        Ok(Self {
            from: end("from")?,
            until: end("until")?,
        })
    }
}

/// RFC 3339, or without a zone as browsers send it, in UTC.
pub(super) fn instant(name: &str, text: &str) -> Result<Timestamp, Problem> {
    let in_utc = || format!("{text}Z").parse::<jiff::Timestamp>();
    match text.parse().or_else(|_: jiff::Error| in_utc()) {
        Ok(time) => Ok(Timestamp::from_millis(time.as_millisecond())),
        Err(_) => Err(not(text, name, "a time, such as 2026-11-25T08:00 in UTC")),
    }
}

/// Fields for a [`Range`] of what happened at `what`.
pub(super) fn range(range: &Range, what: &str) -> Markup {
    // Without the zone, which the field has not.
    let value = |at: Option<Timestamp>| at.map(|at| exact(at).trim_end_matches('Z').to_owned());
    html! {
        label { span { (what) " from (UTC)" } input name="from" type="datetime-local" step="any" value=[value(range.from)]; }
        label { span { "until (UTC)" } input name="until" type="datetime-local" step="any" value=[value(range.until)]; }
    }
}

/// A field for a handler: those that are known are offered, and others may be written.
pub(super) fn handler(chosen: Option<&HandlerName>, known: &[HandlerName]) -> Markup {
    html! {
        label {
            span { "Handler" }
            input name="handler" list="handler-names" value=[chosen.map(Text)] autocomplete="off" spellcheck="false";
            datalist id="handler-names" { @for name in known { option value=(Text(name)) {} } }
        }
    }
}

/// To the first page, and to the one behind this.
pub(super) fn pages(
    path: &str,
    query: &Query,
    is_later: bool,
    next: Option<impl Display>,
) -> Markup {
    html! {
        @if is_later || next.is_some() {
            nav class="pages" aria-label="Pages of the list" {
                @if is_later { a class="button" href=(query.link(path)) rel="first" { "Newest" } }
                @if let Some(next) = next {
                    a class="button" href=(query.clone().with("after", Some(next)).link(path)) rel="next" { "Older" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_browsers_and_links_write_it() {
        let read = |text| instant("from", text).ok().map(exact);
        for text in [
            "2026-11-25T08:00",
            "2026-11-25T08:00:00.000",
            "2026-11-25T09:00:00+01:00",
        ] {
            assert_eq!(
                read(text).as_deref(),
                Some("2026-11-25T08:00:00.000Z"),
                "{text}"
            );
        }
        for text in ["yesterday", "2026-11-25", "08:00", "2026-11-25T08:00ZZ"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
