//! Tables that fit the terminal: columns as wide as they need, the widest flexible one cut first.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style;

const GAP: usize = 2;
const NARROWEST: usize = 8;

/// A cell: text and how it looks.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in `style`.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        // A line break or control character would tear the table apart, and colours are the cell's own matter: what is
        // left of an escape sequence without its first character is letters.
        let text = text.into();
        let text = anstream::adapter::strip_str(&text).to_string();
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { text, style }
    }

    /// The text without its style, to be put into another cell.
    pub(crate) fn plain(&self) -> &str {
        &self.text
    }

    /// The text, with its style.
    pub(crate) fn text(&self) -> String {
        let style = self.style;
        format!("{style}{}{style:#}", self.text)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, style::PLAIN)
    }
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns. A header that begins with `~` marks a column that may be cut.
    pub(crate) fn new<const N: usize>(headers: [&'static str; N]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headers.len());
        self.rows.push(cells.into());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, no line wider than `width` where cutting can do that; uncut without one.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        let headers = self.headers.iter().map(|h| Cell::styled(h.trim_start_matches('~'), style::DIM));
        push_row(&mut text, &headers.collect::<Vec<_>>(), &widths);
        self.rows.iter().for_each(|row| push_row(&mut text, row, &widths));
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headers.iter().map(|h| h.trim_start_matches('~').width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(limit) = limit else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let flexible = (0..widths.len())
                .filter(|i| self.headers[*i].starts_with('~') && widths[*i] > NARROWEST)
                .max_by_key(|i| widths[*i]);
            let Some(widest) = flexible else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

fn push_row(text: &mut String, cells: &[Cell], widths: &[usize]) {
    let last = cells.len().saturating_sub(1);
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let shown = cut(&cell.text, *width);
        let style = cell.style;
        text.push_str(&format!("{style}{shown}{style:#}"));
        if i < last {
            text.push_str(&" ".repeat(width.saturating_sub(shown.width()) + GAP));
        }
    }
    // A trailing empty cell leaves spaces that nobody needs.
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// `text` in at most `width` columns, its end replaced by `…` where it does not fit.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut short = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NODE", "~WHY", "STATE"]);
        table.row(["web-1".into(), "a reason that goes on and on and on and on".into(), "ok".into()]);
        table.row(["a-longer-name".into(), "with\na break".into(), Cell::styled("bad", style::BAD)]);
        table
    }

    fn plain(width: Option<usize>) -> String {
        anstream::adapter::strip_str(&table().render(width)).to_string()
    }

    #[test]
    fn fits_the_terminal() {
        assert_eq!(
            plain(Some(40)),
            "NODE           WHY                 STATE\n\
             web-1          a reason that goe…  ok\n\
             a-longer-name  with a break        bad\n"
        );
        assert!(plain(None).contains("on and on and on and on  ok"));
    }

    #[test]
    fn a_cell_has_no_colours_but_its_own() {
        let cell = Cell::from(format!("{}, safe mode", Cell::styled("online", style::GOOD).text()));
        assert_eq!(cell.plain(), "online, safe mode");
        assert_eq!(Cell::from("\u{1b}[2Jcleared\u{7}\n").plain(), "cleared ");
    }

    #[test]
    fn cuts_by_columns_not_by_bytes() {
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
