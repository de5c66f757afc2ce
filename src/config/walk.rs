//! A walk through the tables of the file that notes every mistake with its line.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, Place, Wrong};
use super::file::{closest, type_of};
use super::settings;

/// What a list of terms is one of.
pub(super) const TERMS: &str = "terms";

/// Where the lines of a text begin, and what is wrong in it.
pub(super) struct Walk<'m> {
    path: PathBuf,
    starts: Vec<usize>,
    found: &'m mut Vec<Mistake>,
}

/// A table, what it is called, and where it stands.
#[derive(Clone)]
pub(super) struct Table<'v, 'i> {
    name: String,
    at: usize,
    table: &'v DeTable<'i>,
}

impl Table<'_, '_> {
    /// Returns its keys, in alphabetical order.
    pub(super) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.table.keys().map(|key| key.get_ref().as_ref()).collect();
        keys.sort_unstable();
        keys
    }

    /// Returns what one of its keys is called.
    pub(super) fn named(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }
}

impl<'m> Walk<'m> {
    pub(super) fn through(path: &Path, text: &str, found: &'m mut Vec<Mistake>) -> Walk<'m> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Walk { path: path.to_owned(), starts: std::iter::once(0).chain(breaks).collect(), found }
    }

    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Returns the line of a table, counted from 1.
    pub(super) fn line_of(&self, table: &Table<'_, '_>) -> usize {
        self.line(table.at)
    }

    pub(super) fn place(&self, at: usize, key: impl Into<String>) -> Place {
        Place::File { path: self.path.clone(), line: self.line(at), key: key.into() }
    }

    pub(super) fn wrong(&mut self, at: usize, key: impl Into<String>, wrong: Wrong) {
        let place = self.place(at, key);
        self.found.push(Mistake { place, wrong });
    }

    /// Returns how many mistakes there are so far.
    pub(super) fn mistakes(&self) -> usize {
        self.found.len()
    }

    /// Notes what is wrong with a table as a whole.
    pub(super) fn note(&mut self, table: &Table<'_, '_>, wrong: Wrong) {
        self.wrong(table.at, table.name.clone(), wrong);
    }

    /// Notes what is wrong with one key of a table.
    pub(super) fn note_key(&mut self, table: &Table<'_, '_>, key: &str, wrong: Wrong) {
        let at = table.table.get_key_value(key).map_or(table.at, |(key, _)| key.span().start);
        self.wrong(at, table.named(key), wrong);
    }

    pub(super) fn place_of(&self, table: &Table<'_, '_>) -> Place {
        self.place(table.at, table.name.clone())
    }

    /// Takes a value as a table.
    pub(super) fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
        name: &str,
    ) -> Option<Table<'v, 'i>> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(table) => Some(Table { name: name.to_owned(), at, table }),
            other => {
                self.wrong(at, name, Wrong::Type { expected: "a table", found: type_of(other) });
                None
            }
        }
    }

    /// Notes every key that is none of these.
    pub(super) fn only_keys(&mut self, table: &Table<'_, '_>, known: &'static [&'static str]) {
        for key in table.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let wrong = match (settings::ALL.iter().any(|setting| setting.key == name), table.name.as_str()) {
                (true, "rule") => Wrong::SettingInTable("rule"),
                (true, "group") => Wrong::SettingInTable("group"),
                _ => Wrong::UnknownKey(closest(name, known.iter().copied())),
            };
            self.wrong(key.span().start, table.named(name), wrong);
        }
    }

    /// Reads a key that holds text, or a number that is written like it; `None` where it is missing or wrong.
    pub(super) fn parse<T>(
        &mut self,
        table: &Table<'_, '_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let parsed = match table.table.get(key)?.get_ref() {
            DeValue::String(text) => parse(text),
            // An id without its quotes; it is read as it is written, so no digit is lost.
            DeValue::Integer(number) if number.radix() == 10 => parse(number.as_str()),
            other => Err(Wrong::Type { expected: "text", found: type_of(other) }),
        };
        parsed.map_err(|wrong| self.note_key(table, key, wrong)).ok()
    }

    /// Reads a switch that may be on or off; off where it is missing.
    pub(super) fn switch(&mut self, table: &Table<'_, '_>, key: &str) -> bool {
        match table.table.get(key).map(Spanned::get_ref) {
            None => false,
            Some(DeValue::Boolean(value)) => *value,
            Some(other) => {
                let wrong = Wrong::Type { expected: "true or false", found: type_of(other) };
                self.note_key(table, key, wrong);
                false
            }
        }
    }

    /// Reads a switch that is either on or not there; returns whether it is on.
    pub(super) fn only_true(&mut self, table: &Table<'_, '_>, key: &str) -> bool {
        let before = self.mistakes();
        let is_on = self.switch(table, key);
        if !is_on && table.has(key) && self.mistakes() == before {
            self.note_key(table, key, Wrong::OnlyTrue);
        }
        is_on
    }

    /// Returns the items of a key that holds a list of at most so many, or notes that it is none.
    pub(super) fn list<'v, 'i>(
        &mut self,
        table: &Table<'v, 'i>,
        key: &str,
        what: &'static str,
        most: usize,
    ) -> Option<&'v [Spanned<DeValue<'i>>]> {
        match table.table.get(key)?.get_ref() {
            DeValue::Array(items) if items.len() > most => {
                self.note_key(table, key, Wrong::TooMany { what, most });
                None
            }
            DeValue::Array(items) => Some(items),
            other => {
                let expected = if what == TERMS { "a list, such as [{ guild = \"ID\" }]" } else { "a list" };
                self.note_key(table, key, Wrong::Type { expected, found: type_of(other) });
                None
            }
        }
    }

    /// Reads a list of texts, each into any number of values.
    pub(super) fn texts<T>(
        &mut self,
        table: &Table<'_, '_>,
        key: &str,
        most: usize,
        parse: impl Fn(&str) -> Result<Vec<T>, Wrong>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        let items = self.list(table, key, "in a list", most)?;
        if items.is_empty() {
            self.note_key(table, key, Wrong::FitsNothing);
        }
        for item in items {
            let parsed = match item.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(Wrong::Type { expected: "a list of texts", found: type_of(other) }),
            };
            match parsed {
                Ok(values) => all.extend(values),
                Err(wrong) => self.wrong(item.span().start, table.named(key), wrong),
            }
        }
        Some(all)
    }
}
