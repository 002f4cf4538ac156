//! Owns `wildcard`: `*` stands for any characters, also none; `\*` is a star
//! and `\\` a backslash.

/// The most `*` in one wildcard. Matching stays linear with any number; this
/// only refuses what no one means.
pub(crate) const MAX_STARS: usize = 64;

/// A wildcard, cut at its stars.
///
/// Invariant: `pieces` has one more element than there are stars; only the
/// first and the last may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// As it was written, for messages.
    pub(crate) text: Box<str>,
    pieces: Box<[Box<str>]>,
}

/// What is wrong with the text of a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WildcardError {
    /// Two stars in a row.
    DoubleStar,
    /// A backslash before anything but a star or a backslash.
    Escape,
    /// More than [`MAX_STARS`].
    TooManyStars,
}

impl Wildcard {
    pub(crate) fn parse(text: &str) -> Result<Self, WildcardError> {
        let mut pieces = vec![String::new()];
        let mut last = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.peek() == Some(&'*') => return Err(WildcardError::DoubleStar),
                '*' if pieces.len() > MAX_STARS => return Err(WildcardError::TooManyStars),
                '*' => {
                    if let Some(piece) = pieces.last_mut() {
                        *piece = std::mem::take(&mut last);
                    }
                    pieces.push(String::new());
                }
                '\\' => match chars.next() {
                    Some(c @ ('*' | '\\')) => last.push(c),
                    _ => return Err(WildcardError::Escape),
                },
                c => last.push(c),
            }
        }
        if let Some(piece) = pieces.last_mut() {
            *piece = last;
        }
        Ok(Self {
            text: text.into(),
            pieces: pieces.into_iter().map(String::into_boxed_str).collect(),
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &*self.pieces else {
            return *self.pieces[0] == *text;
        };
        let Some(rest) = text
            .strip_prefix(&**first)
            .and_then(|rest| rest.strip_suffix(&**last))
        else {
            return false;
        };
        let mut rest = rest.as_bytes();
        // The leftmost occurrence of each piece leaves the most room for the next.
        middle
            .iter()
            .all(|piece| match memchr::memmem::find(rest, piece.as_bytes()) {
                Some(at) => {
                    rest = &rest[at + piece.len()..];
                    true
                }
                None => false,
            })
    }

    /// The shortest text that matches.
    pub(crate) fn example(&self) -> String {
        self.pieces.concat()
    }

    /// The longest text that every match contains; empty for `*` alone.
    pub(crate) fn longest_piece(&self) -> &str {
        self.pieces
            .iter()
            .map(|piece| &**piece)
            .max_by_key(|piece| piece.len())
            .unwrap_or("")
    }

    /// What every match starts with.
    pub(crate) fn first(&self) -> &str {
        self.pieces.first().map_or("", |piece| piece)
    }

    /// What every match ends with.
    pub(crate) fn last(&self) -> &str {
        self.pieces.last().map_or("", |piece| piece)
    }

    /// Whether the wildcard has no star, and so is a plain text.
    pub(crate) fn as_plain(&self) -> Option<&str> {
        match &*self.pieces {
            [only] => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(wildcard: &str, text: &str) -> bool {
        Wildcard::parse(wildcard).unwrap().matches(text)
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (wildcard, text) in [
            ("*", ""),
            ("*", "x"),
            ("", ""),
            ("a*", "a"),
            ("*a", "a"),
            ("a*a", "aa"),
            ("*l*", "xlx"),
            ("h*l*o", "helo"),
            ("*a*b*c", "azbabyc"),
            (r"he\*o", "he*o"),
            (r"a\\*", r"a\b"),
            ("*データ*", "xデータy"),
        ] {
            assert!(matches(wildcard, text), "{wildcard} {text}");
        }
        for (wildcard, text) in [
            ("", "x"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("*a*b*c", "acb"),
            ("a*", "ba"),
            (r"\*", "x"),
        ] {
            assert!(!matches(wildcard, text), "{wildcard} {text}");
        }
    }

    #[test]
    fn bad_wildcards_are_refused() {
        assert_eq!(Wildcard::parse("a**b"), Err(WildcardError::DoubleStar));
        assert_eq!(Wildcard::parse(r"a\b"), Err(WildcardError::Escape));
        assert_eq!(Wildcard::parse("a\\"), Err(WildcardError::Escape));
        assert_eq!(
            Wildcard::parse(&"a*".repeat(65)),
            Err(WildcardError::TooManyStars)
        );
        assert!(Wildcard::parse(&"a*".repeat(64)).is_ok());
    }
}
