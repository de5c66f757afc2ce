//! `.env` in the working directory, read into values; the process's own environment is never changed.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use super::error::{Mistake, Place, Wrong};

/// One assignment.
pub(super) struct Assignment {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// Reads `.env` where there is one; what cannot be read is a mistake.
pub(super) fn read(cwd: &Path, mistakes: &mut Vec<Mistake>) -> Vec<Assignment> {
    match std::fs::read_to_string(cwd.join(".env")) {
        Ok(text) => parse(&text, mistakes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let path = Path::new(".env");
            mistakes
                .push(Mistake { place: Place::Whole(path.into()), wrong: Wrong::unreadable(path, &error) });
            Vec::new()
        }
    }
}

fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Assignment> {
    let text = text.trim_start_matches('\u{feff}');
    let line = Rc::new(Cell::new(0));
    let reader = LineByLine { rest: text.as_bytes(), line: Rc::clone(&line) };
    let mut found = Vec::new();
    for item in dotenvy::from_read_iter(reader) {
        match item {
            Ok((name, value)) => found.push(Assignment { line: line.get(), name, value }),
            // The error holds the whole line, which may be a secret: only its number is kept.
            Err(_) => {
                let place = Place::DotEnv { line: line.get(), name: String::new() };
                mistakes.push(Mistake { place, wrong: Wrong::NotALine });
            }
        }
    }
    found
}

/// Hands out one line per call, so that the number of the last line is known whenever dotenvy stops.
struct LineByLine<'a> {
    rest: &'a [u8],
    line: Rc<Cell<usize>>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.rest.iter().position(|&b| b == b'\n').map_or(self.rest.len(), |at| at + 1);
        let count = end.min(buffer.len());
        let (now, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = rest;
        if now.ends_with(b"\n") || (count > 0 && rest.is_empty()) {
            self.line.set(self.line.get() + 1);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_assignment_knows_its_line() {
        let mut mistakes = Vec::new();
        let text = "# a comment\n\nA=1\nexport B='two words'\nwhat is this\nC=\"x\ny\"\nD=4";
        let found: Vec<_> =
            parse(text, &mut mistakes).into_iter().map(|a| (a.line, a.name, a.value)).collect();
        let expected = [(3, "A", "1"), (4, "B", "two words"), (7, "C", "x\ny"), (8, "D", "4")];
        assert_eq!(found, expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned())));
        let [mistake] = &mistakes[..] else { panic!("{mistakes:?}") };
        assert_eq!(mistake.to_string(), ".env:5: is not a line of the form NAME=value");
    }
}
