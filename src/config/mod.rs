//! Reads the configuration: flags, environment, `.env`, file and defaults become one value, or every
//! mistake at once.

mod dotenv;
mod error;
pub mod example;
mod file;
pub mod settings;
mod sources;
mod values;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub use self::error::{ConfigErrors, Mistake, Place, Wrong};
use self::settings::{Kind, Setting};
use self::sources::Layers;
pub use self::sources::Sources;
pub use self::values::{LogFormat, REDIRECT_PATH, duration};
use crate::domain::id::{DiscordId, Hash, Secret};
use crate::domain::identity::IdentityHeaders;
use crate::domain::rules::{Rules, Term};

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
    /// What Discord is asked for.
    pub scopes: Vec<String>,
    /// Older profiles are refreshed.
    pub profile_max_age: Duration,
    /// Other origins to which a login may return; their path is `/`.
    pub allowed_origins: Vec<Url>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What is needed without a server, too.
    pub local: Local,
    /// The SHA-256 of everything that is not secret.
    pub hash: Hash,
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
    /// Who may sign in, and how long sessions live.
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

/// What the configuration of a proxy repeats of ours.
#[derive(Clone, Debug)]
pub struct Facade {
    /// Where we listen.
    pub listen: Vec<SocketAddr>,
    /// Scheme, host and port as browsers see them, where that is known.
    pub public_origin: Option<Url>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What the headers for apps are called.
    pub identity_headers: IdentityHeaders,
    /// Who may open what.
    pub rules: Rules,
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

/// Something that is allowed and probably not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// The secret travels in the clear.
    #[error("DISCORD_API_URL is http and not on this machine: the application's secret travels in the clear")]
    ClearSecret,
    /// Everybody is a proxy.
    #[error("DOORBOOK_TRUSTED_PROXIES covers every address: whoever connects may claim any address")]
    EveryProxy,
    /// Browsers are sent to a port of their own machine where nobody listens.
    #[error(
        "DISCORD_REDIRECT_URL names port {port} of this machine, and doorbook does not listen there: \
         unless something before it does, browsers come back to nobody"
    )]
    OtherPort {
        /// The port of the redirect URL.
        port: u16,
    },
    /// Whoever is between a browser and us reads the cookies.
    #[error(
        "DISCORD_REDIRECT_URL is http and not on this machine: cookies go without Secure, \
         and anybody on the way can take a session; use https"
    )]
    ClearCookies,
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

impl Facade {
    /// Reads what a proxy in front has to know; on its machine there may be no configuration at all.
    pub fn read(sources: &Sources) -> Result<Facade, ConfigErrors> {
        let mut reader = Reader::open(sources);
        let _ = reader.config();
        reader.mistakes.retain(|mistake| !matches!(mistake.wrong, Wrong::Missing(_)));
        let facade = reader.facade.take();
        reader.conclude(facade)
    }
}

/// Collects values, and mistakes where there are none.
struct Reader<'a> {
    sources: &'a Sources,
    layers: Layers<'a>,
    mistakes: Vec<Mistake>,
    report: Vec<InForce>,
    local: Option<Local>,
    facade: Option<Facade>,
}

