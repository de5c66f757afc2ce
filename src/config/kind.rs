//! What is wrong with a configuration, without a word of what was written in it: a value may name a person.

use std::fmt;

use super::error::{Mistake, Place, Wrong};

impl Mistake {
    /// Says where the mistake is and of which kind.
    pub fn without_values(&self) -> String {
        format!("{}: {}", Named(self), self.wrong.kind())
    }
}

/// The place of a mistake; a name that nobody knows is not repeated either.
struct Named<'a>(&'a Mistake);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { place, wrong } = self.0;
        let is_known =
            !matches!(wrong, Wrong::UnknownKey(_) | Wrong::UnknownVariable(_) | Wrong::VariableInFile(_));
        match place {
            place if is_known => place.fmt(f),
            Place::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Place::DotEnv { line, .. } => write!(f, ".env:{line}"),
            Place::Variable(_) => f.write_str("the environment"),
            place => place.fmt(f),
        }
    }
}

impl Wrong {
    /// Returns of which kind it is, in words that hold no value.
    ///
    /// Every kind stands here by itself, so that a new one is looked at for what its sentence repeats.
    pub fn kind(&self) -> &'static str {
        match self {
            Wrong::Missing(_) => "missing",
            Wrong::Empty => "is set but empty",
            Wrong::Later => "not supported by this version yet",
            Wrong::UnknownKey(_) | Wrong::VariableInFile(_) => "unknown key",
            Wrong::UnknownVariable(_) => "unknown variable",
            Wrong::Type { .. } => "is of the wrong type",
            Wrong::NotUtf8 => "is not UTF-8",
            Wrong::Both(_) => "is set in two ways",
            Wrong::Twice => "is set a second time",
            Wrong::NotALine => "is not a line of the form NAME=value",
            Wrong::NotToml(_) => "is not TOML",
            Wrong::Unreadable { .. } | Wrong::UnreadableSecret { .. } => {
                "names a file that cannot be read, or is one"
            }
            Wrong::ShortSecret => "is shorter than 32 bytes",
            Wrong::UncleanSecret => "holds a space, a line break or an invisible character",
            Wrong::ClientId => "is not the id of a Discord application",
            Wrong::NotHttp => "is not a URL with http:// or https://",
            Wrong::RedirectUrl(_) => "is not a redirect URL of this server",
            Wrong::UrlParts => "must have no user, query or fragment",
            Wrong::Port(_) => "is not a port",
            Wrong::Listen(_) => "is not an address to listen on",
            Wrong::Duration(_) => "is not a duration",
            Wrong::TooShort { .. } => "is too short",
            Wrong::OutlivesRetention(_) => "is longer than `retention`",
            Wrong::Network(_) => "is not a network",
            Wrong::NetworkBits { .. } => "has bits beyond its prefix",
            Wrong::AnyOrigin | Wrong::NullOrigin | Wrong::Origin(_) => "is not an origin",
            Wrong::OriginScheme(_) => "is http and this server is https",
            Wrong::Term(_) => "is not a term",
            Wrong::NotOneTerm => "is not one term",
            Wrong::TermIsATable(_) => "a term is a table here",
            Wrong::NotAnId(_) => "is not a Discord id",
            Wrong::Everyone => "is the guild's own id",
            Wrong::EmailDomain(_) => "is not a domain of addresses",
            Wrong::NobodyAllowed | Wrong::NobodyMeant => "is empty and would let nobody in",
            Wrong::UnknownGroup(_) => "names a group that is not there",
            Wrong::NestedGroup => "a group holds no groups and no administrators",
            Wrong::GroupName(_) => "is not a name for a group",
            Wrong::GroupTwice { .. } => "is the name of another group as well",
            Wrong::NotALineOfText(_) => "is too long, or not one line",
            Wrong::Invite => "is not an https:// URL of at most 500 bytes",
            Wrong::NoKey(_) => "lacks a key",
            Wrong::SettingInTable(_) => "is a setting and stands in a table",
            Wrong::GrantsNothing => "has neither allow nor public = true",
            Wrong::GrantsTwice => "has both allow and public",
            Wrong::DenyBesidePublic => "keeps nobody out of what is public",
            Wrong::OnlyTrue => "can only be true",
            Wrong::Host(_) => "is not a host",
            Wrong::AnyHost => "stands for every host",
            Wrong::AnyBelowSuffix(_) => "stands for hosts of strangers",
            Wrong::Path(_) => "is not a path as a rule has it",
            Wrong::Method(_) => "is not a method",
            Wrong::HeadAlone => "HEAD counts as GET",
            Wrong::FitsNothing => "is empty and would fit no request",
            Wrong::TooMany { .. } => "is too many",
            Wrong::RulesTooLong(_) => "the rules are too long for the log",
            Wrong::Scope(_) => "is not a scope",
            Wrong::NoIdentify => "must contain identify",
            Wrong::LogFormat(_) => "is not a format",
            Wrong::Filter(_) => "is not a filter",
            Wrong::Policy(_) => "is not a policy",
            Wrong::PolicyWithoutDomain => "needs DOORBOOK_COOKIE_DOMAIN",
            Wrong::CookieDomain(_) => "is not a domain",
            Wrong::CookieSuffix(_) => "is no domain of anybody's own",
            Wrong::CookieElsewhere { .. } => "is neither our host nor above it",
            Wrong::Word { .. } => "is not one of the words that are known",
            Wrong::PublicKey => "is not a public key",
            Wrong::HeaderMap(_) => "is not a map of headers",
            Wrong::HeaderName(_) => "is not a name for a header",
            Wrong::HeaderTaken(_) => "means something else to browsers, proxies or apps",
            Wrong::HeaderTwice(_) => "is the name of two headers",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn no_value_is_in_what_a_trace_says_wherever_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = "cookie_domain = \"canary.example\"\ncanary_key = 1\nCANARY = \"x\"\ntrusted_proxies = [\"10.7.7.7/8\"]\n\
             [[rule]]\nhost = \"*.canary.github.io\"\nallow = [\"user:canary\"]\n\
             [[rule]]\nhost = \"*.co.uk\"\nallow = [{ canary_term = 1 }]\n";
        std::fs::write(dir.path().join("doorbook.toml"), file).unwrap();
        std::fs::write(dir.path().join(".env"), "DOORBOOK_CANARY=1\n").unwrap();
        let env = [
            ("DISCORD_REDIRECT_URL", "https://canary-host.example.org/api/auth/discord/redirect"),
            ("DOORBOOK_ALOW", "user:1"),
            ("COOKIE_SECRET_FILE", "/nowhere/canary"),
        ];
        let errors = Config::read(&Sources {
            flags: BTreeMap::new(),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: dir.path().to_owned(),
            system_file: dir.path().join("none"),
        })
        .expect_err("many mistakes");
        let whole = errors.to_string().to_lowercase();
        assert!(whole.contains("canary") && whole.contains("10.0.0.0/8"), "{whole}");
        let said: Vec<String> = errors.0.iter().map(Mistake::without_values).collect();
        for said in &said {
            let lower = said.to_lowercase();
            let lower = lower.replace("rule.allow", "");
            let value =
                ["canary", "10.", "co.uk", "github", "alow"].into_iter().find(|value| lower.contains(value));
            assert_eq!(value, None, "{said}");
        }
        for expected in [
            "doorbook.toml:2: unknown key",
            "doorbook.toml:3: unknown key",
            "doorbook.toml:4: trusted_proxies: has bits beyond its prefix",
            "doorbook.toml:7: rule.allow: a term is a table here",
            "doorbook.toml:9: rule.host: stands for hosts of strangers",
            "doorbook.toml:10: unknown key",
            ".env:1: unknown variable",
            "the environment: unknown variable",
            "COOKIE_SECRET_FILE: names a file that cannot be read, or is one",
        ] {
            assert!(said.iter().any(|said| said == expected), "{expected}: {said:#?}");
        }
    }
}
