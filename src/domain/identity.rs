//! What a guarded app is told about the person it serves: six headers, whatever they are called.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::access::Person;
use super::id::DiscordId;
use super::rules::{Rules, Term};

/// What stands for a fact that is not known: a header that is missing or empty is not safe behind every proxy.
const NOTHING: &str = "-";

/// The longest list of roles, in bytes; proxies have room for a few kilobytes of headers in all.
const ROLES_MAX: usize = 2_048;

/// What the six headers are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// Who it is: an id or a handle.
    pub user: String,
    /// What they are called.
    pub name: String,
    /// A verified address.
    pub email: String,
    /// The groups they belong to, comma-separated.
    pub groups: String,
    /// The Discord id.
    pub discord_id: String,
    /// `GUILD/ROLE`, comma-separated.
    pub roles: String,
}

/// What the header that says who it is holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteUser {
    /// The Discord id, which stays the same for ever.
    Id,
    /// The handle, which is readable and can change hands.
    Username,
}

impl IdentityHeaders {
    /// As Authelia and its family call them.
    pub fn remote() -> IdentityHeaders {
        IdentityHeaders::named("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups")
    }

    /// As oauth2-proxy calls them.
    pub fn x_auth_request() -> IdentityHeaders {
        IdentityHeaders::named(
            "X-Auth-Request-User",
            "X-Auth-Request-Preferred-Username",
            "X-Auth-Request-Email",
            "X-Auth-Request-Groups",
        )
    }

    /// As Grafana and Gitea expect them.
    pub fn webauth() -> IdentityHeaders {
        IdentityHeaders::named("X-WEBAUTH-USER", "X-WEBAUTH-NAME", "X-WEBAUTH-EMAIL", "X-WEBAUTH-GROUPS")
    }

    fn named(user: &str, name: &str, email: &str, groups: &str) -> IdentityHeaders {
        IdentityHeaders {
            user: user.to_owned(),
            name: name.to_owned(),
            email: email.to_owned(),
            groups: groups.to_owned(),
            discord_id: "X-Discord-Id".to_owned(),
            roles: "X-Discord-Roles".to_owned(),
        }
    }

    /// Returns each header's name and its value for that person, or `-` in all of them for nobody. No value is
    /// empty, and each is printable ASCII.
    pub fn of<'a>(
        &'a self,
        rules: &Rules,
        remote_user: RemoteUser,
        person: Option<&Person<'_>>,
    ) -> [(&'a str, String); 6] {
        let fact = |fact: fn(&Rules, &Person<'_>) -> String| {
            person.map(|person| fact(rules, person)).filter(|value| !value.is_empty())
        };
        let user = match remote_user {
            RemoteUser::Id => fact(|_, person| person.id.to_string()),
            RemoteUser::Username => {
                fact(|_, person| person.profile.map(|profile| escaped(&profile.username)).unwrap_or_default())
            }
        };
        let all = [
            (&self.user, user),
            (
                &self.name,
                fact(|_, person| person.profile.map(|p| escaped(p.display_name())).unwrap_or_default()),
            ),
            (&self.email, fact(|_, person| email(person))),
            (&self.groups, fact(|rules, person| rules.groups_of(person).join(","))),
            (&self.discord_id, fact(|_, person| person.id.to_string())),
            (&self.roles, fact(roles)),
        ];
        all.map(|(name, value)| (name.as_str(), value.unwrap_or_else(|| NOTHING.to_owned())))
    }
}

/// Returns a verified address, or one that nobody can have and that is this person's alone.
fn email(person: &Person<'_>) -> String {
    let verified = person.profile.filter(|profile| profile.email_verified == Some(true));
    match verified.and_then(|profile| profile.email.as_deref()) {
        Some(email) if !email.is_empty() => escaped(email),
        _ => format!("{}@discord.invalid", person.id),
    }
}

/// Lists those of the person's roles that the rules name, as many as there is room for.
fn roles(rules: &Rules, person: &Person<'_>) -> String {
    // Those that the person has are few, and the rules may name very many.
    let named = rules.terms().filter_map(Term::role);
    let held: BTreeSet<_> = named.filter(|(guild, role)| has(person, *guild, *role)).collect();
    let mut list = String::new();
    for (guild, role) in held {
        let comma = if list.is_empty() { "" } else { "," };
        let item = format!("{comma}{guild}/{role}");
        if list.len() + item.len() > ROLES_MAX {
            break;
        }
        list.push_str(&item);
    }
    list
}

