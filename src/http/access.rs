//! What a proxy is told: decided from memory by one pure function, with everything that its answer has to say.

use crate::domain::access::{Person, Reason, Truth, Verdict, Wanted, check};
use crate::domain::event::Membership;
use crate::domain::rules::{Group, Rules, Term};
use crate::grants::Standing;

/// What a proxy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The request may pass.
    Granted,
    /// Somebody has to sign in first.
    NotSignedIn,
    /// Discord has to be asked first.
    Unknown(Refusal),
    /// Whoever is signed in may not.
    NotAllowed(Refusal),
    /// Nobody may.
    NoRule {
        /// Whether there are rules for that host, but none of them for this request.
        has_rules: bool,
    },
}

/// Why somebody may not, for them and for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    /// The groups of which one would do.
    pub(super) groups: Vec<Group>,
    /// Who else would do, in plain words.
    pub(super) kinds: Vec<&'static str>,
    /// Whether all that is missing is that they accept the rules of a Discord server.
    pub(super) is_pending: bool,
    /// What was missing, in the words of the configuration; no id is in it, nor anything that names the person.
    pub(super) missing: String,
}

/// Decides whether a request may pass, by whoever is signed in, if anybody is.
pub(super) fn decide(rules: &Rules, wanted: &Wanted<'_>, standing: Option<&Standing>) -> Access {
    let person = standing.map(Standing::person);
    match check(rules, wanted, person.as_ref()) {
        Verdict::Public(_) | Verdict::Allowed(_) => Access::Granted,
        Verdict::NotSignedIn => Access::NotSignedIn,
        Verdict::Unknown(reason) => {
            Access::Unknown(refusal(rules, reason, standing, "is not known to spare them"))
        }
        Verdict::NotAllowed(reason) => Access::NotAllowed(refusal(rules, reason, standing, "denies it")),
        Verdict::NoRule => Access::NoRule { has_rules: rules.of_host(wanted.host).next().is_some() },
    }
}

/// Says why somebody may not even sign in.
pub(super) fn not_admitted(rules: &Rules, standing: &Standing) -> Refusal {
    refusal(rules, Reason::Allow, Some(standing), "denies it")
}

fn refusal(rules: &Rules, reason: Reason<'_>, standing: Option<&Standing>, denied: &str) -> Refusal {
    let place = match reason {
        Reason::Allow => "DOORBOOK_ALLOW".to_owned(),
        Reason::Rule(decided) => format!("[[rule]] {}", rules.number_of(decided)),
        Reason::DefaultPolicy => "DOORBOOK_DEFAULT_POLICY".to_owned(),
    };
    let terms = reason.terms(rules);
    let holds = standing.is_some_and(|standing| rules.any(terms, &standing.person()) == Truth::Yes);
    if holds {
        // One of the terms would do, so it is the other list.
        return Refusal { missing: format!("nothing: {place} {denied}"), ..Refusal::default() };
    }
    let groups = terms.iter().filter_map(|term| match term {
        Term::Group(name) => rules.group(name).cloned(),
        _ => None,
    });
    let mut kinds = Vec::new();
    for kind in terms.iter().filter_map(kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let is_pending = standing.is_some_and(|standing| is_pending(rules, terms, standing));
    let words: Vec<String> = terms.iter().map(words).collect();
    let but = if is_pending { "; the rules of that server are not accepted yet" } else { "" };
    let missing = format!("{place} wants one of: {}{but}", words.join(", "));
    Refusal { groups: groups.collect(), kinds, is_pending, missing }
}

/// Returns whether one of the terms would hold if somebody had passed the screening of every guild.
fn is_pending(rules: &Rules, terms: &[Term], standing: &Standing) -> bool {
    if !standing.memberships.iter().any(|membership| membership.pending) {
        return false;
    }
    let passed = standing.memberships.iter().map(|known| Membership { pending: false, ..known.clone() });
    let memberships: Vec<Membership> = passed.collect();
    rules.any(terms, &Person { memberships: &memberships, ..standing.person() }) == Truth::Yes
}

/// Says whom a term means, to somebody whom it does not; a group speaks for itself.
fn kind(term: &Term) -> Option<&'static str> {
    match term {
        Term::User(_) => Some("certain people"),
        Term::EmailDomain(_) => Some("people with a certain e-mail address"),
        Term::Guild(_) => Some("members of a certain Discord server"),
        Term::Role { .. } => Some("members of a Discord server with a certain role"),
        Term::Admin => Some("administrators"),
        Term::Group(_) | Term::SignedIn => None,
    }
}

