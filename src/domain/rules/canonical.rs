//! The rules as one text: the same rules give the same text, and the text is a configuration file that gives them.
//!
//! It is what `rules.changed` seals and what the hash of the rules is of. What only pages show (a group's title,
//! help and invite) and what decides nothing about access (how long sessions live) is not in it.

use std::fmt::Write as _;

use super::{DefaultPolicy, Grants, Group, Rule, Rules, Term};

impl Rules {
    /// Returns everything that decides, as TOML that [`crate::config`] reads.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        if let Some(allow) = &self.allow {
            let _ = writeln!(text, "allow = \"{}\"", listed(allow));
        }
        if !self.admins.is_empty() {
            let _ = writeln!(text, "admins = \"{}\"", listed(&self.admins));
        }
        match &self.default_policy {
            DefaultPolicy::Deny => text.push_str("default_policy = \"deny\"\n"),
            DefaultPolicy::SignedIn(domain) => {
                let _ = writeln!(text, "default_policy = \"signed-in\"\ncookie_domain = \"{domain}\"");
            }
        }
        let _ = writeln!(text, "membership_max_age = \"{}s\"", self.membership_max_age.as_secs());
        let _ = writeln!(text, "membership_grace = \"{}s\"", self.membership_grace.as_secs());
        for group in &self.groups {
            write_group(&mut text, group);
        }
        for rule in &self.rules {
            write_rule(&mut text, rule);
        }
        text
    }
}

fn write_group(text: &mut String, group: &Group) {
    let _ = writeln!(text, "\n[[group]]\nname = \"{}\"\nany = [{}]", group.name, tables(&group.any));
}

fn write_rule(text: &mut String, rule: &Rule) {
    let _ = writeln!(text, "\n[[rule]]\nhost = \"{}\"", rule.host);
    if !rule.path.is_root() {
        let _ = writeln!(text, "path = \"{}\"", rule.path);
    }
    match &rule.grant {
        Grants::Public => text.push_str("public = true\n"),
        Grants::To { allow, deny } => {
            let _ = writeln!(text, "allow = [{}]", tables(allow));
            if !deny.is_empty() {
                let _ = writeln!(text, "deny = [{}]", tables(deny));
            }
        }
    }
    if let Some(methods) = &rule.methods {
        let _ = writeln!(text, "methods = [{}]", quoted(methods));
    }
    if let Some(networks) = &rule.networks {
        let _ = writeln!(text, "networks = [{}]", quoted(networks));
    }
    if rule.allow_preflight {
        text.push_str("allow_preflight = true\n");
    }
}

/// Writes terms as a setting lists them: `guild:1,role:1/2`.
fn listed(terms: &[Term]) -> String {
    terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Writes terms as a rule lists them: `{ guild = "1" }`.
fn tables(terms: &[Term]) -> String {
    let table = |term: &Term| match term {
        Term::User(id) => format!("{{ user = \"{id}\" }}"),
        Term::EmailDomain(domain) => format!("{{ email_domain = \"{domain}\" }}"),
        Term::Guild(guild) => format!("{{ guild = \"{guild}\" }}"),
        Term::Role { guild, role } => format!("{{ guild = \"{guild}\", role = \"{role}\" }}"),
        Term::Group(name) => format!("{{ group = \"{name}\" }}"),
        Term::SignedIn => "{ signed_in = true }".to_owned(),
        Term::Admin => "{ admin = true }".to_owned(),
    };
    terms.iter().map(table).collect::<Vec<_>>().join(", ")
}

fn quoted<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

impl std::fmt::Display for Term {
    /// Writes the term as a setting names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Term::User(id) => write!(f, "user:{id}"),
            Term::EmailDomain(domain) => write!(f, "email:{domain}"),
            Term::Guild(guild) => write!(f, "guild:{guild}"),
            Term::Role { guild, role } => write!(f, "role:{guild}/{role}"),
            Term::Group(name) => write!(f, "group:{name}"),
            Term::SignedIn => f.write_str("signed-in"),
            Term::Admin => f.write_str("admin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::host::{Host, HostPattern};
    use crate::domain::id::DiscordId;
    use crate::domain::path::RulePath;
    use crate::domain::rules::{DefaultPolicy, Grants, Group, Rule, Rules, Term};

    #[test]
    fn everything_that_decides_is_in_the_text_and_nothing_else() {
        let (guild, role) = (DiscordId(197_038_439_483_310_086), DiscordId(41_771_983_423_143_936));
        let rules = Rules {
            allow: Some(vec![Term::Guild(guild), Term::EmailDomain("example.org".into())]),
            admins: vec![Term::Group("staff".into())],
            groups: vec![Group {
                name: "staff".into(),
                any: vec![Term::Role { guild, role }, Term::User(DiscordId(7))],
                title: Some("Staff".into()),
                help: None,
                invite: None,
            }],
            rules: vec![
                Rule {
                    host: HostPattern::parse("wiki.example.org").expect("a host"),
                    path: RulePath::parse("/admin").expect("a path"),
                    grant: Grants::To {
                        allow: vec![Term::Group("staff".into()), Term::Admin],
                        deny: vec![Term::User(DiscordId(8))],
                    },
                    methods: Some(vec!["GET".into()]),
                    networks: Some(vec!["192.168.1.0/24".parse().expect("a network")]),
                    allow_preflight: true,
                },
                Rule {
                    host: HostPattern::parse("*.example.org").expect("hosts"),
                    path: RulePath::root(),
                    grant: Grants::Public,
                    methods: None,
                    networks: None,
                    allow_preflight: false,
                },
            ],
            default_policy: DefaultPolicy::SignedIn(Host::parse("example.org").expect("a host")),
            ..Rules::default()
        };
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
            prepend_module_to_snapshot => false, omit_expression => true
        }, {
            insta::assert_snapshot!("rules_canonical", rules.canonical());
        });
        let mut shown = rules.clone();
        shown.groups[0].title = None;
        shown.session_idle *= 2;
        assert_eq!(shown.hash(), rules.hash(), "what pages show, and what ends sessions, decides nothing");
        let mut other = rules.clone();
        other.rules.swap(0, 1);
        assert_ne!(other.hash(), rules.hash(), "order decides");
    }
}