impl<'a> Reader<'a> {
    fn open(sources: &'a Sources) -> Reader<'a> {
        let mut mistakes = Vec::new();
        let layers = Layers::open(sources, &mut mistakes);
        Reader { sources, layers, mistakes, report: Vec::new(), local: None, facade: None }
    }

    fn conclude<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(ConfigErrors(self.mistakes)),
        }
    }

    /// Reads every setting there is, so that every mistake is found; `None` where one is missing.
    fn config(&mut self) -> Option<Config> {
        use self::settings as s;

        let client_id = self.take(&s::DISCORD_OAUTH_CLIENT_ID, values::client_id);
        let client_secret = self.take(&s::DISCORD_OAUTH_SECRET, values::client_secret);
        let redirect_url = self.take(&s::DISCORD_REDIRECT_URL, values::redirect_url);
        let port = self.take(&s::PORT, values::port);
        let listen = self.take(&s::LISTEN, values::listen);
        let profile_max_age = self.take(&s::PROFILE_MAX_AGE, values::max_age);
        let secure = redirect_url.as_ref().is_some_and(|url| url.scheme() == "https");
        let allowed_origins = self.take(&s::ALLOWED_ORIGINS, |text| {
            let origins = values::origins(text)?;
            match origins.iter().find(|origin| secure && origin.scheme() == "http") {
                Some(origin) => Err(Wrong::OriginScheme(origin.origin().ascii_serialization())),
                None => Ok(origins),
            }
        });
        let trusted_proxies = self.take(&s::TRUSTED_PROXIES, values::networks);
        let scopes = self.take(&s::DISCORD_SCOPES, values::scopes);
        let api_url = self.take(&s::DISCORD_API_URL, values::server_url);
        let authorize_url = self.take(&s::DISCORD_AUTHORIZE_URL, values::server_url);
        let cdn_url = self.take(&s::DISCORD_CDN_URL, values::server_url);
        let _ = self.take(&s::DEFAULT_POLICY, values::policy);
        self.local = self.read_local();
        for setting in settings::ALL.iter().filter(|setting| setting.kind == Kind::Later) {
            self.refuse(setting);
        }

        let local = self.local.clone()?;
        let port = port?;
        let mut addresses = Vec::new();
        for (ip, own_port) in listen? {
            let address = SocketAddr::new(ip, own_port.unwrap_or(port));
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.facade = Some(Facade {
            listen: addresses.clone(),
            public_origin: redirect_url.clone(),
            trusted_proxies: trusted_proxies.clone()?,
            identity_headers: IdentityHeaders::remote(),
            rules: local.rules.clone(),
        });
        let mut scopes = scopes?;
        let by_email = local.rules.allow.iter().flatten().any(|term| matches!(term, Term::EmailDomain(_)));
        if by_email && !scopes.iter().any(|scope| scope == "email") {
            scopes.push("email".to_owned());
        }
        let redirect_url = redirect_url?;
        let mut public_origin = redirect_url.clone();
        public_origin.set_path("/");
        let (api_url, trusted_proxies) = (api_url?, trusted_proxies?);
        let mut warnings = Vec::new();
        if api_url.scheme() == "http" && !is_loopback(&api_url) {
            warnings.push(Mistrust::ClearSecret);
        }
        if trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            warnings.push(Mistrust::EveryProxy);
        }
        warnings.extend(mistrusted(&redirect_url, &addresses));
        Some(Config {
            listen: addresses,
            public_origin,
            secure,
            discord: DiscordApp {
                client_id: client_id?,
                client_secret: client_secret?,
                redirect_url,
                api_url,
                authorize_url: authorize_url?,
                cdn_url: cdn_url?,
            },
            scopes,
            profile_max_age: profile_max_age?,
            allowed_origins: allowed_origins.unwrap_or_default(),
            trusted_proxies,
            local,
            hash: self.hash(),
            report: self.report.clone(),
            warnings,
        })
    }

    fn read_local(&mut self) -> Option<Local> {
        use self::settings as s;

        let data_dir = self.take(&s::DATA_DIR, |text| Ok(PathBuf::from(text)));
        let cookie_secret = self.take(&s::COOKIE_SECRET, values::key);
        let encrypt_secret = self.take(&s::ENCRYPT_SECRET, values::key);
        let allow = self.take(&s::ALLOW, values::allow);
        let retention = self.take(&s::RETENTION, values::max_age)?;
        let session_max_age = self.take(&s::SESSION_MAX_AGE, |text| match values::session_age(text)? {
            age if age > retention => Err(Wrong::OutlivesRetention(text.to_owned())),
            age => Ok(age),
        });
        let session_idle = self.take(&s::SESSION_IDLE, values::session_age);
        let log_format = self.take(&s::LOG_FORMAT, values::log_format);
        let filter = self.take(&s::RUST_LOG, values::filter);
        let said = self
            .report
            .iter()
            .any(|line| line.variable == s::RUST_LOG.variable && line.place != Place::Default);
        Some(Local {
            data_dir: self.sources.cwd.join(data_dir?),
            rules: Rules {
                allow,
                session_max_age: session_max_age?,
                session_idle: session_idle?,
                ..Rules::default()
            },
            retention,
            cookie_secret,
            encrypt_secret,
            log_format,
            filter: filter.filter(|_| said),
        })
    }

    /// Reads one setting; a mistake is noted, and `None` then means nothing.
    fn take<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let found = match self.layers.find(setting) {
            Ok(found) => found,
            Err(mistake) => {
                self.mistakes.push(mistake);
                return None;
            }
        };
        let (text, place) = match (found, setting.default, setting.required) {
            (Some(found), _, _) => (found.text, found.place),
            (None, Some(default), _) => (default.to_owned(), Place::Default),
            (None, None, Some(place)) => {
                let missing = Place::Missing(setting.variable);
                self.mistakes.push(Mistake { place: missing, wrong: Wrong::Missing(place) });
                return None;
            }
            (None, None, None) => return None,
        };
        let text = if setting.kind == Kind::Secret { text.as_str() } else { text.trim() };
        let parsed = match setting.required {
            _ if !text.is_empty() || setting.may_be_empty => parse(text),
            // As in an `.env` that was copied and not filled in.
            Some(place) => Err(Wrong::Missing(place)),
            None => Err(Wrong::Empty),
        };
        match parsed {
            Ok(value) => {
                let shown = (setting.kind != Kind::Secret).then(|| text.to_owned());
                self.report.push(InForce { variable: setting.variable, value: shown, place });
                Some(value)
            }
            Err(wrong) => {
                self.mistakes.push(Mistake { place, wrong });
                None
            }
        }
    }

    fn refuse(&mut self, setting: &Setting) {
        match self.layers.find(setting) {
            Ok(None) => {}
            Ok(Some(found)) => self.mistakes.push(Mistake { place: found.place, wrong: Wrong::Later }),
            Err(mistake) => self.mistakes.push(mistake),
        }
    }

    fn hash(&self) -> Hash {
        let mut text = String::from("doorbook/v1/config\n");
        for line in &self.report {
            if let Some(value) = &line.value {
                let _ = writeln!(text, "{}={value:?}", line.variable);
            }
        }
        Hash::of(text.as_bytes())
    }
}

/// Says what is doubtful about where browsers come back to.
fn mistrusted(redirect_url: &Url, listen: &[SocketAddr]) -> Option<Mistrust> {
    if !is_loopback(redirect_url) {
        return (redirect_url.scheme() == "http").then_some(Mistrust::ClearCookies);
    }
    let port = redirect_url.port_or_known_default()?;
    // Port 0 is whichever is free, so nobody knows yet.
    let listens = listen.iter().any(|address| address.port() == port || address.port() == 0);
    (!listens).then_some(Mistrust::OtherPort { port })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
