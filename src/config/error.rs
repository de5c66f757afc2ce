//! What is wrong with a configuration, and where; all of it at once, and never a secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value, or a mistake, stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: the setting is missing.
    Missing(&'static str),
    /// A flag, without its dashes.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(String),
    /// A line of `.env`.
    DotEnv {
        /// The line, counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A whole file.
    Whole(PathBuf),
    /// The built-in default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Missing(name) => f.write_str(name),
            Place::Flag(flag) => write!(f, "--{flag}"),
            Place::Variable(name) => f.write_str(name),
            Place::DotEnv { line, name } if name.is_empty() => write!(f, ".env:{line}"),
            Place::DotEnv { line, name } => write!(f, ".env:{line}: {name}"),
            Place::File { path, line, key } if key.is_empty() => write!(f, "{}:{line}", path.display()),
            Place::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
            Place::Whole(path) => write!(f, "{}", path.display()),
            Place::Default => f.write_str("default"),
        }
    }
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What.
    pub wrong: Wrong,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.wrong)
    }
}

/// What can be wrong.
///
/// Values are quoted only where they cannot be a secret, not even one that was put in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A setting without which the server cannot start.
    #[error("missing\n    {0}")]
    Missing(&'static str),
    /// Set to nothing.
    #[error("is set but empty; give it a value or remove it")]
    Empty,
    /// Not built yet.
    #[error("not supported by this version yet, and it would guard nothing; remove it")]
    Later,
    /// A key nobody knows.
    #[error("unknown key{}", did_you_mean(.0))]
    UnknownKey(Option<&'static str>),
    /// A variable nobody knows.
    #[error("unknown variable{}", did_you_mean(.0))]
    UnknownVariable(Option<&'static str>),
    /// A value of the wrong type.
    #[error("must be {expected}, and is {found}")]
    Type {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Not text at all.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The same thing said twice in one place.
    #[error("is set as well as {0}; keep one of them")]
    Both(String),
    /// The same variable twice in `.env`.
    #[error("is set a second time")]
    Twice,
    /// A line of `.env` that is not one.
    #[error("is not a line of the form NAME=value; a value with a space stands in quotes")]
    NotALine,
    /// The file is not TOML.
    #[error("is not TOML: {0}")]
    NotToml(String),
    /// A file that cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A secret that is too short.
    #[error("is shorter than 32 bytes; `openssl rand -base64 32` makes a good one")]
    ShortSecret,
    /// A secret with a space, a line break or something invisible in it.
    #[error("holds a space, a line break or an invisible character; it was probably not copied cleanly")]
    UncleanSecret,
    /// Not an application id.
    #[error("is not the id of a Discord application: it is a number of 17 to 20 digits")]
    ClientId,
    /// Not a URL.
    #[error("is not a URL with http:// or https://")]
    NotHttp,
    /// A redirect URL of the wrong shape.
    #[error(
        "must look like https://auth.example.org/api/auth/discord/redirect: http or https, exactly that path, \
         and {0}"
    )]
    RedirectUrl(&'static str),
    /// A URL with something in it that does not belong there.
    #[error("must have no user, query or fragment")]
    UrlParts,
    /// Not a port.
    #[error("\"{0}\" is not a port: a number up to 65535")]
    Port(String),
    /// Not an address to listen on.
    #[error("\"{0}\" is not an address to listen on: 127.0.0.1, [::1]:3001, 0.0.0.0 or localhost")]
    Listen(String),
    /// Not a duration.
    #[error("\"{0}\" is not a duration: a number and a unit, such as 30d, 12h, 15m or 10s")]
    Duration(String),
    /// A duration that is too short.
    #[error("\"{value}\" is too short: at least {least}")]
    TooShort {
        /// What was said.
        value: String,
        /// The least.
        least: &'static str,
    },
    /// A session that outlives what is known about it.
    #[error("\"{0}\" is longer than `retention`, the time for which addresses and user agents stay readable")]
    OutlivesRetention(String),
    /// Not a network.
    #[error("\"{0}\" is not a network: 10.0.0.0/8, ::1/128, one address, or private_ranges")]
    Network(String),
    /// A network with bits beyond its prefix.
    #[error("\"{given}\" has bits beyond its prefix: write {meant}, or the one address without a prefix")]
    NetworkBits {
        /// What was said.
        given: String,
        /// What it covers.
        meant: String,
    },
    /// `*` among the origins.
    #[error("\"*\" would let a login return anywhere; name each origin")]
    AnyOrigin,
    /// `null` among the origins.
    #[error("\"null\" is what any sandboxed page calls itself; name each origin")]
    NullOrigin,
    /// Not an origin.
    #[error("\"{0}\" is not an origin: scheme, host and port only, such as https://app.example.org")]
    Origin(String),
    /// An origin over http where we are https.
    #[error("\"{0}\" is http and this server is https; a login never leaves https")]
    OriginScheme(String),
    /// Not a term.
    #[error("\"{0}\" is not a term: user:ID or email:example.org")]
    Term(String),
    /// A term for later.
    #[error("\"{0}\" is not supported by this version yet; it knows user:ID and email:example.org")]
    TermLater(String),
    /// An empty list of people.
    #[error("is empty and would let nobody in; name who may sign in, or remove it to let in anyone")]
    NobodyAllowed,
    /// Not a scope.
    #[error("\"{0}\" is not a scope")]
    Scope(String),
    /// Without this nobody can be recognised.
    #[error("must contain identify: without it nobody can be recognised")]
    NoIdentify,
    /// Not a format.
    #[error("\"{0}\" is not a format: pretty or json")]
    LogFormat(String),
    /// Not a filter.
    #[error("\"{0}\" is not a filter: a level such as info, or target=level, comma-separated")]
    Filter(String),
    /// Not a policy.
    #[error("\"{0}\" is not supported by this version yet; it knows deny")]
    Policy(String),
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl Wrong {
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Wrong {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            std::io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
            _ => error.to_string(),
        };
        Wrong::Unreadable { path: path.to_owned(), why }
    }
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for ConfigErrors {
    /// Writes a heading and one line per mistake, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has a mistake")?,
            many => write!(f, "the configuration has {many} mistakes")?,
        }
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        if self.0.iter().any(|mistake| matches!(mistake.wrong, Wrong::Missing(_))) {
            write!(
                f,
                "\nset what is missing in the environment, in .env or in doorbook.toml, \
                 or try `doorbook demo`: it needs none of it"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
