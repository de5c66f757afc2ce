//! From the sources to one configuration: reads every setting, and notes every mistake on the way.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::{ConfigErrors, Mistake, Place, Wrong};
use super::mistrust::{self, Mistrust};
use super::reach;
use super::settings::{self as s, Kind, Setting};
use super::sources::{Layers, Sources};
use super::terms;
use super::values::{self, Policy};
use super::{Config, DiscordApp, Facade, InForce, Local};
use crate::domain::host::Host;
use crate::domain::id::Hash;
use crate::domain::rules::{DefaultPolicy, Rules, Term};

/// In how many guilds a person may have to be looked up.
const GUILDS_MAX: usize = 20;

/// Collects values, and mistakes where there are none.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    layers: Layers<'a>,
    pub(super) mistakes: Vec<Mistake>,
    report: Vec<InForce>,
    pub(super) local: Option<Local>,
    pub(super) facade: Option<Facade>,
    /// Where we are, once that is known.
    public_host: Option<Host>,
    cookie_domain: Option<Host>,
}

impl<'a> Reader<'a> {
    pub(super) fn open(sources: &'a Sources) -> Reader<'a> {
        let mut mistakes = Vec::new();
        let layers = Layers::open(sources, &mut mistakes);
        Reader::of(sources, layers, mistakes)
    }

    pub(super) fn of(sources: &'a Sources, layers: Layers<'a>, mistakes: Vec<Mistake>) -> Reader<'a> {
        Reader {
            sources,
            layers,
            mistakes,
            report: Vec::new(),
            local: None,
            facade: None,
            public_host: None,
            cookie_domain: None,
        }
    }

