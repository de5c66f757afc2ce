//! Every setting there is, once: its names, its default, and one line of help.
//!
//! The flags, the keys of the file, `.env.example` and the README's table are all made from this table
//! or checked against it, so that a setting cannot be known in one place and unknown in another.

/// What may be done with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary value: variable, key and flag.
    Plain,
    /// A secret: variable, key, and both once more with `_FILE`; never a flag.
    Secret,
    /// Named by the documentation and not built yet: setting it is an error, because a guard that is
    /// silently ignored guards nothing.
    Later,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// A second name under which the variable is read.
    pub alias: Option<&'static str>,
    /// The key in the file.
    pub key: &'static str,
    /// The flag without its dashes.
    pub flag: &'static str,
    /// What may be done with it.
    pub kind: Kind,
    /// The value where nobody set one, as it would be written.
    pub default: Option<&'static str>,
    /// Where to get it, for a setting without which `serve` cannot start.
    pub required: Option<&'static str>,
    /// Whether nothing is a value, too.
    pub may_be_empty: bool,
    /// What a value looks like.
    pub shape: &'static str,
    /// One line of help.
    pub help: &'static str,
}

impl Setting {
    /// Returns the variable that names a file with the value.
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable)
    }
}

const fn plain(
    variable: &'static str,
    key: &'static str,
    flag: &'static str,
    shape: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        variable,
        alias: None,
        key,
        flag,
        kind: Kind::Plain,
        default,
        required: None,
        may_be_empty: false,
        shape,
        help,
    }
}

const fn later(setting: Setting) -> Setting {
    Setting { kind: Kind::Later, ..setting }
}

const fn secret(setting: Setting) -> Setting {
    Setting { kind: Kind::Secret, ..setting }
}

const fn required(setting: Setting, place: &'static str) -> Setting {
    Setting { required: Some(place), ..setting }
}

const fn list(setting: Setting) -> Setting {
    Setting { may_be_empty: true, ..setting }
}

const fn also(setting: Setting, alias: &'static str) -> Setting {
    Setting { alias: Some(alias), ..setting }
}

macro_rules! settings {
    ($($name:ident = $setting:expr;)*) => {
        $(#[doc = concat!("The setting `", stringify!($name), "`; the table says the rest.")]
        pub const $name: Setting = $setting;)*

        /// The table, in the order in which it is shown.
        pub const ALL: &[Setting] = &[$($name),*];
    };
}

