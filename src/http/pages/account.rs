//! The account page: the profile, the sessions, and what can be done about both.

use std::net::IpAddr;

use maud::{Markup, html};

use super::layout::layout;
use super::{Person, badge, moment};
use crate::domain::id::SessionId;
use crate::domain::time::Timestamp;

/// A session as the page shows it.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its public id.
    pub id: SessionId,
    /// The device, in a few words.
    pub device: String,
    /// From where it was last used.
    pub address: Option<IpAddr>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

/// The page of one person.
pub(crate) fn page(person: &Person, sessions: &[Session], notice: Option<&str>) -> Markup {
    let content = html! {
        h1 { "Your account" }
        section.card aria-label="Profile" {
            (badge(person))
            dl {
                dt { "Discord id" } dd { code { (person.id) } }
                @if let Some(email) = &person.email {
                    dt { "E-mail" } dd { bdi { (email) } }
                }
            }
            div.ways {
                form method="post" action="/api/auth/refresh" { button { "Refresh from Discord" } }
                form method="post" action="/api/auth/logout" { button { "Sign out" } }
                a.button href="/api/auth/discord/login?switch=1&rd=%2Faccount" { "Use another account" }
            }
        }
        h2 #sessions { "Your sessions" }
        section.card aria-labelledby="sessions" {
            ul.sessions { @for session in sessions { (item(session)) } }
            div.ways {
                form method="post" action="/api/auth/sessions/end" {
                    button.danger { "Sign out everywhere" }
                }
            }
        }
        h2 #disconnect { "Disconnect Discord" }
        section.card aria-labelledby="disconnect" {
            p {
                "This takes back what you allowed this site at Discord and ends all your sessions here, on every \
                 device. To come back, you will have to authorize this site again."
            }
            div.ways {
                form method="post" action="/api/auth/revoke" { button.danger { "Disconnect Discord" } }
            }
        }
    };
    layout("Your account", notice, &content)
}

fn item(session: &Session) -> Markup {
    let label = format!("End the session of {} opened at {}", session.device, session.opened_at);
    html! {
        li {
            div {
                p {
                    strong { bdi { (session.device) } }
                    @if session.is_current { span.mark { "this one" } }
                }
                p.soft {
                    "Address " @match session.address {
                        Some(address) => { bdi { (address) } }
                        None => { "unknown" }
                    }
                    ", last used " (moment(session.last_seen_at))
                }
                p.soft { "Opened " (moment(session.opened_at)) ", ends " (moment(session.expires_at)) }
            }
            form method="post" action={ "/api/auth/sessions/" (session.id) "/end" } {
                button aria-label=(label) { "End" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_person_with_two_sessions() {
        let at = |hours: i64| Timestamp(1_767_323_045_000 + hours * 3_600_000);
        let session = |n: u8, device: &str, address: Option<&str>| Session {
            id: SessionId([n; 16]),
            device: device.into(),
            address: address.map(|ip| ip.parse().expect("an address")),
            opened_at: at(0),
            last_seen_at: at(i64::from(n)),
            expires_at: at(720),
            is_current: n == 1,
        };
        let person = Person {
            id: "80351110224678912".into(),
            display_name: "Nelly \u{1f98a} <b>\u{202e}".into(),
            tag: "nelly#0042".into(),
            avatar_url: "https://cdn.discordapp.com/embed/avatars/0.png".into(),
            email: Some("nelly@example.com".into()),
        };
        let sessions = [session(1, "Firefox on Linux", Some("203.0.113.7")), session(2, "curl", None)];
        let shown = page(&person, &sessions, Some("That session has ended.")).into_string();
        crate::http::snapshot("http_page_account", &shown.replace("><", ">\n<"));
    }
}
