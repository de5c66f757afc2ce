//! Rows of the log on their way out: one at a time, wherever none has to be known before another is printed.

use std::collections::VecDeque;
use std::io::{self, Write};

use serde::Serialize;

use crate::audit::{EventRow, Person};
use crate::cli::rows::{self, Format, Row, Screen, Stream, visible};
use crate::domain::time::Timestamp;

/// What a line shows of a row where there is no table around it: no position in its record, no data.
const LINE: [usize; 7] = [0, 2, 4, 6, 8, 9, 10];

/// Rows that are being printed.
///
/// Nothing is kept but what must be: the newest few where only they are wanted, and a table, because its columns
/// are as wide as its widest rows.
pub(super) struct Listing {
    screen: Screen,
    limit: Option<usize>,
    way: Way,
    kept: VecDeque<Shown>,
    failed: Option<io::Error>,
}

enum Way {
    /// To be gone on with, for ever.
    Lines(Lines),
    Stream(Stream),
    Table,
}

impl Listing {
    pub(super) fn begin(format: Format, screen: Screen, limit: Option<usize>, follow: bool) -> Listing {
        let way = match Stream::begin(format, screen) {
            _ if follow => Way::Lines(Lines::of(format, screen)),
            Some(stream) => Way::Stream(stream),
            None => Way::Table,
        };
        Listing { screen, limit, way, kept: VecDeque::new(), failed: None }
    }

    /// Takes a row; false where nobody reads any more.
    pub(super) fn push(&mut self, row: Shown, out: &mut dyn Write) -> bool {
        if self.limit.is_none() && !matches!(self.way, Way::Table) {
            self.failed = self.print(&row, out).err();
            return self.failed.is_none();
        }
        self.kept.push_back(row);
        if self.limit.is_some_and(|limit| self.kept.len() > limit) {
            self.kept.pop_front();
        }
        true
    }

    /// Prints what was kept, and returns what goes on where there is no end.
    pub(super) fn end(mut self, out: &mut dyn Write) -> io::Result<Option<Lines>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut kept = std::mem::take(&mut self.kept);
        if let Way::Table = self.way {
            return rows::write(out, Format::Table, self.screen, kept.make_contiguous()).map(|()| None);
        }
        kept.iter().try_for_each(|row| self.print(row, out))?;
        match self.way {
            Way::Lines(mut lines) => lines.head(out).map(|()| Some(lines)),
            Way::Stream(stream) => stream.end::<Shown>(out).map(|()| None),
            Way::Table => Ok(None),
        }
    }

    fn print(&mut self, row: &Shown, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.way {
            Way::Lines(lines) => lines.print(row, out),
            Way::Stream(stream) => stream.row(out, row),
            Way::Table => Ok(()),
        }
    }
}

/// Rows that are printed at once and have no last one: no table has a frame then, and no list a bracket.
///
/// Without a stream they are lines for people.
pub(super) struct Lines(Option<Stream>);

impl Lines {
    fn of(format: Format, screen: Screen) -> Lines {
        Lines(Stream::begin(if format == Format::Json { Format::Jsonl } else { format }, screen))
    }

    pub(super) fn print(&mut self, row: &Shown, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.0 {
            Some(stream) => stream.row(out, row)?,
            None => {
                let cells =
                    row.cells().into_iter().map(|cell| cell.map_or("-".into(), |text| visible(&text)));
                let cells = cells.enumerate().filter(|(at, _)| LINE.contains(at)).map(|(_, cell)| cell);
                writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
            }
        }
        out.flush()
    }

    fn head(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |stream| stream.head::<Shown>(out))
    }
}

/// A row, and the moment it is looked at.
pub(super) struct Shown {
    pub(super) row: EventRow,
    pub(super) now: Timestamp,
}

