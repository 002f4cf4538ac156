//! Owns the layout of tables. Where a terminal is too narrow, columns give way: some
//! are left out, the least important first, and one is shortened.

use std::fmt;

use super::{
    print::{BOLD, Styled},
    terminal::out,
};

/// Between two columns.
const GAP: usize = 2;
/// A column is not shortened to less while another can be left out.
const SHORT: usize = 12;
/// Nor ever to less than this.
const SHORTEST: usize = 4;

/// What a column does in a terminal that is too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// Stays as it is.
    Nothing,
    /// Is left out, the lowest number first.
    All(u8),
    /// Is shortened.
    Some,
}

/// A column.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) is_number: bool,
    pub(super) gives: Gives,
}

/// Prints a table with a header; every row has a cell for each column.
pub(super) fn print(columns: &[Column], rows: &[Vec<Styled<String>>], width: Option<usize>) {
    let layout = Layout::of(columns, rows, width);
    let titles = columns
        .iter()
        .map(|column| Styled(BOLD, column.title.to_owned()));
    out!("{}", layout.line(&titles.collect::<Vec<_>>()));
    for row in rows {
        out!("{}", layout.line(row));
    }
}

/// The columns that are shown: their index and width.
struct Layout<'a> {
    columns: &'a [Column],
    shown: Vec<(usize, usize)>,
}

impl<'a> Layout<'a> {
    fn of(columns: &'a [Column], rows: &[Vec<Styled<String>>], width: Option<usize>) -> Self {
        let widest = |index: usize| {
            let cells = rows.iter().map(|row| row[index].1.chars().count());
            cells.max().unwrap_or(0).max(columns[index].title.len())
        };
        let shown = (0..columns.len()).map(|index| (index, widest(index)));
        let mut layout = Self {
            columns,
            shown: shown.collect(),
        };
        if let Some(width) = width {
            layout.narrow(width);
        }
        layout
    }

    fn narrow(&mut self, width: usize) {
        let columns = self.columns;
        let is_short = |index: usize| columns[index].gives == Gives::Some;
        let least = |shown: &[(usize, usize)]| {
            let widths = shown.iter().map(|(index, width)| match is_short(*index) {
                true => SHORT.min(*width),
                false => *width,
            });
            widths.sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        while least(&self.shown) > width {
            let order = |(at, (index, _)): (usize, &(usize, usize))| match columns[*index].gives {
                Gives::All(order) => Some((order, at)),
                Gives::Nothing | Gives::Some => None,
            };
            let Some((_, at)) = self.shown.iter().enumerate().filter_map(order).min() else {
                break;
            };
            self.shown.remove(at);
        }
        let taken = |shown: &[(usize, usize)]| {
            let others = shown.iter().filter(|(index, _)| !is_short(*index));
            others.map(|(_, width)| *width + GAP).sum::<usize>()
        };
        let rest = width.saturating_sub(taken(&self.shown)).max(SHORTEST);
        for (index, width) in &mut self.shown {
            if is_short(*index) {
                *width = rest.min(*width);
            }
        }
    }

    fn line<'b>(&'b self, cells: &'b [Styled<String>]) -> Line<'b> {
        Line {
            layout: self,
            cells,
        }
    }
}

/// One line of a table.
struct Line<'a> {
    layout: &'a Layout<'a>,
    cells: &'a [Styled<String>],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.layout.shown.len() - 1;
        for (at, (index, width)) in self.layout.shown.iter().enumerate() {
            let Styled(style, text) = &self.cells[*index];
            let cell = Styled(*style, shortened(text, *width));
            match (self.layout.columns[*index].is_number, at == last) {
                (true, _) => write!(f, "{cell:>width$}")?,
                (false, true) => write!(f, "{cell}")?,
                (false, false) => write!(f, "{cell:width$}")?,
            }
            if at < last {
                write!(f, "{:GAP$}", "")?;
            }
        }
        Ok(())
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start = text.chars().take(width.saturating_sub(1));
    start.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{super::print::PLAIN, *};

    fn shown(width: Option<usize>, wanted: Expect) {
        let column = |title, is_number, gives| Column {
            title,
            is_number,
            gives,
        };
        let columns = [
            column("HANDLER", false, Gives::Nothing),
            column("DIGEST", false, Gives::All(0)),
            column("SIZE", true, Gives::All(1)),
            column("RULES", false, Gives::Some),
        ];
        let row = |cells: [&str; 4]| Vec::from(cells.map(|cell| Styled(PLAIN, cell.to_owned())));
        let rows = [
            row([
                "greet",
                "0123456789ab",
                "71.2 KiB",
                "greet, greet-formally, greet-late",
            ]),
            row(["audit-everything", "-", "1.0 MiB", "-"]),
        ];
        let layout = Layout::of(&columns, &rows, width);
        let titles = columns
            .iter()
            .map(|column| Styled(PLAIN, column.title.to_owned()));
        let titles: Vec<_> = titles.collect();
        let mut text = format!("{}\n", layout.line(&titles));
        for row in &rows {
            text += &format!("{}\n", layout.line(row));
        }
        if let Some(width) = width {
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
        }
        wanted.assert_eq(&text);
    }

    #[test]
    fn columns_give_way_in_a_narrow_terminal() {
        shown(
            None,
            expect![[r#"
            HANDLER           DIGEST            SIZE  RULES
            greet             0123456789ab  71.2 KiB  greet, greet-formally, greet-late
            audit-everything  -              1.0 MiB  -
        "#]],
        );
        shown(
            Some(60),
            expect![[r#"
            HANDLER           DIGEST            SIZE  RULES
            greet             0123456789ab  71.2 KiB  greet, greet-form…
            audit-everything  -              1.0 MiB  -
        "#]],
        );
        shown(
            Some(40),
            expect![[r#"
            HANDLER               SIZE  RULES
            greet             71.2 KiB  greet, gree…
            audit-everything   1.0 MiB  -
        "#]],
        );
        shown(
            Some(24),
            expect![[r#"
            HANDLER           RULES
            greet             greet…
            audit-everything  -
        "#]],
        );
    }
}
