//! The one place that prints rows: as a table for people, as JSON or CSV for programs.

use std::io::{self, Write};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::domain::time::Timestamp;

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

    /// Returns which columns a table of that width shows; the other formats always have all of them.
    fn shown(_width: Option<u16>) -> Vec<usize> {
        (0..Self::COLUMNS.len()).collect()
    }

    /// Returns whether a person should notice it; a table shows it in another colour.
    fn stands_out(&self) -> bool {
        false
    }

    /// Returns one cell per heading; `None` where there is nothing to say.
    fn cells(&self) -> Vec<Option<String>>;

    /// Returns the same as JSON, in which things may stand inside each other.
    fn json(&self) -> impl Serialize;
}

/// What rows are printed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// How wide it is, where it is a terminal.
    pub width: Option<u16>,
    /// Whether it shows colours.
    pub colour: bool,
}

impl Screen {
    /// Nothing that a person looks at.
    pub const PIPE: Screen = Screen { width: None, colour: false };
}

/// Prints rows; a table is fitted into the screen, where there is one.
pub fn write<R: Row>(out: &mut dyn Write, format: Format, screen: Screen, rows: &[R]) -> io::Result<()> {
    match format {
        Format::Table => table(out, screen, rows),
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

/// Prints one row of comma-separated values, without the headings.
pub fn write_csv_row<R: Row>(out: &mut dyn Write, row: &R) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    csv.write_record(row.cells().into_iter().map(Option::unwrap_or_default))?;
    csv.flush()
}

/// Returns how long ago something was, roughly: `3 h ago`.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let (seconds, when) = match now.since(then).as_secs() {
        0 if then > now => (then.since(now).as_secs(), "from now"),
        seconds => (seconds, "ago"),
    };
    match seconds {
        0 => "now".to_owned(),
        1..=89 => format!("{seconds} s {when}"),
        90..=5_399 => format!("{} min {when}", (seconds + 30) / 60),
        5_400..=129_599 => format!("{} h {when}", (seconds + 1_800) / 3_600),
        _ => format!("{} d {when}", (seconds + 43_200) / 86_400),
    }
}

fn table<R: Row>(out: &mut dyn Write, Screen { width, colour }: Screen, rows: &[R]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if colour {
        table.enforce_styling();
    }
    let shown = R::shown(width);
    table.set_header(shown.iter().filter_map(|&at| R::COLUMNS.get(at)).map(|name| name.to_uppercase()));
    for row in rows {
        let mut cells = row.cells();
        let cells = shown.iter().map(|&at| cells.get_mut(at).and_then(Option::take));
        let cells = cells.map(|cell| {
            let cell = Cell::new(cell.map_or_else(|| "-".to_owned(), |text| visible(&text)));
            if colour && row.stands_out() { cell.fg(Color::Red) } else { cell }
        });
        table.add_row(cells);
    }
    for (at, column) in shown.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, 2));
        if R::WHOLE.contains(at) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
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

        fn stands_out(&self) -> bool {
            self.0 == "nelly"
        }

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
        write(&mut out, format, Screen { width, colour: false }, PEOPLE).unwrap();
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
    fn what_stands_out_is_coloured_where_colours_are_seen_and_nowhere_else() {
        let red = |colour| {
            let mut out = Vec::new();
            write(&mut out, Format::Table, Screen { width: Some(80), colour }, PEOPLE).unwrap();
            String::from_utf8(out).unwrap().lines().filter(|line| line.contains("\u{1b}[")).count()
        };
        assert_eq!((red(true), red(false)), (1, 0));
    }

    #[test]
    fn no_rows_are_an_empty_list_and_not_nothing() {
        let mut out = Vec::new();
        write::<Person>(&mut out, Format::Json, Screen::PIPE, &[]).unwrap();
        assert_eq!(out, b"[]\n");
    }
}
