//! The page of somebody who is signed in and may not open something: who they are here, and what they can do.
//!
//! Behind some proxies it stands on the host of the app, so all there is are links, and each is absolute.

use maud::{Markup, html};

use super::layout::layout_at;
use super::{Person, badge};
use crate::domain::rules::Group;
use crate::http::login;

/// What the page says.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    /// What our own addresses begin with there.
    pub home: &'a str,
    /// Who is signed in.
    pub person: Option<&'a Person>,
    /// The groups of which one would do.
    pub groups: &'a [Group],
    /// Where they wanted to go, as `rd` says it.
    pub rd: &'a str,
}

/// The page.
pub(crate) fn page(refused: &Refused<'_>) -> Markup {
    let Refused { home, person, groups, rd } = refused;
    let recheck = format!("{home}{}", login::with_rd("/auth/recheck", rd));
    let switch = format!("{home}{}&switch=1", login::with_rd("/api/auth/discord/login", rd));
    let title = "You may not open this";
    let content = html! {
        section.card {
            h1 { (title) }
            @match person {
                Some(person) => {
                    p { "You are signed in as" }
                    (badge(person))
                    p { "The rules of this site do not let this account in here." }
                }
                None => p { "You are not signed in in this browser." }
            }
            @if !groups.is_empty() {
                p { @if groups.len() > 1 { "It is for any of these:" } @else { "It is for:" } }
                ul.groups { @for group in *groups { (item(group)) } }
            }
            p { "Has something changed at Discord just now? Then check again." }
            p.soft { code { "403 not_allowed" } }
            p.ways {
                a.button.main href=(recheck) { "Check again" }
                a.button href=(switch) { "Use another account" }
                a.button href={ (home) "/account" } { "Your account" }
            }
        }
    };
    layout_at(home, title, None, &content)
}

fn item(group: &Group) -> Markup {
    html! {
        li {
            strong { bdi { (group.title.as_deref().unwrap_or(&group.name)) } }
            @if let Some(help) = &group.help {
                " \u{2013} "
                @if help.starts_with("https://") { a href=(help) { (help) } } @else { bdi { (help) } }
            }
            @if let Some(invite) = &group.invite {
                " " a href=(invite) rel="noreferrer" { "Join" }
            }
        }
    }
}