fn name(person: &Person) -> String {
    let name = person.username.clone().or_else(|| person.id.clone());
    name.or_else(|| person.sub.clone()).unwrap_or_default()
}

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &[
        "position", "index", "time", "age", "kind", "user_id", "user", "session", "actor", "ip", "summary",
        "data",
    ];

    const WHOLE: &'static [usize] = &[0, 2, 3, 7, 9];

    const WEIGHT: &'static [usize] = &[0, 2, 6, 10, 9, 3, 8, 4, 7];

    fn stands_out(&self) -> bool {
        self.row.kind.starts_with("sign_in.") || self.row.kind == "log.loss_accepted"
    }

    fn cells(&self) -> Vec<Option<String>> {
        let row = &self.row;
        let user = row.user.as_ref();
        let actor = match &row.actor.user {
            Some(person) if Some(person) != user => format!("{} {}", row.actor.kind, name(person)),
            _ => row.actor.kind.clone(),
        };
        let mut kind = row.kind.clone();
        kind.push_str(if row.derived { " (derived)" } else { "" });
        if let Some(why) = row.without_effect {
            kind.push_str(&format!(" ({why})"));
        }
        vec![
            row.position.map(|position| position.to_string()),
            row.index.map(|index| index.to_string()),
            Some(row.time.to_string()),
            Some(rows::age(self.now, row.time)),
            Some(kind),
            user.and_then(|person| person.id.clone()),
            user.map(name),
            row.session.clone(),
            Some(actor),
            row.ip.map(|ip| ip.to_string()),
            Some(row.summary.clone()),
            (!row.data.is_empty()).then(|| serde_json::Value::Object(row.data.clone()).to_string()),
        ]
    }

    fn json(&self) -> impl Serialize {
        &self.row
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::audit::Actor;

    fn shown(position: u64) -> Shown {
        let actor = Actor { kind: "system".into(), user: None, via: None };
        let row = EventRow {
            position: Some(position),
            index: Some(0),
            time: Timestamp(0),
            kind: "server.stopped".into(),
            user: None,
            session: None,
            actor,
            ip: None,
            summary: "it stopped".into(),
            data: Map::new(),
            derived: false,
            without_effect: None,
        };
        Shown { row, now: Timestamp(0) }
    }

    #[test]
    fn rows_go_out_as_they_come_unless_a_table_must_know_them_all() {
        for (format, follow, comes) in [
            (Format::Jsonl, false, true),
            (Format::Csv, false, true),
            (Format::Json, false, true),
            (Format::Table, true, true),
            (Format::Table, false, false),
        ] {
            let (mut out, mut before) = (Vec::new(), 0);
            let mut listing = Listing::begin(format, Screen::PIPE, None, follow);
            for position in 0..3 {
                assert!(listing.push(shown(position), &mut out));
                assert_eq!((out.len() > before, listing.kept.is_empty()), (comes, comes), "{format:?}");
                before = out.len();
            }
            listing.end(&mut out).unwrap();
            let mut whole = Vec::new();
            let all: Vec<Shown> = (0..3).map(shown).collect();
            rows::write(&mut whole, format, Screen::PIPE, &all).unwrap();
            assert!(follow || out == whole, "{format:?}: {}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn of_the_newest_few_no_more_are_kept() {
        let mut out = Vec::new();
        let mut listing = Listing::begin(Format::Csv, Screen::PIPE, Some(2), false);
        (0..100).for_each(|position| assert!(listing.push(shown(position), &mut out)));
        assert_eq!((out.len(), listing.kept.len()), (0, 2));
        listing.end(&mut out).unwrap();
        let lines: Vec<_> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert!(lines.len() == 3 && lines[1].starts_with(b"98,") && lines[2].starts_with(b"99,"));
    }

    #[test]
    fn who_hangs_up_ends_the_reading() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut listing = Listing::begin(Format::Jsonl, Screen::PIPE, None, false);
        assert!(!listing.push(shown(0), &mut Full), "nobody needs the next one");
        assert!(listing.end(&mut Full).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe));
    }
}
