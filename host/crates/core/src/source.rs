//! Owns [`Source`]: a text with a name, in which a byte offset becomes a line
//! and a column, and the phrases that messages about it share.

use crate::{diagnostic::Diagnostic, name::nearest};

/// The text of an input, and its name as messages spell it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'t> {
    /// Its name: a path, or what it is.
    pub path: &'t str,
    /// All of it.
    pub text: &'t str,
}

impl Source<'_> {
    /// An error at the byte offset `at`.
    #[must_use]
    pub fn error(&self, at: usize, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message).at(self.path, position(self.text, at))
    }

    /// An error at the byte offset `at` that says how to fix it.
    #[must_use]
    pub fn error_with_hint(
        &self,
        at: usize,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        self.error(at, code, message).hint(hint)
    }
}
/// Line and column, both from 1, of the byte offset `at`.
#[must_use]
pub fn position(text: &str, at: usize) -> (u32, u32) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = 1 + before[start..].chars().count();
    // A file has at most `MAX_FILE_BYTES`, far below what a u32 counts.
    (line as u32, column as u32)
}

/// `` `a`, `b` `` for messages that list what is allowed.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// ``did you mean `prefix`? allowed: …``, without the question where nothing is near.
#[must_use]
pub fn suggest(found: &str, allowed: &[&str]) -> String {
    let all = format!("allowed: {}", list(allowed.iter().copied()));
    match nearest(found, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

/// `text`, cut where a message would become unreadable.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
