//! Regular expressions of `matches`, in RE2's syntax: compiled with the rule
//! into an automaton of bounded size, so that asking takes one step a byte.

use regex_automata::{
    Anchored, Input,
    dfa::{Automaton, dense},
    nfa::thompson,
    util::syntax,
};

/// The longest pattern in bytes.
const PATTERN_MAX_BYTES: usize = 1_024;
/// The largest automaton. Everyday patterns take 1 to 20 KiB; a count such as
/// `{1,500}` of something wide takes more.
const AUTOMATON_MAX_BYTES: usize = 128 << 10;

/// A pattern that is ready to be asked.
pub(super) struct Regex {
    automaton: dense::DFA<Vec<u32>>,
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Regex").finish_non_exhaustive()
    }
}

impl Regex {
    /// # Errors
    /// The reason in words.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN_MAX_BYTES {
            return Err(format!(
                "the pattern of `matches` has more than {PATTERN_MAX_BYTES} bytes"
            ));
        }
        let config = dense::Config::new()
            .dfa_size_limit(Some(AUTOMATON_MAX_BYTES))
            .determinize_size_limit(Some(AUTOMATON_MAX_BYTES * 2))
            .accelerate(false);
        let nfa = thompson::Config::new()
            .nfa_size_limit(Some(AUTOMATON_MAX_BYTES / 4))
            .utf8(false);
        let automaton = dense::Builder::new()
            .configure(config)
            .thompson(nfa)
            .syntax(syntax::Config::new().utf8(false).nest_limit(50))
            .build(&in_ascii(pattern))
            .map_err(|error| describe(&error))?;
        Ok(Self { automaton })
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Whether some part of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        // It never gives up: no byte is set to end a search.
        matches!(self.automaton.try_search_fwd(&input), Ok(Some(_)))
    }
}

fn describe(error: &dense::BuildError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    // The parser draws the pattern and a mark below it; its last line says what is wrong.
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let reason = last.unwrap_or_default().trim_start_matches("error: ");
    format!(
        "bad pattern of `matches`: {}",
        crate::rules::error::excerpt(reason)
    )
}

/// RE2's classes and boundaries are those of ASCII.
fn in_ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut brackets = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match (chars.next(), brackets) {
                (Some('d'), _) => out.push_str("[0-9]"),
                (Some('D'), _) => out.push_str("[^0-9]"),
                (Some('w'), _) => out.push_str("[0-9A-Za-z_]"),
                (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                (Some('s'), _) => out.push_str("[\\t\\n\\f\\r ]"),
                (Some('S'), _) => out.push_str("[^\\t\\n\\f\\r ]"),
                (Some('b'), 0) => out.push_str("(?-u:\\b)"),
                (Some('B'), 0) => out.push_str("(?-u:\\B)"),
                (other, _) => {
                    out.push('\\');
                    out.extend(other);
                }
            },
            '[' => {
                out.push('[');
                brackets += 1;
                // Right behind the opening, a closing bracket is a character.
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&']') {
                    out.extend(chars.next());
                }
            }
            ']' => {
                out.push(']');
                brackets = brackets.saturating_sub(1);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn patterns_are_those_of_re2() {
        for (pattern, text, matches) in [
            ("^A", "Ada", true),
            ("^a", "Ada", false),
            ("(?i)^a", "Ada", true),
            ("da", "Ada", true),
            (r"^\d{3}-\w+$", "123-ab_c", true),
            (r"^\d$", "٣", false),
            (r"[\w.]+@[\w.]+", "x ada@example.com", true),
            (r"\bcat\b", "a cat.", true),
            (r"\bcat\b", "concat", false),
            ("^.$", "é", true),
            ("[]a]x", "]x", true),
            ("", "", true),
            (r"\[", "[", true),
        ] {
            let regex = Regex::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_much_is_refused() {
        for pattern in [
            "(".to_owned(),
            "a{1000000}".to_owned(),
            "((a{100}){100}){100}".to_owned(),
            "(a|b)*a(a|b){30}".to_owned(),
            "(".repeat(500) + &")".repeat(500),
            "a".repeat(2_000),
            r"(a)\1".to_owned(),
        ] {
            match Regex::parse(&pattern) {
                Ok(_) => panic!("accepted: {pattern}"),
                Err(error) => assert!(error.contains("pattern of `matches`"), "{error}"),
            }
        }
    }
}
