//! Regular expressions of `matches`, in RE2's syntax: compiled with the rule
//! into an automaton of bounded size, so that asking takes one step a byte.

use regex_automata::{
    Anchored, Input,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::syntax,
};

/// The longest pattern in bytes.
const PATTERN_MAX_BYTES: usize = 1_024;
/// The largest automaton. Everyday patterns take 1 to 200 KiB; letters of all
/// scripts, `a.{10}b` and `.{1,255}` up to 1 MiB.
const AUTOMATON_MAX_BYTES: usize = 2 << 20;
/// What is made on the way to it, of which each byte may become several.
const NFA_MAX_BYTES: usize = 256 << 10;

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
    /// The reason in words, and how to fix it where that is known.
    pub(super) fn parse(pattern: &str) -> Result<Self, (String, Option<&'static str>)> {
        if pattern.len() > PATTERN_MAX_BYTES {
            let reason =
                format!("the pattern of `matches` has more than {PATTERN_MAX_BYTES} bytes");
            return Err((reason, None));
        }
        let bad = |reason: &str| (format!("invalid pattern in `matches`: {reason}"), None);
        let config = syntax::Config::new().utf8(false).nest_limit(50);
        let pattern = as_re2(pattern).map_err(bad)?;
        let parsed = syntax::parse_with(&pattern, &config)
            .map_err(|error| bad(&last_line(&error.to_string())))?;
        // What is well formed fails for its size alone.
        let too_large = || {
            (
                format!(
                    "the pattern of `matches` is too large: compiled, it takes more than {AUTOMATON_MAX_BYTES} bytes"
                ),
                Some(
                    "repeat less, use `size()` for lengths, `[A-Za-z]` instead of `\\pL`, or `[ -~]` instead of `.`",
                ),
            )
        };
        let nfa = thompson::Config::new()
            .nfa_size_limit(Some(NFA_MAX_BYTES))
            .which_captures(thompson::WhichCaptures::None)
            .utf8(false);
        let nfa = thompson::Compiler::new()
            .configure(nfa)
            .build_from_hir(&parsed)
            .map_err(|_| too_large())?;
        let config = dense::Config::new()
            .dfa_size_limit(Some(AUTOMATON_MAX_BYTES))
            .determinize_size_limit(Some(AUTOMATON_MAX_BYTES * 2))
            .start_kind(StartKind::Unanchored)
            .accelerate(false);
        let automaton = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&nfa)
            .map_err(|_| too_large())?;
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

/// The parser draws the pattern and a mark below it; its last line says what is wrong.
fn last_line(error: &str) -> String {
    let last = error.lines().rfind(|line| !line.trim().is_empty());
    let reason = last.unwrap_or_default().trim_start_matches("error: ");
    pointsman_core::source::excerpt(reason)
}

type Chars<'p> = std::iter::Peekable<std::str::Chars<'p>>;