/// Names a term for a trace, in which no Discord id has any business.
fn words(term: &Term) -> String {
    match term {
        Term::User(_) => "user:\u{2026}".to_owned(),
        Term::Guild(_) => "guild:\u{2026}".to_owned(),
        Term::Role { .. } => "role:\u{2026}".to_owned(),
        Term::EmailDomain(_) | Term::Group(_) | Term::SignedIn | Term::Admin => term.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::{Host, HostPattern};
    use crate::domain::id::DiscordId;
    use crate::domain::path::{RequestPath, RulePath};
    use crate::domain::rules::{Grants, Rule};

    const GUILD: DiscordId = DiscordId(1);
    const NELLY: DiscordId = DiscordId(7);

    fn staff() -> Group {
        Group {
            name: "staff".into(),
            any: vec![Term::Role { guild: GUILD, role: DiscordId(2) }],
            title: Some("Staff".into()),
            help: Some("Ask in #helpdesk".into()),
            invite: None,
        }
    }

    fn rules(allow: Vec<Term>, deny: Vec<Term>) -> Rules {
        let rule = Rule {
            host: HostPattern::parse("wiki.example.org").expect("a host"),
            path: RulePath::parse("/docs").expect("a path"),
            grant: Grants::To { allow, deny },
            methods: None,
            networks: None,
            allow_preflight: false,
        };
        Rules { rules: vec![rule], groups: vec![staff()], ..Rules::default() }
    }

    fn ask(rules: &Rules, url: (&str, &str), memberships: Option<&[Membership]>) -> Access {
        let (host, path) = (Host::parse(url.0).expect("a host"), RequestPath::parse(url.1).expect("a path"));
        let wanted = Wanted { host: &host, path: &path, method: "GET", address: None, is_preflight: false };
        let standing =
            memberships.map(|known| Standing { id: NELLY, profile: None, memberships: known.into() });
        decide(rules, &wanted, standing.as_ref())
    }

    const DOCS: (&str, &str) = ("wiki.example.org", "/docs");

    #[test]
    fn whoever_is_refused_is_told_the_group_and_the_operator_what_was_missing() {
        let terms = vec![Term::Group("staff".into()), Term::Guild(DiscordId(9)), Term::User(DiscordId(8))];
        let rules = rules(terms, vec![]);
        let known = [Membership::none(GUILD), Membership::none(DiscordId(9))];
        let Access::NotAllowed(refusal) = ask(&rules, DOCS, Some(&known)) else { panic!("not refused") };
        assert_eq!(refusal.groups, [staff()]);
        assert_eq!(refusal.kinds, ["members of a certain Discord server", "certain people"]);
        let missing = "[[rule]] 1 wants one of: group:staff, guild:\u{2026}, user:\u{2026}";
        assert_eq!(refusal.missing, missing, "and no id");
        let Access::Unknown(unknown) = ask(&rules, DOCS, Some(&[])) else { panic!("not unknown") };
        assert_eq!(unknown, refusal);
        assert_eq!(ask(&rules, DOCS, None), Access::NotSignedIn);
        let allow = Rules { allow: Some(vec![Term::Group("staff".into())]), ..rules };
        let Access::NotAllowed(refusal) = ask(&allow, DOCS, Some(&known)) else { panic!("not refused") };
        assert_eq!(refusal.missing, "DOORBOOK_ALLOW wants one of: group:staff");
    }

    #[test]
    fn whoever_is_only_in_screening_is_told_so() {
        let guild = |pending| Membership { member: true, pending, ..Membership::none(GUILD) };
        let rules = rules(vec![Term::Guild(GUILD)], vec![]);
        let refused = |known: &[Membership]| match ask(&rules, DOCS, Some(known)) {
            Access::NotAllowed(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        };
        assert!(!refused(&[Membership::none(GUILD)]).is_pending);
        let pending = refused(&[guild(true)]);
        assert!(pending.is_pending && pending.missing.ends_with("are not accepted yet"), "{pending:?}");
        assert_eq!(ask(&rules, DOCS, Some(&[guild(false)])), Access::Granted);
        let elsewhere = Membership { guild: DiscordId(9), ..guild(true) };
        assert!(!refused(&[Membership::none(GUILD), elsewhere]).is_pending, "another server");
        let no_role = super::tests::rules(vec![Term::Group("staff".into())], vec![]);
        let Access::NotAllowed(refusal) = ask(&no_role, DOCS, Some(&[guild(true)])) else {
            panic!("not refused")
        };
        assert!(!refusal.is_pending, "accepting would not be enough");
    }

    #[test]
    fn who_is_on_the_other_list_is_not_told_to_join() {
        let rules = rules(vec![Term::SignedIn, Term::Group("staff".into())], vec![Term::User(NELLY)]);
        let Access::NotAllowed(refusal) = ask(&rules, DOCS, Some(&[])) else { panic!("not refused") };
        assert!(
            refusal.groups.is_empty() && refusal.missing == "nothing: [[rule]] 1 denies it",
            "{refusal:?}"
        );
        let rules = self::rules(vec![Term::SignedIn], vec![Term::Guild(GUILD)]);
        let Access::Unknown(refusal) = ask(&rules, DOCS, Some(&[])) else { panic!("not unknown") };
        assert_eq!(refusal.missing, "nothing: [[rule]] 1 is not known to spare them");
    }

    #[test]
    fn a_host_without_a_rule_is_told_from_a_path_without_one() {
        let rules = rules(vec![Term::SignedIn], vec![]);
        assert_eq!(ask(&rules, DOCS, Some(&[])), Access::Granted);
        let elsewhere = ask(&rules, ("wiki.example.org", "/"), Some(&[]));
        assert_eq!(elsewhere, Access::NoRule { has_rules: true });
        assert_eq!(ask(&rules, ("x.example.org", "/"), None), Access::NoRule { has_rules: false });
    }
}
