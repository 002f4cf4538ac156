//! Owns the pieces that the pages are made of: foreign text, states, times, JSON,
//! lists without entries.

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use maud::{Escaper, Markup, Render, html};

use crate::{
    diagnostic::{Diagnostic, Severity},
    queue::{Clock, State, SystemClock, Timestamp},
    text::{EscapingWriter, cut, escaped_json, escaped_lines},
};

/// Text of handlers, clients, rules or components, on one line: safe as HTML, and
/// without characters that hide or reorder what is around them.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Render for Text<T> {
    fn render_to(&self, html: &mut String) {
        // Writing to a `String` cannot fail.
        let _ = write!(EscapingWriter(Escaper::new(html)), "{}", self.0);
    }
}

/// The same with its line breaks.
pub(super) struct Lines<'a>(pub(super) &'a str);

impl Render for Lines<'_> {
    fn render_to(&self, html: &mut String) {
        let _ = write!(Escaper::new(html), "{}", escaped_lines(self.0));
    }
}

/// The time on the server's clock.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// How long ago it was, or how long it is until then; the exact time on hover.
pub(super) fn time(at: Timestamp) -> Markup {
    let exact = exact(at);
    html! {
        time datetime=(exact) title=(exact) data-at=(at.as_millis()) { (relative(at, now())) }
    }
}

/// RFC 3339 in UTC; milliseconds where that has no year for it.
pub(super) fn exact(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{} ms", at.as_millis()),
    }
}

fn relative(at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        match now.since(at) {
            ago if ago < Duration::from_secs(1) => "just now".into(),
            ago => format!("{} ago", rough(ago)),
        }
    } else {
        format!("in {}", rough(at.since(now)))
    }
}