settings! {
    DISCORD_OAUTH_CLIENT_ID = also(required(plain(
        "DISCORD_OAUTH_CLIENT_ID", "discord_oauth_client_id", "discord-oauth-client-id", "ID", None,
        "The id of the Discord application"),
        "get it at Discord Developer Portal > your application > OAuth2 > Client ID"), "DISCORD_CLIENT_ID");
    DISCORD_OAUTH_SECRET = also(secret(required(plain(
        "DISCORD_OAUTH_SECRET", "discord_oauth_secret", "", "SECRET", None,
        "The secret of the Discord application"),
        "get it at Discord Developer Portal > your application > OAuth2 > Client Secret (\"Reset Secret\" shows a new one)")),
        "DISCORD_CLIENT_SECRET");
    DISCORD_REDIRECT_URL = required(plain(
        "DISCORD_REDIRECT_URL", "discord_redirect_url", "discord-redirect-url", "URL", None,
        "This server's /api/auth/discord/redirect as browsers see it; fixes the public origin"),
        "such as https://auth.example.org/api/auth/discord/redirect, with this server's address as browsers see it; \
         register the same under Discord Developer Portal > your application > OAuth2 > Redirects");
    PORT = plain("PORT", "port", "port", "PORT", Some("3001"), "The port to listen on");
    LISTEN = plain("DOORBOOK_LISTEN", "listen", "listen", "ADDRESS", Some("127.0.0.1"),
        "The addresses to listen on, comma-separated; each may carry its own port");
    DATA_DIR = plain("DOORBOOK_DATA_DIR", "data_dir", "data-dir", "DIR", Some("./data"),
        "Where the log, the keys and the control socket live; created with mode 0700");
    COOKIE_SECRET = secret(plain("COOKIE_SECRET", "cookie_secret", "", "SECRET", None,
        "Authenticates cookies; at least 32 bytes; generated into keys/ where not given"));
    ENCRYPT_SECRET = secret(plain("ENCRYPT_SECRET", "encrypt_secret", "", "SECRET", None,
        "Mixed into the key that protects keys/; at least 32 bytes; must stay as it was at the first start"));
    ALLOW = list(plain("DOORBOOK_ALLOW", "allow", "allow", "TERMS", None,
        "Who may sign in, asked again at each request to a guarded app; a session here goes on all the same, unless \
         DOORBOOK_ROLE_LOST ends it. Comma-separated: guild:ID, role:GUILD/ROLE, user:ID, email:example.org, \
         group:NAME; anyone with a Discord account where not given"));
    ADMINS = plain("DOORBOOK_ADMINS", "admins", "admins", "TERMS", None,
        "Who is an administrator; the same terms as for DOORBOOK_ALLOW");
    DEFAULT_POLICY = plain("DOORBOOK_DEFAULT_POLICY", "default_policy", "default-policy", "POLICY", Some("deny"),
        "Hosts without a rule: deny, or signed-in for those at or below DOORBOOK_COOKIE_DOMAIN");
    COOKIE_DOMAIN = plain("DOORBOOK_COOKIE_DOMAIN", "cookie_domain", "cookie-domain", "DOMAIN", None,
        "One app cookie for every host at or below this domain, in place of a ticket for each host");
    MEMBERSHIP_MAX_AGE = plain("DOORBOOK_MEMBERSHIP_MAX_AGE", "membership_max_age", "membership-max-age",
        "DURATION", Some("15m"), "How long a known membership, or an address where a rule asks for one, counts before Discord is asked again");
    MEMBERSHIP_GRACE = plain("DOORBOOK_MEMBERSHIP_GRACE", "membership_grace", "membership-grace", "DURATION",
        Some("1h"), "How much longer either counts while Discord is asked again");
    ROLE_LOST = plain("DOORBOOK_ROLE_LOST", "role_lost", "role-lost", "WORD", Some("keep"),
        "Whether losing the role, guild or address that lets somebody in also ends their sessions: keep or \
         end-session; access ends either way");
    SESSION_MAX_AGE = plain("DOORBOOK_SESSION_MAX_AGE", "session_max_age", "session-max-age", "DURATION", Some("30d"),
        "How long a session lives whatever happens");
    SESSION_IDLE = plain("DOORBOOK_SESSION_IDLE", "session_idle", "session-idle", "DURATION", Some("7d"),
        "How long a session lives unused");
    PROFILE_MAX_AGE = plain("DOORBOOK_PROFILE_MAX_AGE", "profile_max_age", "profile-max-age", "DURATION", Some("1h"),
        "Older profiles are refreshed in the background when they are used");
    RETENTION = plain("DOORBOOK_RETENTION", "retention", "retention", "DURATION", Some("13mo"),
        "How long addresses and user agents stay readable; whole months, not shorter than a session's age");
    ALLOWED_ORIGINS = list(plain("DOORBOOK_ALLOWED_ORIGINS", "allowed_origins", "allowed-origins", "ORIGINS", None,
        "Other origins to which a login may return, comma-separated"));
    TRUSTED_PROXIES = list(plain("DOORBOOK_TRUSTED_PROXIES", "trusted_proxies", "trusted-proxies", "NETWORKS",
        Some("127.0.0.0/8,::1/128"),
        "Networks whose forwarded headers are believed, comma-separated; the word private_ranges is known"));
    DISCORD_SCOPES = plain("DISCORD_SCOPES", "discord_scopes", "discord-scopes", "SCOPES", Some("identify"),
        "What to ask Discord for, space-separated; email and guilds.members.read are added where they are needed");
    DISCORD_PUBLIC_KEY = plain("DISCORD_PUBLIC_KEY", "discord_public_key", "discord-public-key", "HEX", None,
        "The application's public key, 64 hexadecimal digits; without it the webhook answers 404");
    DISCORD_API_URL = plain("DISCORD_API_URL", "discord_api_url", "discord-api-url", "URL",
        Some("https://discord.com/api/v10"), "Where Discord's API is");
    DISCORD_AUTHORIZE_URL = plain("DISCORD_AUTHORIZE_URL", "discord_authorize_url", "discord-authorize-url", "URL",
        Some("https://discord.com/oauth2/authorize"), "Where Discord asks for consent");
    DISCORD_CDN_URL = plain("DISCORD_CDN_URL", "discord_cdn_url", "discord-cdn-url", "URL",
        Some("https://cdn.discordapp.com"), "Where Discord keeps avatars");
    REMOTE_USER = plain("DOORBOOK_REMOTE_USER", "remote_user", "remote-user", "WORD", Some("id"),
        "What Remote-User says: id, or username, which is readable and can change hands");
    IDENTITY_HEADERS = plain("DOORBOOK_IDENTITY_HEADERS", "identity_headers", "identity-headers", "NAMES",
        Some("remote"),
        "What the headers for apps are called: remote, x-auth-request, webauth, or a map such as \
         user=X-User,email=X-Mail");
    LOG_FORMAT = plain("DOORBOOK_LOG_FORMAT", "log_format", "log-format", "FORMAT", None,
        "How diagnostics are written: pretty or json; pretty on a terminal, else json, where not given");
    RUST_LOG = plain("RUST_LOG", "rust_log", "rust-log", "FILTER", Some("info"),
        "Which diagnostics are written");
    METRICS_LISTEN = later(plain("DOORBOOK_METRICS_LISTEN", "metrics_listen", "metrics-listen", "ADDRESS", None,
        "Where GET /metrics is answered"));
}

/// The variable that names the configuration file; its flag is `--config`.
pub const CONFIG_VARIABLE: &str = "DOORBOOK_CONFIG";

/// The tables of the file.
pub const TABLES: [&str; 2] = ["rule", "group"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_flags_follow_from_the_variable() {
        for setting in ALL {
            let key = setting.variable.trim_start_matches("DOORBOOK_").to_lowercase();
            assert_eq!(setting.key, key);
            let flag = if setting.kind == Kind::Secret { String::new() } else { key.replace('_', "-") };
            assert_eq!(setting.flag, flag, "{key}");
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names: Vec<String> = vec![CONFIG_VARIABLE.into()];
        for setting in ALL {
            names.push(setting.variable.into());
            names.extend(setting.alias.map(String::from));
            if setting.kind == Kind::Secret {
                names.push(setting.file_variable());
            }
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