    /// Returns the value, or every mistake in the order of the places.
    pub(super) fn conclude<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        self.mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(ConfigErrors(self.mistakes)),
        }
    }

    /// Reads every setting there is, so that every mistake is found; `None` where one is missing.
    pub(super) fn config(&mut self) -> Option<Config> {
        let client_id = self.take(&s::DISCORD_OAUTH_CLIENT_ID, values::client_id);
        let client_secret = self.take(&s::DISCORD_OAUTH_SECRET, values::client_secret);
        let redirect_url = self.take(&s::DISCORD_REDIRECT_URL, values::redirect_url);
        self.public_host =
            redirect_url.as_ref().and_then(|url| url.host_str()).and_then(|host| Host::parse(host).ok());
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
        let discord_public_key = self.take(&s::DISCORD_PUBLIC_KEY, values::public_key);
        let api_url = self.take(&s::DISCORD_API_URL, values::server_url);
        let authorize_url = self.take(&s::DISCORD_AUTHORIZE_URL, values::server_url);
        let cdn_url = self.take(&s::DISCORD_CDN_URL, values::server_url);
        self.local = self.read_local();
        let role_lost_ends_sessions = self.take(&s::ROLE_LOST, values::role_lost);
        let remote_user = self.take(&s::REMOTE_USER, values::remote_user);
        let identity_headers = self.take(&s::IDENTITY_HEADERS, super::headers::read);
        for setting in s::ALL.iter().filter(|setting| setting.kind == Kind::Later) {
            self.refuse(setting);
        }

        self.report.sort_by_key(|line| s::ALL.iter().position(|setting| setting.variable == line.variable));

        let local = self.local.clone()?;
        let listen = self.addresses(listen?, port?);
        self.facade = Some(Facade {
            listen: listen.clone(),
            redirect_url: redirect_url.clone(),
            trusted_proxies: trusted_proxies.clone()?,
            identity_headers: identity_headers.clone()?,
            rules: local.rules.clone(),
        });
        let redirect_url = redirect_url?;
        let mut public_origin = redirect_url.clone();
        public_origin.set_path("/");
        let config = Config {
            listen,
            public_origin,
            secure,
            discord: DiscordApp {
                client_id: client_id?,
                client_secret: client_secret?,
                redirect_url,
                api_url: api_url?,
                authorize_url: authorize_url?,
                cdn_url: cdn_url?,
            },
            scopes: scopes?,
            profile_max_age: profile_max_age?,
            role_lost_ends_sessions: role_lost_ends_sessions?,
            allowed_origins: allowed_origins.unwrap_or_default(),
            trusted_proxies: trusted_proxies?,
            cookie_domain: self.cookie_domain.clone(),
            remote_user: remote_user?,
            identity_headers: identity_headers?,
            discord_public_key,
            hash: self.hash(&local.rules),
            local,
            file: Some(self.layers.file_path().to_owned()).filter(|path| path != Path::new("")),
            hosts: Vec::new(),
            report: self.report.clone(),
            warnings: Vec::new(),
        };
        let warnings = self.warnings(&config);
        let places = &self.layers.tables().rule_places;
        let hosts = match &self.public_host {
            Some(public) => reach::of(&config.local.rules, places, public, config.cookie_domain.as_ref()),
            None => Vec::new(),
        };
        Some(Config { hosts, warnings, ..config })
    }

    fn addresses(&self, listen: Vec<values::Listen>, port: u16) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for (ip, own_port) in listen {
            let address = SocketAddr::new(ip, own_port.unwrap_or(port));
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    fn warnings(&self, config: &Config) -> Vec<Mistrust> {
        let by_default = self.place_of(&s::TRUSTED_PROXIES).is_none_or(|place| place == Place::Default);
        let mut warnings = mistrust::of(config, by_default);
        let places = &self.layers.tables().rule_places;
        for shadowed in config.local.rules.shadowed() {
            let (rule, by) = (places.get(shadowed.rule), places.get(shadowed.by));
            if let (Some(rule), Some(Place::File { line, .. })) = (rule, by) {
                warnings.push(Mistrust::NeverDecides { rule: rule.clone(), by: *line });
            }
        }
        warnings
    }

    fn read_local(&mut self) -> Option<Local> {
        // As it is said in messages; a slash at the end still means something.
        let data_dir =
            self.take(&s::DATA_DIR, |text| Ok(PathBuf::from(text.strip_prefix("./").unwrap_or(text))));
        let cookie_secret = self.take(&s::COOKIE_SECRET, values::key);
        let encrypt_secret = self.take(&s::ENCRYPT_SECRET, values::key);
        let retention = self.take(&s::RETENTION, values::max_age);
        let rules = self.rules(retention);
        let log_format = self.take(&s::LOG_FORMAT, values::log_format);
        let filter = self.take(&s::RUST_LOG, values::filter);
        let said = self.place_of(&s::RUST_LOG).is_some_and(|place| place != Place::Default);
        Some(Local {
            data_dir: self.sources.cwd.join(data_dir?),
            rules: rules?,
            retention: retention?,
            cookie_secret,
            encrypt_secret,
            log_format,
            filter: filter.filter(|_| said),
        })
    }

    /// Reads everything that decides, and how long sessions live: not longer than what is known about them.
    pub(super) fn rules(&mut self, retention: Option<std::time::Duration>) -> Option<Rules> {
        let allow = self.take(&s::ALLOW, terms::allow);
        let admins = self.take(&s::ADMINS, terms::admins);
        let default_policy = self.default_policy();
        let membership_max_age = self.take(&s::MEMBERSHIP_MAX_AGE, values::max_age);
        let membership_grace = self.take(&s::MEMBERSHIP_GRACE, values::duration);
        let session_max_age = self.take(&s::SESSION_MAX_AGE, |text| match values::session_age(text)? {
            age if retention.is_some_and(|retention| age > retention) => {
                Err(Wrong::OutlivesRetention(text.to_owned()))
            }
            age => Ok(age),
        });
        let session_idle = self.take(&s::SESSION_IDLE, values::session_age);
        self.check_terms(allow.as_deref(), admins.as_deref());
        let tables = self.layers.tables();
        let rules = Rules {
            allow,
            admins: admins.unwrap_or_default(),
            groups: tables.groups.clone(),
            rules: tables.rules.clone(),
            default_policy: default_policy?,
            membership_max_age: membership_max_age?,
            membership_grace: membership_grace?,
            session_max_age: session_max_age?,
            session_idle: session_idle?,
        };
        if let Err(too_long) = rules.recordable() {
            let place = Place::Whole(self.layers.file_path().to_owned());
            self.mistakes.push(Mistake { place, wrong: Wrong::RulesTooLong(too_long) });
        }
        Some(rules)
    }

    fn default_policy(&mut self) -> Option<DefaultPolicy> {
        let public_host = self.public_host.clone();
        let mistakes = self.mistakes.len();
        self.cookie_domain =
            self.take(&s::COOKIE_DOMAIN, |text| values::cookie_domain(text, public_host.as_ref()));
        let is_good = self.mistakes.len() == mistakes;
        match (self.take(&s::DEFAULT_POLICY, values::policy)?, &self.cookie_domain) {
            (Policy::Deny, _) => Some(DefaultPolicy::Deny),
            (Policy::SignedIn, Some(domain)) => Some(DefaultPolicy::SignedIn(domain.clone())),
            (Policy::SignedIn, None) => {
                let place = self.place_of(&s::DEFAULT_POLICY).filter(|_| is_good);
                self.mistakes.extend(place.map(|place| Mistake { place, wrong: Wrong::PolicyWithoutDomain }));
                None
            }
        }
    }

    /// Checks what terms say about others: that groups are known, and guilds not too many.
    fn check_terms(&mut self, allow: Option<&[Term]>, admins: Option<&[Term]>) {
        let tables = self.layers.tables();
        let settings = [(&s::ALLOW, allow), (&s::ADMINS, admins)].into_iter().flat_map(|(setting, terms)| {
            let place = self.place_of(setting).unwrap_or(Place::Default);
            terms.unwrap_or_default().iter().map(move |term| (place.clone(), term.clone()))
        });
        let mut guilds = Vec::new();
        let mut mistakes = Vec::new();
        for (place, term) in settings.chain(tables.terms.iter().cloned()) {
            match term {
                Term::Group(name) if !tables.group_names.contains(&name) => {
                    mistakes.push(Mistake { place, wrong: Wrong::UnknownGroup(name) });
                }
                Term::Guild(guild) | Term::Role { guild, .. } if !guilds.contains(&guild) => {
                    guilds.push(guild);
                    if guilds.len() == GUILDS_MAX + 1 {
                        let wrong = Wrong::TooMany { what: "guilds", most: GUILDS_MAX };
                        mistakes.push(Mistake { place, wrong });
                    }
                }
                _ => {}
            }
        }
        self.mistakes.append(&mut mistakes);
    }

    /// Returns where a setting that is in force was set.
    fn place_of(&self, setting: &Setting) -> Option<Place> {
        let line = self.report.iter().find(|line| line.variable == setting.variable);
        line.map(|line| line.place.clone())
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

    fn hash(&self, rules: &Rules) -> Hash {
        let mut text = String::from("doorbook/v1/config\n");
        for line in &self.report {
            if let Some(value) = &line.value {
                let _ = writeln!(text, "{}={value:?}", line.variable);
            }
        }
        let _ = writeln!(text, "rules={}", rules.hash());
        Hash::of(text.as_bytes())
    }
}
