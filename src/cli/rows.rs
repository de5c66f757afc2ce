//! The one place that prints rows: as a table for people, as JSON or CSV for programs.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people, as wide as the terminal.
    #[default]
    Table,
    /// One JSON array.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a heading, as RFC 4180 has them.
    Csv,
}

/// Something that can be printed as a row.
pub trait Row {
    /// The headings.
    const COLUMNS: &'static [&'static str];

    /// The columns whose cells a table never breaks over lines.
    const WHOLE: &'static [usize] = &[];

    /// The columns by weight, the heaviest first: what does not fit beside those before it is left out of a
    /// table in a terminal. Where none are named, all are shown; the other formats always have all of them.
    const WEIGHT: &'static [usize] = &[];

    /// Returns one cell per heading; `None` where there is nothing to say.
    fn cells(&self) -> Vec<Option<String>>;

    /// Returns the cells as a table shows them to people.
    fn shown(&self) -> Vec<Option<String>> {
        self.cells()
    }

    /// Returns the same as JSON, in which things may stand inside each other.
    fn json(&self) -> impl Serialize;
}

/// Prints rows; a table is fitted into `width`, where there is a terminal.
pub fn write<R: Row>(out: &mut dyn Write, format: Format, width: Option<u16>, rows: &[R]) -> io::Result<()> {
    match format {
        Format::Table => table(out, width, rows),
        Format::Json => {
            let all: Vec<_> = rows.iter().map(Row::json).collect();
            serde_json::to_writer_pretty(&mut *out, &all)?;
            writeln!(out)
        }
        Format::Jsonl => {
            for row in rows {
                serde_json::to_writer(&mut *out, &row.json())?;
                writeln!(out)?;
            }
            Ok(())
        }
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
            csv.write_record(R::COLUMNS)?;
            for row in rows {
                csv.write_record(row.cells().into_iter().map(Option::unwrap_or_default))?;
            }
            csv.flush()
        }
    }
}

/// Between two columns.
const GAP: u16 = 2;

/// What a cell that may be broken over lines needs, so that its pieces can be read.
const PIECE: u16 = 40;

fn table<R: Row>(out: &mut dyn Write, width: Option<u16>, rows: &[R]) -> io::Result<()> {
    let all: Vec<Vec<String>> = rows.iter().map(|row| row.shown().into_iter().map(text).collect()).collect();
    let every: Vec<usize> = (0..R::COLUMNS.len()).collect();
    let mut table = of_columns::<R>(&every, &all);
    if let Some(width) = width {
        let fitting = fitting::<R>(width, &table.column_max_content_widths());
        if fitting.len() < every.len() {
            table = of_columns::<R>(&fitting, &all);
        }
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn of_columns<R: Row>(shown: &[usize], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(shown.iter().filter_map(|&at| R::COLUMNS.get(at)).map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(shown.iter().filter_map(|&at| row.get(at)));
    }
    for (at, column) in shown.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, if Some(at) == shown.last() { 0 } else { GAP }));
        if R::WHOLE.contains(at) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// Returns the columns that a table of this width has room for, in their order.
fn fitting<R: Row>(width: u16, widths: &[u16]) -> Vec<usize> {
    if R::WEIGHT.is_empty() {
        return (0..R::COLUMNS.len()).collect();
    }
    let mut left = width;
    let mut shown = Vec::new();
    for &at in R::WEIGHT {
        let whole = widths.get(at).copied().unwrap_or_default();
        let needed = if R::WHOLE.contains(&at) { whole } else { whole.min(PIECE) };
        let needed = if shown.is_empty() { needed } else { needed.saturating_add(GAP) };
        // The heaviest is there however narrow it is.
        if needed <= left || shown.is_empty() {
            left = left.saturating_sub(needed);
            shown.push(at);
        }
    }
    shown.sort_unstable();
    shown
}

fn text(cell: Option<String>) -> String {
    cell.map_or_else(|| "-".to_owned(), |text| visible(&text))
}

/// Returns the text with everything written out that a terminal would obey or that would hide something.
///
/// Names and user agents come from strangers: an escape sequence must not move the operator's cursor, and
/// a change of direction must not make one name look like another.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}');
        if hidden { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    struct Person(&'static str, Option<&'static str>);

    #[derive(Serialize)]
    struct PersonJson {
        name: &'static str,
        note: Option<&'static str>,
    }

    impl Row for Person {
        const COLUMNS: &'static [&'static str] = &["name", "note"];

        fn cells(&self) -> Vec<Option<String>> {
            vec![Some(self.0.to_owned()), self.1.map(String::from)]
        }

        fn json(&self) -> impl Serialize {
            PersonJson { name: self.0, note: self.1 }
        }
    }

    const PEOPLE: &[Person] = &[
        Person("nelly", None),
        Person("a, \"b\"", Some("two\nlines")),
        Person("\u{1b}[31mred\u{202e}", Some("a note that is longer than forty columns are wide")),
        Person("=1+1", Some("")),
    ];

    fn printed(format: Format, width: Option<u16>) -> String {
        let mut out = Vec::new();
        write(&mut out, format, width, PEOPLE).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_come_out_in_every_format() {
        snapshot!("rows_table", printed(Format::Table, None));
        snapshot!("rows_table_40_columns", printed(Format::Table, Some(40)));
        snapshot!("rows_json", printed(Format::Json, None));
        snapshot!("rows_jsonl", printed(Format::Jsonl, None));
        snapshot!("rows_csv", printed(Format::Csv, None).replace('\r', "<CR>"));
    }

    #[test]
    fn a_table_in_a_terminal_is_never_wider_than_it() {
        let table = printed(Format::Table, Some(40));
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
    }

    #[test]
    fn no_rows_are_an_empty_list_and_not_nothing() {
        let mut out = Vec::new();
        write::<Person>(&mut out, Format::Json, None, &[]).unwrap();
        assert_eq!(out, b"[]\n");
    }
}
