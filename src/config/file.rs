//! The configuration file: which one it is, and what stands in it with its lines.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{Mistake, Place, Wrong};
use super::headers;
use super::settings::{self, Kind, Setting};
use super::tables::Tables;
use super::walk::Walk;

/// One value of the file.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// The file as found.
#[derive(Default)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) tables: Tables,
}

/// Reads the first file that is there; one that was named has to be there.
pub(super) fn read(
    cwd: &Path,
    named: Option<(Place, String)>,
    system: &Path,
    mistakes: &mut Vec<Mistake>,
) -> ConfigFile {
    if let Some((place, name)) = named {
        let path = PathBuf::from(name);
        return match std::fs::read_to_string(cwd.join(&path)) {
            Ok(text) => parse(path, &text, mistakes),
            Err(error) => {
                mistakes.push(Mistake { place, wrong: Wrong::unreadable(&path, &error) });
                ConfigFile::default()
            }
        };
    }
    for path in [Path::new("doorbook.toml"), system] {
        match std::fs::read_to_string(cwd.join(path)) {
            Ok(text) => return parse(path.to_owned(), &text, mistakes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let place = Place::Whole(path.to_owned());
                mistakes.push(Mistake { place, wrong: Wrong::unreadable(path, &error) });
                return ConfigFile::default();
            }
        }
    }
    ConfigFile::default()
}

/// Reads the text of a file; every mistake in it has its line.
pub(super) fn parse(path: PathBuf, text: &str, mistakes: &mut Vec<Mistake>) -> ConfigFile {
    let mut found = Vec::new();
    let mut walk = Walk::through(&path, text, &mut found);
    let mut file = ConfigFile { path: path.clone(), ..ConfigFile::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        // Only the message: the rest of the error quotes the line, which may hold a secret.
        walk.wrong(at, "", Wrong::NotToml(error.message().to_owned()));
    }
    for (key, value) in table.get_ref().iter().filter(|_| errors.is_empty()) {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        match name {
            "group" => file.tables.read_groups(&mut walk, value),
            "rule" => file.tables.read_rules(&mut walk, value),
            _ => match understand(name, value.get_ref()) {
                Ok(value) => {
                    let place = walk.place(at, name);
                    file.entries.push(Entry { key: name.to_owned(), value, place });
                }
                Err(wrong) => walk.wrong(at, name, wrong),
            },
        }
    }
    mistakes.append(&mut found);
    file
}

fn understand(key: &str, value: &DeValue<'_>) -> Result<String, Wrong> {
    let known = settings::ALL.iter().find(|s| s.key == key || is_file_key(s, key));
    let Some(setting) = known else {
        return Err(variable(key).map_or_else(|| Wrong::UnknownKey(nearest(key)), Wrong::VariableInFile));
    };
    match value {
        _ if setting.kind == Kind::Later => Err(Wrong::Later),
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if setting.kind == Kind::Plain => Ok(number.as_str().to_owned()),
        DeValue::Array(items) if setting.kind == Kind::Plain => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts
                .map(|texts| texts.join(","))
                .ok_or(Wrong::Type { expected: "text or a list of texts", found: "a list of something else" })
        }
        DeValue::Table(map) if key == settings::IDENTITY_HEADERS.key => headers::of_table(map),
        other => Err(Wrong::Type { expected: "text", found: type_of(other) }),
    }
}

/// Returns whether `key` names the file in which the secret stands.
pub(super) fn is_file_key(setting: &Setting, key: &str) -> bool {
    setting.kind == Kind::Secret && key.strip_suffix("_file") == Some(setting.key)
}

fn nearest(key: &str) -> Option<&'static str> {
    let known = settings::ALL.iter().map(|setting| setting.key).chain(settings::TABLES);
    closest(key, known).map(|name| match name {
        "rule" => "[[rule]]",
        "group" => "[[group]]",
        key => key,
    })
}

/// Returns the key that somebody meant who wrote the name of its variable.
fn variable(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let key = lower.strip_prefix("doorbook_").unwrap_or(&lower);
    let known = settings::ALL.iter().find(|setting| setting.variable == name || setting.key == key);
    known.map(|setting| setting.key)
}

/// Returns the known name that somebody who wrote `name` most likely meant.
pub(super) fn closest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= 2.max(candidate.len() / 4))
        .min()
        .map(|(_, candidate)| candidate)
}

pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
