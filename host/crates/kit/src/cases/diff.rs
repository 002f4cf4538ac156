//! Owns the comparison of two lists of lines: what they share, what only one has.

/// The most comparisons of one diff: beyond, everything between the common
/// beginning and the common end counts as changed.
const CELLS_MAX: usize = 4_000_000;
/// Common lines shown around a change.
const CONTEXT: usize = 3;

/// Where a line of a diff stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In both.
    Both,
    /// In what was expected alone.
    Expected,
    /// In what was found alone.
    Found,
    /// In both, and left out here: the text says how many.
    Skipped,
}

/// One line of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where it stands.
    pub side: Side,
    /// The line.
    pub text: String,
}

impl Edit {
    fn new(side: Side, text: &str) -> Self {
        Self {
            side,
            text: text.into(),
        }
    }

    /// `-` for what is missing, `+` for what is too much.
    #[must_use]
    pub fn mark(&self) -> char {
        match self.side {
            Side::Both | Side::Skipped => ' ',
            Side::Expected => '-',
            Side::Found => '+',
        }
    }
}

/// The shortest way from `expected` to `found`, where `fits` says which lines
/// are one; far from a change, common lines are left out.
pub(super) fn diff<E: AsRef<str>, F: AsRef<str>>(
    expected: &[E],
    found: &[F],
    fits: impl Fn(&E, &F) -> bool,
) -> Vec<Edit> {
    let same_at = |(e, f): &(&E, &F)| fits(e, f);
    let head = expected.iter().zip(found).take_while(same_at).count();
    let (expected_rest, found_rest) = (&expected[head..], &found[head..]);
    let tail = expected_rest
        .iter()
        .rev()
        .zip(found_rest.iter().rev())
        .take_while(same_at)
        .count();
    let expected_middle = &expected_rest[..expected_rest.len() - tail];
    let found_middle = &found_rest[..found_rest.len() - tail];
    let both = |line: &F| Edit::new(Side::Both, line.as_ref());
    let mut edits: Vec<_> = found[..head].iter().map(both).collect();
    middle(expected_middle, found_middle, &fits, &mut edits);
    edits.extend(found_rest[found_middle.len()..].iter().map(both));
    skip(edits)
}

fn middle<E: AsRef<str>, F: AsRef<str>>(
    expected: &[E],
    found: &[F],
    fits: impl Fn(&E, &F) -> bool,
    edits: &mut Vec<Edit>,
) {
    let only_expected = |line: &E| Edit::new(Side::Expected, line.as_ref());
    let only_found = |line: &F| Edit::new(Side::Found, line.as_ref());
    let width = found.len() + 1;
    if (expected.len() + 1).saturating_mul(width) > CELLS_MAX {
        edits.extend(expected.iter().map(only_expected));
        edits.extend(found.iter().map(only_found));
        return;
    }
    // The length of the longest common list from each pair of places on.
    let mut common = vec![0_u32; (expected.len() + 1) * width];
    for e in (0..expected.len()).rev() {
        for f in (0..found.len()).rev() {
            common[e * width + f] = if fits(&expected[e], &found[f]) {
                common[(e + 1) * width + f + 1] + 1
            } else {
                common[(e + 1) * width + f].max(common[e * width + f + 1])
            };
        }
    }
    let (mut e, mut f) = (0, 0);
    while e < expected.len() && f < found.len() {
        if fits(&expected[e], &found[f]) {
            edits.push(Edit::new(Side::Both, found[f].as_ref()));
            (e, f) = (e + 1, f + 1);
        } else if common[(e + 1) * width + f] >= common[e * width + f + 1] {
            edits.push(only_expected(&expected[e]));
            e += 1;
        } else {
            edits.push(only_found(&found[f]));
            f += 1;
        }
    }
    edits.extend(expected[e..].iter().map(only_expected));
    edits.extend(found[f..].iter().map(only_found));
}

/// Leaves out the common lines that are far from any change.
fn skip(edits: Vec<Edit>) -> Vec<Edit> {
    let changed: Vec<_> = (0..edits.len())
        .filter(|at| edits[*at].side != Side::Both)
        .collect();
    let near = |at: usize| changed.iter().any(|change| change.abs_diff(at) <= CONTEXT);
    let mut shown = Vec::new();
    let mut skipped = 0;
    for (at, edit) in edits.into_iter().enumerate() {
        if near(at) {
            show_skipped(&mut shown, &mut skipped);
            shown.push(edit);
        } else {
            skipped += 1;
        }
    }
    show_skipped(&mut shown, &mut skipped);
    shown
}

fn show_skipped(shown: &mut Vec<Edit>, skipped: &mut usize) {
    let text = match std::mem::take(skipped) {
        0 => return,
        1 => "… 1 line as expected".into(),
        lines => format!("… {lines} lines as expected"),
    };
    shown.push(Edit {
        side: Side::Skipped,
        text,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expected: &str, found: &str) -> String {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        diff(&lines(expected), &lines(found), |e, f| e == f)
            .iter()
            .map(|edit| format!("{}{}\n", edit.mark(), edit.text))
            .collect()
    }

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let expected = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10";
        assert_eq!(
            shown(expected, &expected.replace("\n6\n", "\nsix\n")),
            " … 2 lines as expected\n 3\n 4\n 5\n-6\n+six\n 7\n 8\n 9\n … 1 line as expected\n"
        );
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_keep_their_places() {
        assert_eq!(shown("a\nb\nc", "b\nc\nd"), "-a\n b\n c\n+d\n");
        assert_eq!(shown("", "a"), "+a\n");
        assert_eq!(shown("a", ""), "-a\n");
        assert_eq!(shown("a", "a"), " … 1 line as expected\n");
    }

    #[test]
    fn lists_too_long_to_be_compared_are_shown_whole() {
        let many = |from: u32| (from..from + 3_000).map(|n| n.to_string());
        let (expected, found): (Vec<_>, Vec<_>) = (many(0).collect(), many(5_000).collect());
        let edits = diff(&expected, &found, |e, f| e == f);
        assert_eq!(edits.len(), 6_000);
        assert_eq!(edits[0].side, Side::Expected);
        assert_eq!(edits[5_999].side, Side::Found);
    }
}
