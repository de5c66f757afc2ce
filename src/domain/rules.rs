//! Everything that decides who may come in: as configured, and written down whenever it changes.

mod canonical;
mod shadow;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::access::{Person, Truth};
use super::host::{Host, HostPattern};
use super::id::{DiscordId, Hash};
use super::path::RulePath;

pub use shadow::Shadowed;

/// Without this scope Discord does not say what somebody is in a guild.
pub const MEMBERS_SCOPE: &str = "guilds.members.read";

/// Without this scope Discord does not say what somebody's address is.
pub const EMAIL_SCOPE: &str = "email";

/// Everything that decides, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who may sign in, and stay in; `None` lets in anyone with a Discord account.
    pub allow: Option<Vec<Term>>,
    /// Who may open the pages of an administrator.
    pub admins: Vec<Term>,
    /// Names for lists of people.
    pub groups: Vec<Group>,
    /// Who may open what; the first that is for a host and a path decides.
    pub rules: Vec<Rule>,
    /// What becomes of hosts without a rule.
    pub default_policy: DefaultPolicy,
    /// How long a membership counts after Discord has confirmed it; an address as well, where a term asks for one.
    pub membership_max_age: Duration,
    /// How much longer it counts while it is asked for again.
    pub membership_grace: Duration,
    /// How long a session lives whatever happens.
    pub session_max_age: Duration,
    /// How long a session lives unused.
    pub session_idle: Duration,
}

/// One way to be let in, or kept out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    /// That user.
    User(DiscordId),
    /// Whoever has a verified address at that domain.
    EmailDomain(String),
    /// Members of that guild. Who has not passed its membership screening is none yet.
    Guild(DiscordId),
    /// Members of a guild who have that role there.
    Role {
        /// The guild.
        guild: DiscordId,
        /// The role.
        role: DiscordId,
    },
    /// Whoever belongs to the group of that name.
    Group(String),
    /// Whoever is signed in.
    SignedIn,
    /// Whoever is an administrator.
    Admin,
}

/// A name for a list of people, and what to tell those who are not on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `[a-z0-9_-]{1,32}`.
    pub name: String,
    /// Belongs to it for whom any of these holds.
    pub any: Vec<Term>,
    /// What the page of a refusal calls it.
    pub title: Option<String>,
    /// Whom to ask.
    pub help: Option<String>,
    /// Where to join; an https URL.
    pub invite: Option<String>,
}

/// Who may open what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// On which hosts.
    pub host: HostPattern,
    /// That path and everything below it.
    pub path: RulePath,
    /// Whom it grants.
    pub grant: Grants,
    /// Only for these methods, in capitals; `None` for all. HEAD counts as GET.
    pub methods: Option<Vec<String>>,
    /// Only for clients from there; `None` for all.
    pub networks: Option<Vec<IpNet>>,
    /// Whether a browser may ask beforehand without being signed in.
    pub allow_preflight: bool,
}

/// Whom a rule grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// Everybody, signed in or not.
    Public,
    /// People.
    To {
        /// Any of these suffices.
        allow: Vec<Term>,
        /// Any of these keeps out, whatever else holds.
        deny: Vec<Term>,
    },
}

/// What becomes of hosts without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// They are refused.
    Deny,
    /// Whoever may sign in may open hosts at or below this domain.
    SignedIn(Host),
}

impl DefaultPolicy {
    /// Returns whether whoever may sign in may open that host, if no rule is for it.
    pub fn is_for(&self, host: &Host) -> bool {
        match self {
            DefaultPolicy::Deny => false,
            DefaultPolicy::SignedIn(domain) => host.is_at_or_below(domain),
        }
    }
}

/// How long the rules may be in their canonical form: a record has to hold it.
pub const MAX_CANONICAL: usize = 60_000;

/// The rules are longer than a record can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules are too many: they take {bytes} bytes in the log, and {MAX_CANONICAL} is the most")]
pub struct RulesTooLong {
    /// How long they are.
    pub bytes: usize,
}

impl Rules {
    /// Returns whether the person is one of those who may sign in and stay in. What is unknown lets nobody in.
    pub fn allows(&self, person: &Person<'_>) -> Truth {
        match &self.allow {
            None => Truth::Yes,
            Some(terms) => self.any(terms, person),
        }
    }

