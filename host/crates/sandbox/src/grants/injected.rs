//! Owns secrets that the host adds to requests: a handler uses them and never
//! sees them.

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

use super::pattern::{HttpPattern, PatternError, Target};

/// Which requests get a secret, and in which header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The requests, as a pattern of `[http] allow`; without a method, all methods.
    pub to: HttpPattern,
    /// The header.
    pub header: HeaderTemplate,
}

/// `NAME: TEXT`, where `{}` in the text stands for the secret, such as
/// `Authorization: Bearer {}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderTemplate {
    name: HeaderName,
    before: String,
    after: String,
}

/// Why a text is no [`HeaderTemplate`]. Does not repeat it: it may hold the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected a header with `{{}}` for the secret, such as `Authorization: Bearer {{}}`")]
pub struct TemplateError(&'static str);

impl Injection {
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn new(to: &str, header: HeaderTemplate) -> Result<Self, PatternError> {
        let to = match to.trim().contains(char::is_whitespace) {
            true => to.parse()?,
            false => format!("* {to}").parse::<HttpPattern>()?,
        };
        Ok(Self {
            to: to.of_a_host()?,
            header,
        })
    }
}

impl FromStr for HeaderTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (name, text) = text.split_once(':').ok_or(TemplateError("has no `:`"))?;
        let name: HeaderName = name
            .trim()
            .parse()
            .map_err(|_| TemplateError("the name is not one of a header"))?;
        let is_framing = name == http::header::CONTENT_LENGTH;
        if is_framing || DEFAULT_FORBIDDEN_HEADERS.contains(&name) {
            return Err(TemplateError("the header belongs to the connection"));
        }
        let text = text.trim();
        let (before, after) = text.split_once("{}").ok_or(TemplateError("has no `{}`"))?;
        if after.contains("{}") {
            return Err(TemplateError("has `{}` more than once"));
        }
        if HeaderValue::from_str(text).is_err() {
            return Err(TemplateError(
                "contains characters that are not allowed in a header",
            ));
        }
        Ok(Self {
            name,
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{{}}{}", self.name, self.before, self.after)
    }
}

/// The name alone: the text around the secret may be a part of it.
impl fmt::Debug for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl TryFrom<String> for HeaderTemplate {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<HeaderTemplate> for String {
    fn from(header: HeaderTemplate) -> Self {
        header.to_string()
    }
}

/// A secret that was read, on its way into requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Injected {
    to: HttpPattern,
    name: HeaderName,
    // Marked as sensitive: `Debug` does not show it, and HTTP/2 does not index it.
    value: HeaderValue,
}

impl Injected {
    /// None where the secret cannot stand in a header.
    pub(super) fn new(injection: &Injection, secret: &str) -> Option<Self> {
        let HeaderTemplate {
            name,
            before,
            after,
        } = &injection.header;
        let text = format!("{before}{secret}{after}");
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(Self {
            to: injection.to.clone(),
            name: name.clone(),
            value,
        })
    }

    /// Whether the request gets it.
    pub(super) fn is_for(&self, target: &Target<'_>) -> bool {
        self.to.allows(target).is_some()
    }

    /// Puts it in the place of whatever the guest sent.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_header_with_one_place_for_the_secret() {
        let template: HeaderTemplate = "Authorization: Bearer {}".parse().unwrap();
        assert_eq!(template.to_string(), "authorization: Bearer {}");
        for (text, reason) in [
            ("Bearer {}", "has no `:`"),
            ("a b: {}", "the name is not one of a header"),
            ("x: hunter2", "has no `{}`"),
            ("x: {}{}", "has `{}` more than once"),
            (
                "x: a\nb {}",
                "contains characters that are not allowed in a header",
            ),
            ("Host: {}", "the header belongs to the connection"),
            ("Content-Length: {}", "the header belongs to the connection"),
            (
                "Transfer-Encoding: {}",
                "the header belongs to the connection",
            ),
        ] {
            let error = text.parse::<HeaderTemplate>().unwrap_err();
            assert_eq!(error.0, reason, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
