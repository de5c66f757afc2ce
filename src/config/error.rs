//! What is wrong with a configuration, and where; all of it at once, and never a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::domain::rules::RulesTooLong;

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
    /// The name of a variable, in the file.
    #[error("unknown key; did you mean {0}? keys of the file are in lower case, without DOORBOOK_")]
    VariableInFile(&'static str),
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
    /// A file with a secret that cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    UnreadableSecret {
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
    /// Not a term of a setting.
    #[error("\"{0}\" is not a term: guild:ID, role:GUILD/ROLE, user:ID, email:example.org or group:NAME")]
    Term(String),
    /// Not a term of a table.
    #[error(
        "is not one term: {{ guild }}, {{ guild, role }}, {{ user }}, {{ group }}, {{ email_domain }}, \
         {{ signed_in = true }} or {{ admin = true }}"
    )]
    NotOneTerm,
    /// A term of a setting where a table stands.
    #[error("a term is a table here: {0}")]
    TermIsATable(String),
    /// Not the id of something at Discord.
    #[error("\"{0}\" is not a Discord id: the digits that \"Copy ID\" gives, in quotes")]
    NotAnId(String),
    /// A role that everybody has, and that no member is said to have.
    #[error("is the guild's own id, which stands for @everyone; name the guild alone")]
    Everyone,
    /// Not a domain of addresses.
    #[error("\"{0}\" is not what stands behind the @ of an address, such as example.org")]
    EmailDomain(String),
    /// An empty list of people.
    #[error("is empty and would let nobody in; name who may sign in, or remove it to let in anyone")]
    NobodyAllowed,
    /// An empty list in a rule.
    #[error("is empty and would let nobody in; name somebody")]
    NobodyMeant,
    /// A group that nobody defined.
    #[error("names the group \"{0}\", and there is no [[group]] of that name")]
    UnknownGroup(String),
    /// A group in a group.
    #[error("a group holds no groups and no administrators; write the people themselves")]
    NestedGroup,
    /// Not a name for a group.
    #[error("\"{0}\" is not a name for a group: 1 to 32 of a-z, 0-9, _ and -")]
    GroupName(String),
    /// Two groups of one name.
    #[error("\"{name}\" is the name of the group of line {line} as well")]
    GroupTwice {
        /// The name.
        name: String,
        /// Where it was given first.
        line: usize,
    },
    /// Something that a page shows and cannot.
    #[error("is not a line of at most {0} characters")]
    NotALineOfText(usize),
    /// Not an invitation.
    #[error("is not an https:// URL of at most 500 bytes")]
    Invite,
    /// A table without a key that it needs.
    #[error("has no {0}")]
    NoKey(&'static str),
    /// A setting that stands behind the first table.
    #[error(
        "is a setting and would be part of this {0}; settings stand before the first [[rule]] or [[group]]"
    )]
    SettingInTable(&'static str),
    /// A rule that grants nobody anything.
    #[error("has neither allow nor public = true; a rule has one of them")]
    GrantsNothing,
    /// A rule that grants twice.
    #[error("has both allow and public; a rule has one of them")]
    GrantsTwice,
    /// Somebody is kept out of what is public.
    #[error("keeps nobody out of what is public; remove it, or write allow in place of public")]
    DenyBesidePublic,
    /// A switch that only ever says yes.
    #[error("can only be true; remove it")]
    OnlyTrue,
    /// Not the host of a rule.
    #[error(
        "\"{0}\" is not a host: wiki.example.org, or *.example.org for every host below it; without https://, port \
         and path"
    )]
    Host(String),
    /// Every host.
    #[error(
        "\"*\" would make every host a place that a login may return to; name each host, or *.example.org for \
         all below a domain of yours"
    )]
    AnyHost,
    /// Every host below a name that is nobody's own.
    #[error(
        "\"*.{0}\" would make hosts of strangers places that a login may return to: {0} is a public suffix, below \
         which anybody may have a name"
    )]
    AnyBelowSuffix(String),
    /// Not the path of a rule.
    #[error(
        "\"{0}\" is not a path as a rule has it: it begins with /, and has none of //, /./, /../, ; \\ ? # and no \
         needless escape"
    )]
    Path(String),
    /// Not a method.
    #[error("\"{0}\" is not a method: capitals, such as GET")]
    Method(String),
    /// A method that is never asked about.
    #[error("HEAD counts as GET; write GET")]
    HeadAlone,
    /// A list that fits nothing.
    #[error("is empty and would fit no request; remove it")]
    FitsNothing,
    /// More than there is room for.
    #[error("is too many: at most {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// More rules than an event can hold.
    #[error(transparent)]
    RulesTooLong(RulesTooLong),
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
    #[error("\"{0}\" is not a policy: deny or signed-in")]
    Policy(String),
    /// A policy that is for no host.
    #[error("signed-in is for the hosts at or below DOORBOOK_COOKIE_DOMAIN, and there is none")]
    PolicyWithoutDomain,
    /// Not a domain for cookies.
    #[error("\"{0}\" is not a domain: example.org, without a dot or https:// before it")]
    CookieDomain(String),
    /// A domain for which browsers take no cookie.
    #[error(
        "\"{0}\" is no domain of anybody's own, so browsers take no cookie for it; without a cookie domain every \
         host has its own cookie by a ticket"
    )]
    CookieSuffix(String),
    /// A domain of which we are no part.
    #[error("\"{domain}\" is neither {public} nor above it, so we cannot set its cookies")]
    CookieElsewhere {
        /// What was said.
        domain: String,
        /// Where we are.
        public: String,
    },
    /// Not one of a few words.
    #[error("\"{given}\" is not one of {known}")]
    Word {
        /// What was said.
        given: String,
        /// What could be.
        known: &'static str,
    },
    /// Not a public key.
    #[error("is not a public key: 64 hexadecimal digits, from the application's General Information page")]
    PublicKey,
    /// Not names of headers.
    #[error(
        "\"{0}\" is neither remote, x-auth-request or webauth nor a map such as user=X-User,email=X-Mail; it knows \
         user, name, email, groups, discord_id and roles"
    )]
    HeaderMap(String),
    /// Not a name that may be given to a header.
    #[error(
        "\"{0}\" is not a name for a header: letters, digits and -, at most 64; _ and . are not told from -"
    )]
    HeaderName(String),
    /// A header that means something else.
    #[error("\"{0}\" means something else to browsers, proxies or apps; take another name")]
    HeaderTaken(String),
    /// Two facts under one name.
    #[error("\"{0}\" is the name of two headers")]
    HeaderTwice(String),
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl Wrong {
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Wrong {
        Wrong::Unreadable { path: path.to_owned(), why: Wrong::why(error) }
    }

    pub(crate) fn unreadable_secret(path: &Path, error: &std::io::Error) -> Wrong {
        Wrong::UnreadableSecret { path: path.to_owned(), why: Wrong::why(error) }
    }

    fn why(error: &std::io::Error) -> String {
        match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            std::io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
            _ => error.to_string(),
        }
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
