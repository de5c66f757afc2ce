//! Who may sign in, and how long a session lives.

use std::time::Duration;

use super::event::Profile;
use super::id::{DiscordId, Hash};

/// Everything that decides, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who may sign in; `None` lets in anyone with a Discord account.
    pub allow: Option<Vec<Term>>,
    /// How long a session lives whatever happens.
    pub session_max_age: Duration,
    /// How long a session lives unused.
    pub session_idle: Duration,
}

/// One way to be let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    /// That user.
    User(DiscordId),
    /// Whoever has a verified address at that domain.
    EmailDomain(String),
}

/// What the rules say about somebody who wants to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Let in.
    Admitted,
    /// Turned away.
    Denied,
}

impl Rules {
    /// Returns whether the person may sign in.
    pub fn admit(&self, profile: &Profile) -> Admission {
        let admitted = match &self.allow {
            None => true,
            Some(terms) => terms.iter().any(|term| term.matches(profile)),
        };
        if admitted { Admission::Admitted } else { Admission::Denied }
    }

    /// Returns the SHA-256 of the rules in a canonical form; events name the rules by it.
    pub fn hash(&self) -> Hash {
        let mut text = String::from("doorbook/v1/rules\n");
        for term in self.allow.iter().flatten() {
            match term {
                Term::User(id) => text.push_str(&format!("allow user {id}\n")),
                Term::EmailDomain(domain) => text.push_str(&format!("allow email {domain}\n")),
            }
        }
        if self.allow.is_none() {
            text.push_str("allow anyone\n");
        }
        Hash::of(text.as_bytes())
    }

    /// Returns how far apart two recorded sightings of a session stand at least.
    pub fn seen_quantum(&self) -> Duration {
        (self.session_idle / 8).clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            allow: None,
            session_max_age: Duration::from_secs(30 * 86_400),
            session_idle: Duration::from_secs(7 * 86_400),
        }
    }
}

impl Term {
    fn matches(&self, profile: &Profile) -> bool {
        match self {
            Term::User(id) => *id == profile.id,
            Term::EmailDomain(domain) => {
                profile.email_verified == Some(true)
                    && profile
                        .email
                        .as_deref()
                        .and_then(|email| email.rsplit_once('@'))
                        .is_some_and(|(_, at)| at.eq_ignore_ascii_case(domain))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(email: Option<&str>, verified: Option<bool>) -> Profile {
        Profile {
            id: DiscordId(7),
            username: "nelly".into(),
            global_name: None,
            discriminator: "0".into(),
            avatar: None,
            locale: None,
            email: email.map(Into::into),
            email_verified: verified,
        }
    }

    #[test]
    fn an_address_counts_only_verified_and_only_behind_the_last_at() {
        let rules = Rules { allow: Some(vec![Term::EmailDomain("example.org".into())]), ..Rules::default() };
        let admits = |email, verified| rules.admit(&profile(email, verified)) == Admission::Admitted;
        assert!(admits(Some("nelly@Example.ORG"), Some(true)));
        assert!(!admits(Some("nelly@example.org"), Some(false)));
        assert!(!admits(Some("nelly@example.org"), None));
        assert!(!admits(Some("nelly@example.org@evil.net"), Some(true)));
        assert!(!admits(Some("nelly@evil.example.org"), Some(true)));
        assert!(!admits(None, Some(true)));
    }

    #[test]
    fn an_empty_list_lets_nobody_in_and_no_list_everybody() {
        let nelly = profile(None, None);
        assert_eq!(Rules::default().admit(&nelly), Admission::Admitted);
        assert_eq!(Rules { allow: Some(vec![]), ..Rules::default() }.admit(&nelly), Admission::Denied);
        let by_id = Rules { allow: Some(vec![Term::User(DiscordId(7))]), ..Rules::default() };
        assert_eq!(by_id.admit(&nelly), Admission::Admitted);
        assert_ne!(by_id.hash(), Rules::default().hash());
    }

    #[test]
    fn the_quantum_is_an_eighth_of_the_idle_time_within_bounds() {
        let quantum =
            |idle| Rules { session_idle: Duration::from_secs(idle), ..Rules::default() }.seen_quantum();
        assert_eq!(quantum(7 * 86_400), Duration::from_secs(21 * 3600));
        assert_eq!(quantum(60), Duration::from_secs(60));
        assert_eq!(quantum(90 * 86_400), Duration::from_secs(86_400));
    }
}
