//! The one place that prints rows: as a table for people, as JSON or CSV for programs.

use std::io::{self, Write};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use super::json;
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

    /// The headings of a table, where they are others.
    const HEADINGS: &'static [&'static str] = Self::COLUMNS;

    /// The columns whose cells a table never breaks over lines.
    const WHOLE: &'static [usize] = &[];

    /// The columns by weight, the heaviest first: what does not fit beside those before it is left out of a
    /// table in a terminal, and what is not named is in no table. Where none are named, all are shown; the other
    /// formats always have all of them.
    const WEIGHT: &'static [usize] = &[];

    /// Returns whether a person should notice it; a table shows it in another colour.
    fn stands_out(&self) -> bool {
        false
    }

    /// Returns one cell per heading; `None` where there is nothing to say.
    fn cells(&self) -> Vec<Option<String>>;

    /// Returns the cells as a table shows them to people.
    fn shown(&self) -> Vec<Option<String>> {
        self.cells()
    }

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
    let Some(mut stream) = Stream::begin(format, screen) else { return table(out, screen, rows) };
    rows.iter().try_for_each(|row| stream.row(out, row))?;
    stream.end::<R>(out)
}

/// Rows that are printed as they come, so that none has to be kept.
#[derive(Debug)]
pub struct Stream {
    format: Format,
    on_terminal: bool,
    has_begun: bool,
}

impl Stream {
    /// Begins; `None` for a table, whose columns are as wide as the widest of all its rows.
    pub fn begin(format: Format, screen: Screen) -> Option<Stream> {
        let on_terminal = screen.width.is_some();
        (format != Format::Table).then_some(Stream { format, on_terminal, has_begun: false })
    }

    /// Prints a row.
    pub fn row<R: Row>(&mut self, out: &mut dyn Write, row: &R) -> io::Result<()> {
        let is_first = !self.has_begun;
        self.head::<R>(out)?;
        match self.format {
            Format::Json => {
                let text = json::pretty(&row.json())?;
                let between = if is_first { "\n" } else { ",\n" };
                write!(out, "{between}  {}", text.replace('\n', "\n  "))
            }
            Format::Jsonl | Format::Table => {
                writeln!(out, "{}", json::line(&row.json())?)
            }
            Format::Csv => {
                let as_it_is = |cell: Option<String>| cell.unwrap_or_default();
                // A program gets what is there; a terminal would obey it.
                let plain = |cell: Option<String>| visible(&cell.unwrap_or_default());
                csv(out, row.cells().into_iter().map(if self.on_terminal { plain } else { as_it_is }))
            }
        }
    }

    /// Prints what stands above the first row, where nothing has been printed yet.
    pub fn head<R: Row>(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        match self.format {
            Format::Json => write!(out, "["),
            Format::Csv => csv(out, R::COLUMNS),
            Format::Jsonl | Format::Table => Ok(()),
        }
    }

    /// Prints what stands below the last row.
    pub fn end<R: Row>(mut self, out: &mut dyn Write) -> io::Result<()> {
        let any = self.has_begun;
        self.head::<R>(out)?;
        match self.format {
            Format::Json if any => writeln!(out, "\n]"),
            Format::Json => writeln!(out, "]"),
            _ => Ok(()),
        }
    }
}

fn csv(out: &mut dyn Write, cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    csv.write_record(cells)?;
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

/// Between two columns.
const GAP: u16 = 2;

/// What a cell that may be broken over lines needs, so that its pieces can be read.
const PIECE: u16 = 24;

fn table<R: Row>(out: &mut dyn Write, Screen { width, colour }: Screen, rows: &[R]) -> io::Result<()> {
    let all: Vec<(bool, Vec<String>)> = rows
        .iter()
        .map(|row| (colour && row.stands_out(), row.shown().into_iter().map(text).collect()))
        .collect();
    let every = every::<R>();
    let mut table = of_columns::<R>(&every, &all);
    if let Some(width) = width {
        let fitting = fitting::<R>(width, &every, &table.column_max_content_widths());
        if fitting.len() < every.len() {
            table = of_columns::<R>(&fitting, &all);
        }
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if colour {
        table.enforce_styling();
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Returns the columns that a table has where there is room for all of them, in their order.
fn every<R: Row>() -> Vec<usize> {
    if R::WEIGHT.is_empty() {
        return (0..R::COLUMNS.len()).collect();
    }
    let mut every = R::WEIGHT.to_vec();
    every.sort_unstable();
    every
}

fn of_columns<R: Row>(shown: &[usize], rows: &[(bool, Vec<String>)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(shown.iter().filter_map(|&at| R::HEADINGS.get(at)).map(|name| name.to_uppercase()));
    for (stands_out, row) in rows {
        let cells = shown.iter().filter_map(|&at| row.get(at)).map(Cell::new);
        table.add_row(cells.map(|cell| if *stands_out { cell.fg(Color::Red) } else { cell }));
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
fn fitting<R: Row>(width: u16, every: &[usize], widths: &[u16]) -> Vec<usize> {
    if R::WEIGHT.is_empty() {
        return every.to_vec();
    }
    let mut left = width;
    let mut shown = Vec::new();
    for &at in R::WEIGHT {
        let place = every.iter().position(|other| *other == at);
        let whole = place.and_then(|place| widths.get(place)).copied().unwrap_or_default();
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

/// Returns whether a terminal would obey this, or whether it would hide something.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text with everything written out that a terminal would obey or that would hide something.
///
/// Names and user agents come from strangers: an escape sequence must not move the operator's cursor, and
/// a change of direction must not make one name look like another.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Returns a text of several lines with everything else written out that a terminal would obey.
///
/// For sentences that end in what others said: causes of errors, answers of a server, paths.
pub fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
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
    fn a_terminal_is_never_told_what_to_do_and_lines_stay_lines() {
        for format in [Format::Table, Format::Csv] {
            let shown = printed(format, Some(80)).replace("\r\n", "\n");
            assert!(
                shown.chars().all(|c| c == '\n' || visible(&c.to_string()).len() == c.len_utf8()),
                "{shown}"
            );
        }
        let text = "one\r\n\u{1b}]0;two\u{7}\u{9b}31m\n\u{202e}three";
        let shown = "one\\u{d}\n\\u{1b}]0;two\\u{7}\\u{9b}31m\n\\u{202e}three";
        assert_eq!(visible_lines(text), shown);
        assert_eq!(visible_lines(shown), shown, "twice is once");
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
