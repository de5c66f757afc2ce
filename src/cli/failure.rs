//! How a command can fail, the exit code of each way, and the words.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::advice;
use super::rows::{visible, visible_lines};
use crate::audit::{CopyError, Person, ReadError};
use crate::config::ConfigErrors;
use crate::control::{ControlError, Trouble};
use crate::event_log::start::StartError;
use crate::serve::{ImportError, KeysError, ServeError};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The answer is "no".
    No(String),
    /// Wrong use.
    Usage(String),
    /// Wrong configuration.
    Config(ConfigErrors),
    /// The server, or the log without one.
    Serve(ServeError),
    /// The control socket.
    Control(ControlError),
    /// Whoever was asked over it.
    Trouble(Trouble),
    /// A log that was to be read.
    Read(ReadError),
    /// Several people of one name.
    Ambiguous(Vec<Person>),
    /// Standard output.
    Output(io::Error),
    /// Standard input.
    Input(io::Error),
    /// A file that was named.
    File {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A log that was to be put back.
    Import(ImportError),
    /// Keys into escrow, or out of it.
    Keys(KeysError),
    /// The parts every program needs.
    Runtime(io::Error),
}

impl Failure {
    /// Returns the exit code; 0 where nothing is wrong.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::No(_)
            | Failure::Trouble(Trouble::No(_))
            | Failure::Read(ReadError::BehindTheEnd { .. }) => 1,
            Failure::Usage(_)
            | Failure::Config(_)
            | Failure::Ambiguous(_)
            | Failure::Trouble(Trouble::Ambiguous(_)) => 2,
            Failure::Serve(error) if error.is_configuration() => 2,
            Failure::Import(error) => of_import(error),
            Failure::Keys(error) if error.is_a_no() => 1,
            Failure::Keys(error) if error.is_wrong_use() => 2,
            Failure::Serve(_)
            | Failure::Control(_)
            | Failure::Trouble(_)
            | Failure::Read(_)
            | Failure::Output(_)
            | Failure::Input(_)
            | Failure::File { .. }
            | Failure::Keys(_)
            | Failure::Runtime(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Much of it is what others said: a server, Discord, a file that somebody sent.
        let words = advice::instead_of(self).unwrap_or_else(|| Words(self).to_string());
        f.write_str(&visible_lines(&words))?;
        advice::beside(self).map_or(Ok(()), |advice| write!(f, "; {}", visible_lines(&advice)))
    }
}

/// A failure in words, as they came.
struct Words<'a>(&'a Failure);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Failure::No(text) | Failure::Usage(text) => f.write_str(text),
            Failure::Config(errors) => errors.fmt(f),
            Failure::Serve(error) => chain(f, error),
            Failure::Control(error) => chain(f, error),
            Failure::Trouble(Trouble::Ambiguous(users)) => {
                f.write_str("more than one person goes by that name; say which by id:")?;
                for user in users {
                    let (id, username, name) = (user.id, &user.username, &user.display_name);
                    write!(f, "\n  {id}  {} ({})", visible(username), visible(name))?;
                }
                Ok(())
            }
            Failure::Ambiguous(people) => {
                f.write_str("more than one person goes by that name; say which by id:")?;
                for person in people {
                    let text = |text: &Option<String>| visible(text.as_deref().unwrap_or("-"));
                    let (id, username, name) = (&person.id, &person.username, &person.name);
                    write!(f, "\n  {}  {} ({})", text(id), text(username), text(name))?;
                }
                Ok(())
            }
            Failure::Trouble(error) => chain(f, error),
            Failure::Read(error) => chain(f, error),
            Failure::Output(error) => write!(f, "cannot write the result: {error}"),
            Failure::Input(error) => write!(f, "cannot read from standard input: {error}"),
            Failure::File { what, path, source } => write!(f, "{} {what}: {source}", path.display()),
            Failure::Import(error) => chain(f, error),
            Failure::Keys(error) => chain(f, error),
            Failure::Runtime(error) => write!(f, "cannot start: {error}"),
        }
    }
}

/// A copy that is none is an answer; a log that is there already was wrong use.
fn of_import(error: &ImportError) -> u8 {
    match error {
        ImportError::Copy(CopyError::Input(_)) => 3,
        ImportError::Copy(_) => 1,
        ImportError::Start(StartError::LogThere { .. })
        | ImportError::OtherKeys { .. }
        | ImportError::NoKeys { .. } => 2,
        _ => 3,
    }
}

/// An error and what caused it, in one line.
pub(super) struct InOneLine<'a>(pub(super) &'a dyn Error);

impl fmt::Display for InOneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chain(f, self.0)
    }
}

/// Writes an error and what caused it, in one line.
fn chain(f: &mut fmt::Formatter<'_>, error: &dyn Error) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure::Config(errors)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        Failure::Serve(error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        Failure::Import(error)
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Failure {
        Failure::Keys(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::Read(error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        Failure::Control(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Trouble(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_tells_a_terminal_nothing() {
        let evil = "no\u{1b}[2J\u{9b}31m\u{202e}\nsecond line";
        let shown = "no\\u{1b}[2J\\u{9b}31m\\u{202e}\nsecond line";
        let failed = || Trouble::Failed(evil.to_owned());
        let read = ReadError::Unavailable { why: evil.to_owned() };
        let io = || io::Error::other(evil);
        for failure in [
            Failure::No(evil.to_owned()),
            Failure::Usage(evil.to_owned()),
            Failure::Trouble(Trouble::No(evil.to_owned())),
            Failure::Trouble(failed()),
            Failure::Trouble(Trouble::Connection(io())),
            Failure::Read(read),
            Failure::File { what: "cannot be read", path: evil.into(), source: io() },
        ] {
            let text = failure.to_string();
            assert!(text.contains(shown) && !text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
        }
    }
}
