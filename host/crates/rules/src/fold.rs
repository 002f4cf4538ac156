//! Owns case-insensitive comparison: Unicode simple case folding, character
//! by character, so that no comparison changes the length of a text in
//! characters. (Java's expansion of one character to several, such as `ΐ` to
//! three, is deliberately not copied.)

/// The character that stands for all cases of `c`.
#[inline]
pub(crate) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    match c {
        // Dotless i folds to itself; only Turkish rules join it with `i`.
        'ı' => 'ı',
        // Three pairs that are one letter to Unicode but have no case mapping.
        '\u{1FD3}' => '\u{390}',
        '\u{1FE3}' => '\u{3B0}',
        '\u{FB05}' => '\u{FB06}',
        _ => {
            let upper = single(c.to_uppercase()).unwrap_or(c);
            single(upper.to_lowercase()).unwrap_or(upper)
        }
    }
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    if mapped.next().is_some() { None } else { first }
}

/// `text` with every character folded.
pub(crate) fn fold_text(text: &str) -> String {
    text.chars().map(fold).collect()
}

/// Whether `text` is `folded` but for case.
pub(crate) fn equals(text: &str, folded: &str) -> bool {
    text.chars().map(fold).eq(folded.chars())
}

/// Whether `text` starts with `folded` but for case.
pub(crate) fn starts_with(text: &str, folded: &str) -> bool {
    let mut chars = text.chars().map(fold);
    folded.chars().all(|c| chars.next() == Some(c))
}

/// Whether `text` ends with `folded` but for case.
pub(crate) fn ends_with(text: &str, folded: &str) -> bool {
    let mut chars = text.chars().rev().map(fold);
    folded.chars().rev().all(|c| chars.next() == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_one_letter_fold_together() {
        for (a, b) in [
            ("K", "k"),
            ("ſ", "S"),
            ("Σς", "σσ"),
            ("ẞ", "ß"),
            ("Ⱥ", "ⱥ"),
            ("ɐ", "Ɐ"),
            ("ᾼ", "ᾳ"),
            ("Ꭰ", "ꭰ"),
            ("µ", "μ"),
        ] {
            assert_eq!(fold_text(a), fold_text(b), "{a} {b}");
        }
        for (a, b) in [("ı", "i"), ("İ", "i"), ("ß", "ss"), ("é", "e")] {
            assert_ne!(fold_text(a), fold_text(b), "{a} {b}");
        }
    }

    #[test]
    fn affixes_are_compared_by_character() {
        assert!(starts_with("ȺBc", "ⱥb") && !starts_with("Ⱥ", "ⱥb"));
        assert!(ends_with("xxBcȺ", "cⱥ") && !ends_with("Ⱥ", "cⱥ"));
        assert!(equals("HeLLo", "hello") && !equals("HeLLoX", "hello"));
    }
}
