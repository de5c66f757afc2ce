//! Reads the configuration: flags, environment, `.env`, file and defaults become one value, or every
//! mistake at once.

mod dotenv;
mod error;
pub mod example;
mod facade;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod headers;
mod kind;
mod mistrust;
mod reach;
mod reader;
mod reload;
pub mod settings;
mod sources;
mod tables;
mod terms;
mod values;
mod walk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub use self::error::{ConfigErrors, Mistake, Place, Wrong};
pub use self::facade::Facade;
pub use self::mistrust::Mistrust;
pub use self::reach::{GuardedHost, Reach};
use self::reader::Reader;
pub use self::reload::Reloaded;
use self::sources::Layers;
pub use self::sources::Sources;
pub use self::values::{LogFormat, REDIRECT_PATH, duration};
use crate::domain::host::Host;
use crate::domain::id::{DiscordId, Hash, Secret};
use crate::domain::identity::{IdentityHeaders, RemoteUser};
use crate::domain::rules::Rules;

/// Everything `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Scheme, host and port as browsers see them; its path is `/`.
    pub public_origin: Url,
    /// Whether browsers reach us over https, and cookies are `Secure`.
    pub secure: bool,
    /// The application at Discord, and where Discord is.
    pub discord: DiscordApp,
    /// What Discord is asked for, besides what the rules need: see [`Rules::asked`].
    pub scopes: Vec<String>,
    /// Older profiles are refreshed.
    pub profile_max_age: Duration,
    /// Whether losing what lets somebody in also ends their sessions.
    pub role_lost_ends_sessions: bool,
    /// Other origins to which a login may return; their path is `/`.
    pub allowed_origins: Vec<Url>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// At and below which domain one app cookie reaches every host; the public host is one of them.
    pub cookie_domain: Option<Host>,
    /// What the header that says who it is holds.
    pub remote_user: RemoteUser,
    /// What the headers are called that tell apps whom they serve.
    pub identity_headers: IdentityHeaders,
    /// The key of Discord's webhook, a point of Ed25519.
    pub discord_public_key: Option<[u8; 32]>,
    /// What is needed without a server, too.
    pub local: Local,
    /// The SHA-256 of everything that is not secret.
    pub hash: Hash,
    /// The file that was read, as it was named, where there is one.
    pub file: Option<PathBuf>,
    /// The hosts of the rules, and how each gets its cookie.
    pub hosts: Vec<GuardedHost>,
    /// Every setting that is in force and where it was set, secrets without their values.
    pub report: Vec<InForce>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Mistrust>,
}

/// The application at Discord, and where Discord is.
#[derive(Clone, Debug)]
pub struct DiscordApp {
    /// The application's id.
    pub client_id: DiscordId,
    /// The application's secret.
    pub client_secret: Secret,
    /// Where Discord sends browsers back.
    pub redirect_url: Url,
    /// Where Discord's API is, without a slash at the end.
    pub api_url: Url,
    /// Where Discord asks for consent.
    pub authorize_url: Url,
    /// Where Discord keeps avatars, without a slash at the end.
    pub cdn_url: Url,
}

/// What a command needs to open the log by itself, and what `serve` needs besides.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where everything is kept; an absolute path.
    pub data_dir: PathBuf,
    /// Everything that decides, and how long sessions live.
    pub rules: Rules,
    /// How long addresses and user agents stay readable.
    pub retention: Duration,
    /// Authenticates cookies; where there is none, the key file does.
    pub cookie_secret: Option<Secret>,
    /// Mixed into the key that protects the key files.
    pub encrypt_secret: Option<Secret>,
    /// How diagnostics are written; by the terminal where nobody said.
    pub log_format: Option<LogFormat>,
    /// Which diagnostics are written, where somebody said.
    pub filter: Option<String>,
}

/// A setting that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The variable.
    pub variable: &'static str,
    /// The value; `None` for a secret.
    pub value: Option<String>,
    /// Where it was set.
    pub place: Place,
}

impl Config {
    /// Reads everything `serve` needs, or says every mistake at once.
    pub fn read(sources: &Sources) -> Result<Config, ConfigErrors> {
        let mut reader = Reader::open(sources);
        let config = reader.config();
        reader.conclude(config)
    }
}

impl Local {
    /// Reads what a command needs without a server.
    ///
    /// What is there is checked as `serve` would; what only `serve` needs may be missing.
    pub fn read(sources: &Sources) -> Result<Local, ConfigErrors> {
        let mut reader = Reader::open(sources);
        let _ = reader.config();
        reader.mistakes.retain(|mistake| !matches!(mistake.wrong, Wrong::Missing(_)));
        let local = reader.local.take();
        reader.conclude(local)
    }
}

/// Returns whether a setting is given anywhere: by a flag, in the environment, in `.env` or in the file.
pub fn is_given(variable: &str, sources: &Sources) -> bool {
    let layers = Layers::open(sources, &mut Vec::new());
    let mut found = settings::ALL.iter().filter(|setting| setting.variable == variable);
    found.any(|setting| !matches!(layers.find(setting), Ok(None)))
}

/// Reads the rules of a text alone, as `doorbook.toml` has them or as [`Rules::canonical`] writes them.
///
/// Settings that decide nothing are only checked for being settings. `path` is how the text is called in mistakes.
pub fn rules(text: &str, path: Option<&Path>) -> Result<Rules, ConfigErrors> {
    let nothing = Sources {
        flags: BTreeMap::new(),
        env: BTreeMap::new(),
        cwd: PathBuf::new(),
        system_file: PathBuf::new(),
    };
    let mut mistakes = Vec::new();
    let file = file::parse(path.unwrap_or(Path::new("rules")).to_owned(), text, &mut mistakes);
    let mut reader = Reader::of(&nothing, Layers::only(&nothing, file), mistakes);
    let rules = reader.rules(None);
    reader.conclude(rules)
}

#[cfg(test)]
mod tests;