/// Writes an RE2 pattern such that the parser reads it as RE2 does: classes and
/// boundaries are those of ASCII, and what only the parser knows is left out.
fn as_re2(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('b') => out.push_str("(?-u:\\b)"),
                Some('B') => out.push_str("(?-u:\\B)"),
                // Of the parser, boundaries of words.
                Some(sign @ ('<' | '>')) => out.push(sign),
                other => escape(other, &mut out),
            },
            '[' => class(&mut chars, &mut out)?,
            '(' if chars.peek() == Some(&'?') => {
                let flags = chars.clone().skip(1);
                let mut flags = flags.take_while(|c| c.is_ascii_alphabetic() || *c == '-');
                let named = chars.clone().nth(1) == Some('P');
                if !named && flags.any(|flag| !"imsU-".contains(flag)) {
                    return Err("there are the flags `i`, `m`, `s` and `U`");
                }
                out.push('(');
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Writes `\` and what follows it.
fn escape(escaped: Option<char>, out: &mut String) {
    match escaped {
        Some('d') => out.push_str("[0-9]"),
        Some('D') => out.push_str("[^0-9]"),
        Some('w') => out.push_str("[0-9A-Za-z_]"),
        Some('W') => out.push_str("[^0-9A-Za-z_]"),
        Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
        Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
        other => {
            out.push('\\');
            out.extend(other);
        }
    }
}

/// Writes a class, whose bracket is behind. In RE2, `&&`, `--`, `~~` and `[` are
/// characters like others there.
fn class(chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a class without `]`";
    out.push('[');
    out.extend(chars.next_if_eq(&'^'));
    let mut first = true;
    loop {
        match chars.next().ok_or(OPEN)? {
            // Right behind the opening, it is a character.
            ']' if !first => break,
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                while out.ends_with('[') || !out.ends_with(":]") {
                    out.push(chars.next().ok_or(OPEN)?);
                }
            }
            c => {
                let is_class = c == '\\' && chars.peek().is_some_and(|c| "dDwWsSpP".contains(*c));
                member(c, chars, out)?;
                let mut after = chars.clone().skip(1);
                if !is_class && chars.peek() == Some(&'-') && after.next() != Some(']') {
                    out.extend(chars.next());
                    let end = chars.next().ok_or(OPEN)?;
                    member(end, chars, out)?;
                }
            }
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

/// Writes one character or escape of a class.
fn member(c: char, chars: &mut Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    match c {
        '\\' => {
            let escaped = chars.next();
            escape(escaped, out);
            if let Some('x' | 'p' | 'P') = escaped {
                let braced = chars.peek() == Some(&'{');
                let single = if escaped == Some('x') { 2 } else { 1 };
                for _ in 0..if braced { usize::MAX } else { single } {
                    let c = chars.next().ok_or("a class without `]`")?;
                    out.push(c);
                    if braced && c == '}' {
                        break;
                    }
                }
            }
        }
        '[' | ']' | '&' | '~' | '-' | '^' => out.extend(['\\', c]),
        c => out.push(c),
    }
    Ok(())
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
            // In a class, signs of the parser's own set operations are characters.
            ("^[a-z&&x]$", "b", true),
            ("^[a-z&&x]$", "&", true),
            ("^[a-z&&[^aeiou]]$", "e]", true),
            ("^[a-z&&[^aeiou]]$", "e", false),
            ("^[a-z--b]$", "b", true),
            ("^[+--]$", ",", true),
            ("^[a-z~~b]$", "c", true),
            ("^[a-z~~b]$", "~", true),
            ("^[a[b]$", "[", true),
            ("^[a[b]]$", "b]", true),
            ("^[^[]$", "[", false),
            (r"^[\w-]+$", "a-b", true),
            (r"^[\d.-]+$", "1.-", true),
            (r"^[\x41-\x{43}\]]+$", "ABC]", true),
            ("^[[:alpha:][:^ascii:]]+$", "aé", true),
            (r"^\<a\>$", "<a>", true),
            // Everyday lengths and letters.
            ("^.{1,100}$", "é", true),
            ("^.{1,255}$", "", false),
            (r"^\pL+$", "Ångström", true),
            (r"^\p{Greek}+$", "λόγος", true),
            (r"[[:alpha:]\pL]+", "é", true),
            ("a.{10}b", "a0123456789b", true),
        ] {
            let regex =
                Regex::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
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
                Err((error, _)) => assert!(error.contains("`matches`"), "{error}"),
            }
        }
    }

    #[test]
    fn what_re2_does_not_have_is_refused_and_what_is_too_large_says_what_helps() {
        for pattern in [
            "(?x) a", "(?u)a", "(?i-u:a)", "(?R)a", "[a", "[a-", "[[:alpha", r"[\x",
        ] {
            assert!(Regex::parse(pattern).is_err(), "{pattern}");
        }
        assert!(Regex::parse("[z-a]").is_err());
        assert!(Regex::parse("(?P<name>a)(?i:b)(?s-m)c").is_ok());
        for pattern in [r"^\pL{1,100}$", "(a|b)*a(a|b){30}"] {
            let (error, hint) = Regex::parse(pattern).unwrap_err();
            assert!(error.contains("too large"), "{error}");
            assert!(hint.is_some_and(|hint| hint.contains("`size()`")));
        }
    }
}