    /// Returns whether any of the terms holds for the person.
    pub fn any(&self, terms: &[Term], person: &Person<'_>) -> Truth {
        terms.iter().map(|term| self.holds(term, person)).fold(Truth::No, Truth::or)
    }

    /// Returns whether the term holds for the person.
    pub fn holds(&self, term: &Term, person: &Person<'_>) -> Truth {
        match term {
            Term::Group(name) => match self.group(name) {
                Some(group) => group.any.iter().map(|term| flat(term, person)).fold(Truth::No, Truth::or),
                // The configuration refuses a name that nobody has.
                None => Truth::Unknown,
            },
            Term::Admin => self.admins.iter().fold(Truth::No, |found, term| match term {
                Term::Admin => found.or(Truth::Unknown),
                term => found.or(self.holds(term, person)),
            }),
            term => flat(term, person),
        }
    }

    /// Returns whether anything is said about that host: by a rule, or by the policy for hosts without one.
    pub fn guards(&self, host: &Host) -> bool {
        self.default_policy.is_for(host) || self.of_host(host).next().is_some()
    }

    /// Returns the rules that are for that host, in their order.
    pub fn of_host(&self, host: &Host) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.host.matches(host))
    }

    /// Returns the number of one of these rules: its place in the file, from 1.
    pub fn number_of(&self, rule: &Rule) -> usize {
        // Two rules may say the same; it is the same one only where it stands.
        self.rules.iter().position(|other| std::ptr::eq(other, rule)).map_or(0, |at| at + 1)
    }

    /// Returns the group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Returns the names of the groups that the person is known to belong to, in the order of the configuration.
    pub fn groups_of<'r>(&'r self, person: &Person<'_>) -> Vec<&'r str> {
        let belongs = |group: &&Group| group.any.iter().any(|term| flat(term, person) == Truth::Yes);
        self.groups.iter().filter(belongs).map(|group| group.name.as_str()).collect()
    }

    /// Returns whether the person is known to be an administrator.
    pub fn is_admin(&self, person: &Person<'_>) -> bool {
        self.holds(&Term::Admin, person) == Truth::Yes
    }

    /// Returns the guilds about which anything is asked.
    pub fn guilds(&self) -> BTreeSet<DiscordId> {
        self.terms().filter_map(Term::guild).collect()
    }

    /// Returns the guilds that decide who may sign in, by themselves or in a group.
    pub fn guilds_of_allow(&self) -> BTreeSet<DiscordId> {
        let terms = self.allow.iter().flatten();
        let of_groups = terms.clone().flat_map(|term| match term {
            Term::Group(name) => self.group(name).map(|group| group.any.as_slice()).unwrap_or_default(),
            Term::Admin => &self.admins,
            _ => &[],
        });
        terms.chain(of_groups).filter_map(Term::guild).collect()
    }

    /// Returns the roles that are asked for, each with its guild.
    pub fn roles(&self) -> BTreeSet<(DiscordId, DiscordId)> {
        self.terms().filter_map(Term::role).collect()
    }

    /// Returns the scopes without which a question of the rules has no answer.
    pub fn scopes(&self) -> Vec<&'static str> {
        let mut scopes = Vec::new();
        if self.terms().any(|term| matches!(term, Term::Guild(_) | Term::Role { .. })) {
            scopes.push(MEMBERS_SCOPE);
        }
        if self.terms().any(|term| matches!(term, Term::EmailDomain(_))) {
            scopes.push(EMAIL_SCOPE);
        }
        scopes
    }

    /// Returns what Discord is asked for: the scopes that were configured, and those without which a question of
    /// the rules has no answer.
    pub fn asked(&self, configured: &[String]) -> Vec<String> {
        let mut all = configured.to_vec();
        for scope in self.scopes() {
            if !all.iter().any(|known| known == scope) {
                all.push(scope.to_owned());
            }
        }
        all
    }

    /// Returns every term, wherever it stands.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        let of_rules = self.rules.iter().flat_map(|rule| match &rule.grant {
            Grants::Public => [].iter().chain([].iter()),
            Grants::To { allow, deny } => allow.iter().chain(deny.iter()),
        });
        let of_groups = self.groups.iter().flat_map(|group| group.any.iter());
        self.allow.iter().flatten().chain(&self.admins).chain(of_groups).chain(of_rules)
    }

    /// Returns the SHA-256 of the rules in their canonical form; events name the rules by it.
    pub fn hash(&self) -> Hash {
        Hash::of(self.canonical().as_bytes())
    }

    /// Returns the rules in their canonical form, where a record can hold it.
    pub fn recordable(&self) -> Result<String, RulesTooLong> {
        let text = self.canonical();
        if text.len() > MAX_CANONICAL { Err(RulesTooLong { bytes: text.len() }) } else { Ok(text) }
    }

    /// Returns how far apart two recorded sightings of a session stand at least.
    pub fn seen_quantum(&self) -> Duration {
        (self.session_idle / 8).clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600))
    }
}