fn has(person: &Person<'_>, guild: DiscordId, role: DiscordId) -> bool {
    person.membership(guild).is_some_and(|known| known.member && known.roles.contains(&role))
}

/// Escapes what is not printable ASCII, and the escape itself.
fn escaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(value, "%{byte:02X}");
            }
            byte => value.push(char::from(byte)),
        }
    }
    // Spaces at an end do not arrive, and a value of nothing else would be an empty one: then all of them are escaped.
    if value.starts_with(' ') || value.ends_with(' ') { value.replace(' ', "%20") } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Membership, Profile};
    use crate::domain::rules::Group;

    const NELLY: DiscordId = DiscordId(80_351_110_224_678_912);

    fn nelly() -> Profile {
        Profile {
            id: NELLY,
            username: "nelly".into(),
            global_name: Some("Nelly \u{2728} 100%\r\nX-Admin: yes".into()),
            discriminator: "0".into(),
            avatar: None,
            locale: None,
            email: Some("nelly@example.com".into()),
            email_verified: Some(true),
        }
    }

    fn values(profile: &Profile, remote_user: RemoteUser) -> Vec<String> {
        let guild = DiscordId(1);
        let memberships = [Membership {
            guild,
            member: true,
            roles: vec![DiscordId(2), DiscordId(9)],
            nick: None,
            pending: false,
        }];
        let rules = Rules {
            groups: vec![Group {
                name: "staff".into(),
                any: vec![Term::Role { guild, role: DiscordId(2) }],
                title: None,
                help: None,
                invite: None,
            }],
            ..Rules::default()
        };
        let person = Person { id: NELLY, profile: Some(profile), memberships: &memberships };
        let headers = IdentityHeaders::remote();
        headers.of(&rules, remote_user, Some(&person)).into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn every_value_is_printable_ascii_and_none_is_empty() {
        assert_eq!(
            values(&nelly(), RemoteUser::Id),
            [
                "80351110224678912",
                "Nelly %E2%9C%A8 100%25%0D%0AX-Admin: yes",
                "nelly@example.com",
                "staff",
                "80351110224678912",
                "1/2",
            ]
        );
        assert_eq!(values(&nelly(), RemoteUser::Username)[0], "nelly");
        let spaces = Profile { global_name: Some("  ".into()), ..nelly() };
        assert_eq!(values(&spaces, RemoteUser::Id)[1], "%20%20");
        let nobody = IdentityHeaders::webauth();
        assert!(nobody.of(&Rules::default(), RemoteUser::Id, None).iter().all(|(_, value)| value == "-"));
    }

    /// keycloak-discord 46: an address that nobody has shown to be theirs opened the account of somebody else.
    #[test]
    fn an_address_that_is_not_verified_is_told_to_no_app() {
        for profile in [
            Profile { email_verified: Some(false), ..nelly() },
            Profile { email_verified: None, ..nelly() },
            Profile { email: None, ..nelly() },
            Profile { email: Some(String::new()), ..nelly() },
        ] {
            assert_eq!(values(&profile, RemoteUser::Id)[2], "80351110224678912@discord.invalid");
        }
    }

    #[test]
    fn a_long_list_of_roles_ends_at_a_comma() {
        let guild = DiscordId(u64::MAX);
        let roles: Vec<DiscordId> = (0..200).map(|n| DiscordId(u64::MAX - n)).collect();
        let rules = Rules {
            admins: roles.iter().map(|role| Term::Role { guild, role: *role }).collect(),
            ..Rules::default()
        };
        let memberships = [Membership { guild, member: true, roles, nick: None, pending: false }];
        let person = Person { id: NELLY, profile: None, memberships: &memberships };
        let headers = IdentityHeaders::remote();
        let [.., (_, list)] = headers.of(&rules, RemoteUser::Id, Some(&person));
        assert!(list.len() <= ROLES_MAX && list.len() > ROLES_MAX - 50, "{}", list.len());
        assert!(list.split(',').all(|item| item.len() == 41), "each is whole");
        let left = [Membership { member: false, ..memberships[0].clone() }];
        let person = Person { memberships: &left, ..person };
        let [.., (_, list)] = headers.of(&rules, RemoteUser::Id, Some(&person));
        assert_eq!(list, "-", "somebody who left has no roles");
    }
}