/// The largest unit alone, as the script of the pages writes it.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Three digits that matter: `1.00 s`, `12.3 ms`, `2 min 5 s`.
pub(super) fn duration(duration: Duration) -> String {
    let (seconds, whole) = (duration.as_secs_f64(), duration.as_secs());
    match whole {
        0 if duration.is_zero() => "0 s".into(),
        0 if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        0 if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        0 => format!("{:.0} ms", seconds * 1e3),
        1..60 => format!("{seconds:.2} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// `71.2 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (mut size, mut unit) = (bytes as f64 / 1_024.0, 0);
    while size >= 1_024.0 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 delivery`, `2 deliveries`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// How something stands: its colour, beside a word and a shape that say the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Calm,
    Warn,
    Bad,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Calm => "calm",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A word with the shape and colour of how things stand.
pub(super) fn badge(tone: Tone, shape: Shape, word: impl Display) -> Markup {
    html! {
        span class={ "badge " (tone.class()) } { (shape) span { (Text(word)) } }
    }
}

/// The state of a delivery.
pub(super) fn state(state: State) -> Markup {
    let (tone, shape) = match state {
        State::Completed => (Tone::Good, Shape::Tick),
        State::Running => (Tone::Busy, Shape::Play),
        State::Available => (Tone::Calm, Shape::Ring),
        State::Scheduled => (Tone::Calm, Shape::Clock),
        State::Retryable => (Tone::Warn, Shape::Again),
        State::Discarded => (Tone::Bad, Shape::Cross),
        State::Cancelled => (Tone::Calm, Shape::Slash),
    };
    badge(tone, shape, word(state))
}

/// What people call a state.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Available => "waiting",
        State::Running => "running",
        State::Retryable => "retrying",
        State::Scheduled => "scheduled",
        State::Completed => "completed",
        State::Discarded => "dead-lettered",
        State::Cancelled => "cancelled",
    }
}

/// A sign of 16 by 16 in the colour of its text.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Tick,
    Cross,
    Play,
    Ring,
    Clock,
    Again,
    Slash,
    Bang,
    Pause,
}

impl Render for Shape {
    fn render(&self) -> Markup {
        let path = match self {
            Self::Tick => "M3 8.5l3.5 3.5L13 4.5",
            Self::Cross => "M4 4l8 8M12 4l-8 8",
            Self::Play => "M5 3.5v9l7-4.5z",
            Self::Ring => "M8 3a5 5 0 100 10A5 5 0 008 3z",
            Self::Clock => "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM8 5v3.2l2 1.6",
            Self::Again => "M12.5 6A5 5 0 103 9.5M12.8 2.8V6H9.6",
            Self::Slash => "M8 3a5 5 0 100 10A5 5 0 008 3zM4.5 11.5l7-7",
            Self::Pause => "M5.5 3.5v9M10.5 3.5v9",
            Self::Bang => "M8 2.5L14.5 13.5h-13zM8 7v3M8 11.7v.3",
        };
        html! {
            svg class="shape" viewBox="0 0 16 16" aria-hidden="true" { path d=(path) {} }
        }
    }
}

/// Something to fix.
pub(super) fn diagnostic(found: &Diagnostic) -> Markup {
    let (tone, word) = match found.severity() {
        Severity::Error => (Tone::Bad, "error"),
        Severity::Warning => (Tone::Warn, "warning"),
    };
    html! {
        li class="diagnostic" {
            (badge(tone, Shape::Bang, word))
            div {
                p { (Text(found.message())) }
                @if let Some(location) = found.location() { p { code { (Text(location)) } } }
                @for note in found.notes() { p class="muted" { (Text(note)) } }
                @if let Some(hint) = found.hint_text() { p class="muted" { "Hint: " (Text(hint)) } }
            }
        }
    }
}

/// A list without entries: why, and what to do next.
pub(super) fn empty(title: &str, next: &Markup) -> Markup {
    html! {
        div class="empty" { p class="empty-title" { (title) } div class="muted" { (next) } }
    }
}

/// A command or text to copy, with its line breaks.
pub(super) fn snippet(command: impl Display) -> Markup {
    let command = command.to_string();
    html! {
        div class="snippet" { pre { code {
            @for (number, line) in command.lines().enumerate() {
                @if number > 0 { "\n" }
                (Text(line))
            }
        } } }
    }
}

/// Longer JSON is folded.
const JSON_OPEN_MAX_BYTES: usize = 600;
/// Of folded JSON that is shown beside its name.
const JSON_GLANCE_MAX_BYTES: usize = 96;

/// JSON text, laid out, to fold and to copy. `key` tells it from others of the page.
pub(super) fn json(key: &str, label: &str, text: &str) -> Markup {
    let laid_out = layout(&escaped_json(text));
    let open = text.len() <= JSON_OPEN_MAX_BYTES;
    html! {
        details class="json" open[open] data-key=(Text(key)) {
            summary { span class="label" { (label) } code class="glance" { (Text(glance(text))) } }
            div class="snippet" { pre { code { (Lines(&laid_out)) } } }
        }
    }
}

/// The beginning of a JSON text, on one line.
pub(super) fn glance(text: &str) -> String {
    let max = text.floor_char_boundary(JSON_GLANCE_MAX_BYTES);
    match text.len() > JSON_GLANCE_MAX_BYTES {
        true => format!("{}…", &text[..max]),
        false => text.to_owned(),
    }
}

/// The first line of a message, cut.
pub(super) fn headline(message: &str) -> String {
    cut(message.lines().next().unwrap_or_default().to_owned(), 200)
}

/// A JSON text with a line for each entry. What is no JSON stays as it is, more or less.
fn layout(text: &str) -> String {
    let mut laid_out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            laid_out.push(c);
            (in_string, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                laid_out.push(c);
            }
            '{' | '[' => {
                laid_out.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    laid_out.push(close);
                    continue;
                }
                depth += 1;
                line_break(&mut laid_out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line_break(&mut laid_out, depth);
                laid_out.push(c);
            }
            ',' => {
                laid_out.push(c);
                line_break(&mut laid_out, depth);
            }
            ':' => laid_out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => laid_out.push(c),
        }
    }
    laid_out
}

/// Deeper levels are not moved in further: the text would grow with the square of its depth.
const INDENT_MAX: usize = 16;

fn line_break(text: &mut String, depth: usize) {
    text.push('\n');
    for _ in 0..depth.min(INDENT_MAX) {
        text.push_str("  ");
    }
}

/// Where a rule is found, on whichever page of the list.
pub(super) fn rule_link(name: impl Display) -> String {
    Query::default().with("q", Some(name)).link("/ui/rules")
}

/// The parameters of a link, each encoded; those without a value are left out.
#[derive(Clone, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn with(mut self, name: &'static str, value: Option<impl Display>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.extend(
            value
                .map(|value| (name, value.to_string()))
                .filter(|(_, value)| !value.is_empty()),
        );
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each as a field of a form that is not shown.
    pub(super) fn fields(&self) -> Markup {
        html! {
            @for (name, value) in &self.0 { input type="hidden" name=(name) value=(value); }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| &**value)
    }

    pub(super) fn link(&self, path: &str) -> String {
        let mut link = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            link.append_pair(name, value);
        }
        match link.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.link(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_a_line_for_each_entry_and_is_the_same_document() {
        let text = r#"{"a":[1.50,{}],"b":"x{,\"]\\","c":{ },"d":{"e":null}}"#;
        let laid_out = layout(text);
        assert_eq!(
            laid_out,
            "{\n  \"a\": [\n    1.50,\n    {}\n  ],\n  \"b\": \"x{,\\\"]\\\\\",\n  \"c\": {},\n  \"d\": {\n    \"e\": null\n  }\n}"
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&laid_out), value(text));
    }

    #[test]
    fn deep_json_grows_by_a_constant_factor() {
        let text = "[".repeat(5_000) + &"]".repeat(5_000);
        assert!(layout(&text).len() < 40 * text.len());
    }

    #[test]
    fn foreign_text_is_neither_html_nor_moves_the_cursor() {
        let text = html! { p title=(Text("\"><b>\u{202e}")) { (Text("<i>&\x1b[2J\n")) } };
        assert_eq!(
            text.into_string(),
            "<p title=\"&quot;&gt;&lt;b&gt;\\u{202e}\">&lt;i&gt;&amp;\\u{1b}[2J\\n</p>"
        );
    }

    #[test]
    fn times_and_numbers_read_as_people_write_them() {
        let at = |ms| Timestamp::from_millis(ms);
        assert_eq!(relative(at(0), at(999)), "just now");
        assert_eq!(relative(at(0), at(59_999)), "59 s ago");
        assert_eq!(relative(at(7_200_000), at(0)), "in 2 h");
        assert_eq!(exact(at(1)), "1970-01-01T00:00:00.001Z");
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(duration(Duration::from_micros(45)), "45 µs");
        assert_eq!(duration(Duration::from_millis(3_002)), "3.00 s");
        assert_eq!(bytes(72_908), "71.2 KiB");
    }

    #[test]
    fn a_link_has_what_is_set_encoded() {
        let query = Query::default()
            .with("q", Some("a&b=ä "))
            .with("state", None::<&str>);
        assert_eq!(query.link("/ui/x"), "/ui/x?q=a%26b%3D%C3%A4+");
        assert_eq!(query.with("q", None::<&str>).link("/ui/x"), "/ui/x");
    }

    #[test]
    fn a_snippet_has_its_line_breaks_and_no_control_characters() {
        let html = snippet("a <b>\nc\u{1b}").into_string();
        assert!(
            html.contains("<code>a &lt;b&gt;\nc\\u{1b}</code>"),
            "{html}"
        );
    }
}