impl Term {
    /// Returns the guild that it asks about.
    pub fn guild(&self) -> Option<DiscordId> {
        match self {
            Term::Guild(guild) | Term::Role { guild, .. } => Some(*guild),
            _ => None,
        }
    }

    /// Returns the role that it asks for, with its guild.
    pub fn role(&self) -> Option<(DiscordId, DiscordId)> {
        match self {
            Term::Role { guild, role } => Some((*guild, *role)),
            _ => None,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            allow: None,
            admins: vec![],
            groups: vec![],
            rules: vec![],
            default_policy: DefaultPolicy::Deny,
            membership_max_age: Duration::from_secs(15 * 60),
            membership_grace: Duration::from_secs(3_600),
            session_max_age: Duration::from_secs(30 * 86_400),
            session_idle: Duration::from_secs(7 * 86_400),
        }
    }
}

/// Asks a term that leads to no other; groups and administrators lead to others only once.
fn flat(term: &Term, person: &Person<'_>) -> Truth {
    match term {
        Term::User(id) => Truth::from(*id == person.id),
        Term::EmailDomain(domain) => person.has_email_at(domain),
        Term::Guild(guild) => match person.membership(*guild) {
            Some(membership) => Truth::from(membership.member && !membership.pending),
            None => Truth::Unknown,
        },
        Term::Role { guild, role } => match person.membership(*guild) {
            Some(membership) => Truth::from(membership.member && membership.roles.contains(role)),
            None => Truth::Unknown,
        },
        Term::SignedIn => Truth::Yes,
        Term::Group(_) | Term::Admin => Truth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Membership, Profile};

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

    fn nelly<'a>(profile: &'a Profile, memberships: &'a [Membership]) -> Person<'a> {
        Person { id: DiscordId(7), profile: Some(profile), memberships }
    }

    #[test]
    fn an_address_counts_only_verified_and_only_behind_the_last_at() {
        let rules = Rules { allow: Some(vec![Term::EmailDomain("example.org".into())]), ..Rules::default() };
        let asked = |email, verified| rules.allows(&nelly(&profile(email, verified), &[]));
        assert_eq!(asked(Some("nelly@Example.ORG"), Some(true)), Truth::Yes);
        assert_eq!(asked(Some("nelly@example.org"), Some(false)), Truth::No);
        assert_eq!(asked(Some("nelly@example.org"), None), Truth::Unknown, "the scope is missing");
        assert_eq!(asked(Some("nelly@example.org@evil.net"), Some(true)), Truth::No);
        assert_eq!(asked(Some("nelly@evil.example.org"), Some(true)), Truth::No);
        assert_eq!(asked(None, Some(true)), Truth::No);
    }

    #[test]
    fn an_empty_list_lets_nobody_in_and_no_list_everybody() {
        let profile = profile(None, None);
        let nelly = nelly(&profile, &[]);
        assert_eq!(Rules::default().allows(&nelly), Truth::Yes);
        assert_eq!(Rules { allow: Some(vec![]), ..Rules::default() }.allows(&nelly), Truth::No);
        let by_id = Rules { allow: Some(vec![Term::User(DiscordId(7))]), ..Rules::default() };
        assert_eq!(by_id.allows(&nelly), Truth::Yes);
        assert_ne!(by_id.hash(), Rules::default().hash());
    }

    #[test]
    fn a_guild_wants_members_who_passed_its_screening_and_a_role_wants_the_role() {
        let (guild, role) = (DiscordId(1), DiscordId(2));
        let of = |member, pending, roles: &[u64]| Membership {
            guild,
            member,
            roles: roles.iter().map(|id| DiscordId(*id)).collect(),
            nick: None,
            pending,
        };
        let profile = profile(None, None);
        let ask = |term: Term, known: &[Membership]| Rules::default().holds(&term, &nelly(&profile, known));
        let has_role = || Term::Role { guild, role };
        assert_eq!(ask(Term::Guild(guild), &[of(true, false, &[])]), Truth::Yes);
        assert_eq!(ask(Term::Guild(guild), &[of(true, true, &[])]), Truth::No);
        assert_eq!(ask(Term::Guild(guild), &[of(false, false, &[])]), Truth::No);
        assert_eq!(ask(Term::Guild(guild), &[]), Truth::Unknown);
        assert_eq!(ask(Term::Guild(DiscordId(9)), &[of(true, false, &[])]), Truth::Unknown);
        assert_eq!(ask(has_role(), &[of(true, false, &[5, 2])]), Truth::Yes);
        assert_eq!(ask(has_role(), &[of(true, false, &[5])]), Truth::No);
        assert_eq!(
            ask(has_role(), &[of(false, false, &[2])]),
            Truth::No,
            "what is left of a member who left"
        );
        assert_eq!(ask(has_role(), &[]), Truth::Unknown);
    }

    #[test]
    fn groups_and_administrators_lead_to_others_once() {
        let group = |name: &str, any| Group { name: name.into(), any, title: None, help: None, invite: None };
        let rules = Rules {
            admins: vec![Term::Group("staff".into())],
            groups: vec![
                group("staff", vec![Term::User(DiscordId(7))]),
                group("loop", vec![Term::Group("loop".into()), Term::Admin]),
            ],
            ..Rules::default()
        };
        let profile = profile(None, None);
        let nelly = nelly(&profile, &[]);
        assert!(rules.is_admin(&nelly));
        assert_eq!(rules.groups_of(&nelly), ["staff"]);
        assert_eq!(rules.holds(&Term::Group("loop".into()), &nelly), Truth::Unknown);
        assert_eq!(rules.holds(&Term::Group("nobody".into()), &nelly), Truth::Unknown);
        assert!(!Rules { admins: vec![Term::Admin], ..Rules::default() }.is_admin(&nelly));
    }

    #[test]
    fn what_has_to_be_asked_follows_from_the_terms_wherever_they_stand() {
        let (guild, role) = (DiscordId(1), DiscordId(2));
        let rules = Rules {
            admins: vec![Term::Role { guild, role }],
            rules: vec![Rule {
                host: HostPattern::parse("wiki.example.org").expect("a host"),
                path: RulePath::root(),
                grant: Grants::To {
                    allow: vec![Term::SignedIn],
                    deny: vec![Term::Guild(DiscordId(3)), Term::EmailDomain("example.org".into())],
                },
                methods: None,
                networks: None,
                allow_preflight: false,
            }],
            ..Rules::default()
        };
        assert_eq!(rules.guilds().into_iter().collect::<Vec<_>>(), [guild, DiscordId(3)]);
        assert_eq!(rules.roles().into_iter().collect::<Vec<_>>(), [(guild, role)]);
        assert_eq!(rules.scopes(), ["guilds.members.read", "email"]);
        let configured = ["email".to_owned(), "identify".to_owned()];
        assert_eq!(rules.asked(&configured), ["email", "identify", "guilds.members.read"]);
        assert_eq!(Rules::default().asked(&configured), configured);
        assert!(Rules::default().scopes().is_empty());
    }

    #[test]
    fn the_guilds_that_decide_about_a_sign_in_are_told_from_the_others() {
        let group = |name: &str, guild| Group {
            name: name.into(),
            any: vec![Term::Guild(DiscordId(guild))],
            title: None,
            help: None,
            invite: None,
        };
        let rules = Rules {
            allow: Some(vec![
                Term::Role { guild: DiscordId(1), role: DiscordId(9) },
                Term::Group("in".into()),
                Term::User(DiscordId(8)),
            ]),
            admins: vec![Term::Guild(DiscordId(4))],
            groups: vec![group("in", 2), group("out", 3)],
            ..Rules::default()
        };
        assert_eq!(rules.guilds_of_allow().into_iter().collect::<Vec<_>>(), [DiscordId(1), DiscordId(2)]);
        assert_eq!(rules.guilds().len(), 4);
        let admins = Rules { allow: Some(vec![Term::Admin]), ..rules };
        assert_eq!(admins.guilds_of_allow().into_iter().collect::<Vec<_>>(), [DiscordId(4)]);
        assert!(Rules::default().guilds_of_allow().is_empty());
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
