//! What of a configuration that was read again may take effect while the server runs: only what decides.

use super::settings::{self as s, Setting};
use super::{Config, InForce};
use crate::domain::id::Secret;
use crate::domain::rules::{DefaultPolicy, Rules};

/// The settings that are part of the rules.
const DECIDING: [&Setting; 5] =
    [&s::ALLOW, &s::ADMINS, &s::DEFAULT_POLICY, &s::MEMBERSHIP_MAX_AGE, &s::MEMBERSHIP_GRACE];

/// What becomes of a configuration that was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The rules that it has, as far as they may decide from now on.
    pub rules: Rules,
    /// The variables of the settings that are others now and stay as they were until a restart.
    pub waiting: Vec<&'static str>,
}

impl Config {
    /// Compares with the configuration that this process runs with, and the rules that decide now.
    pub fn read_again(&self, running: &Config, now: &Rules) -> Reloaded {
        let mut waiting: Vec<&'static str> = s::ALL
            .iter()
            .filter(|setting| !DECIDING.contains(setting))
            .filter(|setting| shown(&self.report, setting) != shown(&running.report, setting))
            .map(|setting| setting.variable)
            .collect();
        waiting.extend(self.other_secrets(running));
        let mut rules = Rules {
            session_max_age: now.session_max_age,
            session_idle: now.session_idle,
            ..self.local.rules.clone()
        };
        // The cookies of this process are for the domain that it was started with.
        if matches!(&rules.default_policy, DefaultPolicy::SignedIn(domain) if running.cookie_domain.as_ref() != Some(domain))
        {
            rules.default_policy = now.default_policy.clone();
            waiting.push(s::DEFAULT_POLICY.variable);
        }
        Reloaded { rules, waiting }
    }

    fn other_secrets(&self, running: &Config) -> impl Iterator<Item = &'static str> {
        let secret = |config: &Config| {
            let local = &config.local;
            let client = Some(config.discord.client_secret.clone());
            [
                (&s::DISCORD_OAUTH_SECRET, client),
                (&s::COOKIE_SECRET, local.cookie_secret.clone()),
                (&s::ENCRYPT_SECRET, local.encrypt_secret.clone()),
            ]
        };
        let hashes = |found: &Option<Secret>| found.as_ref().map(Secret::fingerprint);
        let others = secret(self).into_iter().zip(secret(running));
        others.filter_map(move |((setting, new), (_, old))| {
            (hashes(&new) != hashes(&old)).then_some(setting.variable)
        })
    }
}

fn shown<'r>(report: &'r [InForce], setting: &Setting) -> Option<&'r str> {
    report.iter().find(|line| line.variable == setting.variable).and_then(|line| line.value.as_deref())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Sources;
    use crate::domain::host::Host;
    use crate::domain::id::DiscordId;
    use crate::domain::rules::Term;

    fn config(more: &[(&str, &str)]) -> Config {
        let good = [
            ("DISCORD_OAUTH_CLIENT_ID", "197038439483310086"),
            ("DISCORD_OAUTH_SECRET", "a-secret"),
            ("DISCORD_REDIRECT_URL", "https://auth.example.org/api/auth/discord/redirect"),
        ];
        let sources = Sources {
            flags: Default::default(),
            env: good.iter().chain(more).map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: "/nowhere".into(),
            system_file: "/nowhere/doorbook.toml".into(),
        };
        Config::read(&sources).unwrap()
    }

    #[test]
    fn only_what_decides_changes_and_the_rest_is_named() {
        let running = config(&[]);
        let new = config(&[
            ("DOORBOOK_ALLOW", "user:1"),
            ("DOORBOOK_MEMBERSHIP_MAX_AGE", "5m"),
            ("DOORBOOK_SESSION_IDLE", "1h"),
            ("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/8"),
            ("DISCORD_OAUTH_SECRET", "another"),
            ("COOKIE_SECRET", "0123456789abcdef0123456789abcdef"),
        ]);
        let Reloaded { rules, waiting } = new.read_again(&running, &running.local.rules);
        assert_eq!(rules.allow, Some(vec![Term::User(DiscordId(1))]));
        assert_eq!(rules.membership_max_age, Duration::from_secs(300));
        assert_eq!(rules.session_idle, running.local.rules.session_idle);
        let named =
            ["DOORBOOK_SESSION_IDLE", "DOORBOOK_TRUSTED_PROXIES", "DISCORD_OAUTH_SECRET", "COOKIE_SECRET"];
        assert_eq!(waiting, named);
        let same = running.read_again(&running, &rules);
        assert_eq!((same.rules, same.waiting), (Rules { ..running.local.rules.clone() }, vec![]));
    }

    #[test]
    fn a_policy_for_another_cookie_domain_waits_for_the_restart_that_its_cookies_need() {
        let with = |policy: &str, domain: &str| {
            config(&[("DOORBOOK_DEFAULT_POLICY", policy), ("DOORBOOK_COOKIE_DOMAIN", domain)])
        };
        let signed_in = |domain: &str| DefaultPolicy::SignedIn(Host::parse(domain).unwrap());
        let running = with("deny", "example.org");
        let again = |new: Config, running: &Config| {
            let Reloaded { rules, waiting } = new.read_again(running, &running.local.rules);
            (rules.default_policy, waiting)
        };
        assert_eq!(again(with("signed-in", "example.org"), &running), (signed_in("example.org"), vec![]));
        let waiting = vec!["DOORBOOK_COOKIE_DOMAIN", "DOORBOOK_DEFAULT_POLICY"];
        assert_eq!(
            again(with("signed-in", "auth.example.org"), &running),
            (DefaultPolicy::Deny, waiting.clone())
        );
        assert_eq!(again(with("signed-in", "example.org"), &config(&[])), (DefaultPolicy::Deny, waiting));
        let running = with("signed-in", "example.org");
        assert_eq!(again(with("deny", "example.org"), &running), (DefaultPolicy::Deny, vec![]));
    }
}
