//! Where values come from, and which of them counts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::dotenv::{self, Assignment};
use super::error::{Mistake, Place, Wrong};
use super::file::{self, ConfigFile};
use super::settings::{self, Kind, Setting};
use super::tables::Tables;

/// Everything a configuration is read from; passed in, so that tests need no process environment.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The flags that were given: the flag without its dashes, and its value. `config` names the file.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory: `.env`, `doorbook.toml` and relative paths are looked for here.
    pub cwd: PathBuf,
    /// The file of the system, the last one looked for.
    pub system_file: PathBuf,
}

impl Sources {
    /// Returns what this process was started with.
    pub fn of_process(flags: BTreeMap<&'static str, String>) -> std::io::Result<Sources> {
        Ok(Sources {
            flags,
            env: std::env::vars_os().collect(),
            cwd: std::env::current_dir()?,
            system_file: Path::new("/etc/doorbook/doorbook.toml").to_owned(),
        })
    }
}

/// A value and its place.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

/// All sources, opened.
pub(super) struct Layers<'a> {
    sources: &'a Sources,
    dotenv: Vec<Assignment>,
    file: ConfigFile,
}

/// A value as it was written, or the name of the file it stands in.
enum Written {
    Here(Found),
    InFile(Found),
}

impl<'a> Layers<'a> {
    /// Opens the sources; what is wrong with a source as a whole goes to `mistakes`.
    pub(super) fn open(sources: &'a Sources, mistakes: &mut Vec<Mistake>) -> Layers<'a> {
        let dotenv = dotenv::read(&sources.cwd, mistakes);
        let mut layers = Layers { sources, dotenv, file: ConfigFile::default() };
        let named = layers.named_file(mistakes);
        layers.file = file::read(&sources.cwd, named, &sources.system_file, mistakes);
        layers.look_for_strangers(mistakes);
        layers
    }

    /// Takes a file as the only source.
    pub(super) fn only(sources: &'a Sources, file: ConfigFile) -> Layers<'a> {
        Layers { sources, dotenv: Vec::new(), file }
    }

    /// Returns what the tables of the file say.
    pub(super) fn tables(&self) -> &Tables {
        &self.file.tables
    }

    /// Returns the file, as it was named.
    pub(super) fn file_path(&self) -> &Path {
        &self.file.path
    }

    /// Returns the value of a setting that counts: flag, environment, `.env`, file; in this order.
    pub(super) fn find(&self, setting: &Setting) -> Result<Option<Found>, Mistake> {
        match self.written(setting)? {
            None => Ok(None),
            Some(Written::Here(found)) => Ok(Some(found)),
            Some(Written::InFile(found)) => self.secret_file(found).map(Some),
        }
    }

    fn written(&self, setting: &Setting) -> Result<Option<Written>, Mistake> {
        if let Some(text) = self.sources.flags.get(setting.flag) {
            let place = Place::Flag(setting.flag);
            return Ok(Some(Written::Here(Found { text: text.clone(), place })));
        }
        let names: Vec<String> =
            std::iter::once(setting.variable).chain(setting.alias).map(String::from).collect();
        for layer in [Layers::environment, Layers::dotenv] {
            let mut written = Vec::new();
            for name in &names {
                written.extend(layer(self, name)?.map(Written::Here));
                if setting.kind == Kind::Secret {
                    written.extend(layer(self, &format!("{name}_FILE"))?.map(Written::InFile));
                }
            }
            if let Some(found) = only(written)? {
                return Ok(Some(found));
            }
        }
        let mut written = Vec::new();
        for entry in &self.file.entries {
            let found = || Found { text: entry.value.clone(), place: entry.place.clone() };
            if entry.key == setting.key {
                written.push(Written::Here(found()));
            } else if file::is_file_key(setting, &entry.key) {
                written.push(Written::InFile(found()));
            }
        }
        only(written)
    }

    fn environment(&self, name: &str) -> Result<Option<Found>, Mistake> {
        let Some(value) = self.sources.env.get(std::ffi::OsStr::new(name)) else { return Ok(None) };
        let place = Place::Variable(name.to_owned());
        match value.to_str() {
            Some(text) => Ok(Some(Found { text: text.to_owned(), place })),
            None => Err(Mistake { place, wrong: Wrong::NotUtf8 }),
        }
    }

    fn dotenv(&self, name: &str) -> Result<Option<Found>, Mistake> {
        let mut all = self.dotenv.iter().filter(|assignment| assignment.name == name);
        let Some(first) = all.next() else { return Ok(None) };
        let place = |assignment: &Assignment| Place::DotEnv { line: assignment.line, name: name.to_owned() };
        match all.next() {
            Some(second) => Err(Mistake { place: place(second), wrong: Wrong::Twice }),
            None => Ok(Some(Found { text: first.value.clone(), place: place(first) })),
        }
    }

    fn secret_file(&self, named: Found) -> Result<Found, Mistake> {
        let path = Path::new(&named.text);
        let mut text = std::fs::read_to_string(self.sources.cwd.join(path)).map_err(|error| Mistake {
            place: named.place.clone(),
            wrong: Wrong::unreadable_secret(path, &error),
        })?;
        // Editors and `echo` end a file with a line break that is not part of the secret.
        let kept = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(kept);
        if text.is_empty() {
            return Err(Mistake { place: named.place, wrong: Wrong::Empty });
        }
        Ok(Found { text, place: named.place })
    }

    fn named_file(&self, mistakes: &mut Vec<Mistake>) -> Option<(Place, String)> {
        if let Some(path) = self.sources.flags.get("config") {
            return Some((Place::Flag("config"), path.clone()));
        }
        for found in [self.environment(settings::CONFIG_VARIABLE), self.dotenv(settings::CONFIG_VARIABLE)] {
            match found {
                Ok(Some(found)) => return Some((found.place, found.text)),
                Ok(None) => {}
                Err(mistake) => mistakes.push(mistake),
            }
        }
        None
    }

    /// A mistyped `DOORBOOK_ALLOW` would let everybody in, so names that look like ours must be ours.
    ///
    /// In the environment only near misses count: container platforms add variables of their own.
    fn look_for_strangers(&self, mistakes: &mut Vec<Mistake>) {
        for assignment in &self.dotenv {
            if assignment.name.starts_with("DOORBOOK_") && !is_known(&assignment.name) {
                let place = Place::DotEnv { line: assignment.line, name: assignment.name.clone() };
                let nearest = file::closest(&assignment.name, known());
                mistakes.push(Mistake { place, wrong: Wrong::UnknownVariable(nearest) });
            }
        }
        for name in self.sources.env.keys().filter_map(|name| name.to_str()) {
            if name.starts_with("DOORBOOK_") && !is_known(name) {
                let near = known().find(|known| strsim::damerau_levenshtein(name, known) <= 2);
                if near.is_some() {
                    let place = Place::Variable(name.to_owned());
                    mistakes.push(Mistake { place, wrong: Wrong::UnknownVariable(near) });
                }
            }
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    settings::ALL.iter().map(|setting| setting.variable).chain([settings::CONFIG_VARIABLE])
}

fn is_known(name: &str) -> bool {
    known().any(|known| known == name)
}

/// One place may say a thing once.
fn only(mut written: Vec<Written>) -> Result<Option<Written>, Mistake> {
    let place = |written: &Written| match written {
        Written::Here(found) | Written::InFile(found) => found.place.clone(),
    };
    match &written[..] {
        [] | [_] => Ok(written.pop()),
        [first, second, ..] => {
            let first = match place(first) {
                Place::Variable(name) | Place::DotEnv { name, .. } => name,
                Place::File { key, .. } => key,
                other => other.to_string(),
            };
            Err(Mistake { place: place(second), wrong: Wrong::Both(first) })
        }
    }
}
