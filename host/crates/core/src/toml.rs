//! Owns what is said of a text that is no TOML. The parser stops at a depth of
//! its own and does not say so where a key has too many parts.

use toml_parser::{Source as Tokens, lexer::TokenKind};

use crate::{diagnostic::Diagnostic, source::Source};

/// Brackets in each other, or parts of a key, that the parser takes.
const DEPTH_MAX: usize = 80;

/// What is wrong, and where.
#[must_use]
pub fn error(source: &Source<'_>, error: &toml::de::Error) -> Diagnostic {
    let at = error.span().map(|span| span.start);
    match too_deep(source.text, at) {
        Some(at) => source.error_with_hint(
            at,
            "too-deep",
            format!("nested deeper than {DEPTH_MAX} levels"),
            "keep what is nested in fewer tables, arrays and parts of a key",
        ),
        None => source.error(at.unwrap_or(0), "invalid-toml", error.message().trim()),
    }
}

/// Where the text is nested too deep, if that is why the parser stopped: at a
/// bracket, or at a key, whose place it does not tell.
fn too_deep(text: &str, stopped: Option<usize>) -> Option<usize> {
    let (mut brackets, mut parts) = (0_usize, 0);
    for token in Tokens::new(text).lex() {
        let at = token.span().start();
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                brackets += 1;
                parts = 0;
                if brackets > DEPTH_MAX && stopped == Some(at) {
                    return Some(at);
                }
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                brackets = brackets.saturating_sub(1);
                parts = 0;
            }
            TokenKind::Dot => {
                parts += 1;
                if parts >= DEPTH_MAX && stopped.is_none() {
                    return Some(at);
                }
            }
            TokenKind::Equals | TokenKind::Comma | TokenKind::Newline => parts = 0,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Diagnostic {
        let source = Source {
            path: "a.toml",
            text,
        };
        error(&source, &text.parse::<toml::Table>().unwrap_err())
    }

    #[test]
    fn what_is_nested_too_deep_is_told_with_its_place_and_a_hint() {
        for deep in [
            format!("x = 1\na = {}1{}", "[".repeat(500), "]".repeat(500)),
            format!("x = 1\na = {}1{}", "{a=".repeat(500), "}".repeat(500)),
            format!("x = 1\n{} = 1", vec!["a"; 500].join(".")),
            format!("x = 1\n[{}]", vec!["a"; 500].join(".")),
        ] {
            let error = told(&deep);
            assert_eq!(error.code(), "too-deep", "{error}");
            assert!(error.hint_text().is_some());
            assert!(error.to_string().starts_with("a.toml:2:"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_otherwise_is_not_called_deep() {
        let open = "[a\n".repeat(500);
        for text in ["a = ", "a = [1, \"[[\"", "a.b = 1\na.b = 2", open.as_str()] {
            assert_eq!(told(text).code(), "invalid-toml", "{text}");
        }
    }

    #[test]
    fn the_parser_takes_what_is_one_level_less_deep() {
        let brackets = |depth| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
        let parts = |depth| format!("{} = 1", vec!["a"; depth].join("."));
        for deep in [brackets, parts] as [fn(usize) -> String; 2] {
            assert!(deep(DEPTH_MAX).parse::<toml::Table>().is_ok());
            assert_eq!(told(&deep(DEPTH_MAX + 1)).code(), "too-deep");
        }
    }
}
