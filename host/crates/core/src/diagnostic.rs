//! Owns [`Diagnostic`]: something to fix, as data. Every error that a person
//! reads becomes one; it prints in one way and serializes in one way, so nobody
//! has to take a message apart.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Everything works, but something is probably not meant that way.
    Warning,
}

/// Where it is: a file, a setting's source or another named input, and the
/// position in it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The input, as the caller named it.
    pub path: Arc<str>,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column in characters, from 1, where it is known; only with a line.
    pub column: Option<u32>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

/// What is wrong, where, and how to fix it. Cheap to clone.
///
/// Displays as
/// ```text
/// rules/orders.json:12:7: unknown operator `prefx`
///   note: one line for each note
///   hint: did you mean `prefix`?
/// ```
/// and serializes as `{"severity", "code", "path"?, "line"?, "column"?, "message",
/// "notes"?, "hint"?}`.
///
/// ```
/// use pointsman_core::diagnostic::Diagnostic;
///
/// let error = Diagnostic::error("unknown-handler", "unknown handler `audti`")
///     .at("rules/orders.json", (12, 9))
///     .hint("did you mean `audit`?");
/// assert_eq!(
///     error.to_string(),
///     "rules/orders.json:12:9: unknown handler `audti`\n  hint: did you mean `audit`?"
/// );
/// assert_eq!(error.code(), "unknown-handler");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic(Arc<Inner>);

// In the order in which a list of them is sorted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Inner {
    severity: Severity,
    location: Option<Location>,
    message: String,
    notes: Vec<String>,
    hint: Option<String>,
    code: std::borrow::Cow<'static, str>,
}

impl Diagnostic {
    /// An error without a location. `code` is stable, in kebab-case; `message`
    /// starts in lower case and has no full stop.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// As [`Self::error`], for a warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            severity,
            location: None,
            message: message.into(),
            notes: Vec::new(),
            hint: None,
            code: code.into(),
        }))
    }

    /// Says that it is at this line and column, both from 1, of `path`.
    #[must_use]
    pub fn at(self, path: impl Into<Arc<str>>, (line, column): (u32, u32)) -> Self {
        self.located(path, Some(line), Some(column))
    }

    /// Says that it is on this line, from 1, of `path`.
    #[must_use]
    pub fn on_line(self, path: impl Into<Arc<str>>, line: u32) -> Self {
        self.located(path, Some(line), None)
    }

    /// Says that it is in `path`.
    #[must_use]
    pub fn within(self, path: impl Into<Arc<str>>) -> Self {
        self.located(path, None, None)
    }

    fn located(
        mut self,
        path: impl Into<Arc<str>>,
        line: Option<u32>,
        column: Option<u32>,
    ) -> Self {
        let path = path.into();
        Arc::make_mut(&mut self.0).location = Some(Location { path, line, column });
        self
    }

    /// Says how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).hint = Some(hint.into());
        self
    }

    /// Says how to fix it, where that is known.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Adds a line of explanation.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).notes.push(note.into());
        self
    }

    /// The same with another severity.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        Arc::make_mut(&mut self.0).severity = severity;
        self
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.0.severity
    }

    /// The stable name of its kind, in kebab-case, such as `unknown-operator`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    /// The input it is in, as the caller named it; empty where there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        self.location().map_or("", |location| &location.path)
    }

    /// Line and column in characters, both from 1, where they are known.
    #[must_use]
    pub fn position(&self) -> Option<(u32, u32)> {
        self.location()
            .and_then(|location| location.line.zip(location.column))
    }

    /// The message alone, without location, notes and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Further lines of explanation.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// How to fix it, where that is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(location) = &inner.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&inner.message)?;
        for note in &inner.notes {
            write!(f, "\n  note: {note}")?;
        }
        match &inner.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{}] {self}", self.0.severity, self.0.code)
    }
}

impl std::error::Error for Diagnostic {}

/// The JSON shape, in both directions.
#[derive(Serialize, Deserialize)]
struct Json {
    severity: Severity,
    // A host of an earlier version says none.
    #[serde(default)]
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        Json {
            severity: inner.severity,
            code: inner.code.clone().into(),
            path: self.location().map(|location| location.path.clone()),
            line: self.location().and_then(|location| location.line),
            column: self.location().and_then(|location| location.column),
            message: inner.message.clone(),
            notes: inner.notes.clone(),
            hint: inner.hint.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Diagnostic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let (line, column) = (json.line, json.column);
        Ok(Self(Arc::new(Inner {
            severity: json.severity,
            location: json.path.map(|path| Location { path, line, column }),
            message: json.message,
            notes: json.notes,
            hint: json.hint,
            code: json.code.into(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_in_one_way_and_comes_back_from_json() {
        let full = Diagnostic::warning("shadowed", "rule `a` never fires")
            .at("rules/a.json", (3, 5))
            .note("rule `b` fires first")
            .hint("remove one of them");
        assert_eq!(
            full.to_string(),
            "rules/a.json:3:5: rule `a` never fires\n  note: rule `b` fires first\n  hint: remove one of them"
        );
        let json = serde_json::to_string(&full).unwrap();
        assert_eq!(
            json,
            r#"{"severity":"warning","code":"shadowed","path":"rules/a.json","line":3,"column":5,"message":"rule `a` never fires","notes":["rule `b` fires first"],"hint":"remove one of them"}"#
        );
        assert_eq!(serde_json::from_str::<Diagnostic>(&json).unwrap(), full);
        let bare = Diagnostic::error("empty", "nothing to do");
        assert_eq!(
            serde_json::to_string(&bare).unwrap(),
            r#"{"severity":"error","code":"empty","message":"nothing to do"}"#
        );
        assert_eq!(
            bare.clone().within("a.toml").to_string(),
            "a.toml: nothing to do"
        );
        let on_line = bare.on_line("a.toml", 3);
        assert_eq!(on_line.to_string(), "a.toml:3: nothing to do");
        assert_eq!(on_line.position(), None);
        let json = serde_json::to_string(&on_line).unwrap();
        assert_eq!(serde_json::from_str::<Diagnostic>(&json).unwrap(), on_line);
    }
}
