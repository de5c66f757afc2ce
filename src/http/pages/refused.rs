//! The page of somebody who is signed in and may not open something: who they are here, and what they can do.
//!
//! Behind some proxies it stands on the host of the app, so all there is are links, and each is absolute.

use maud::{Markup, html};

use super::layout::{layout, layout_at};
use super::whom::whom;
use super::{Person, badge};
use crate::http::access::Refusal;
use crate::http::login;

/// What the page says.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    /// What our own addresses begin with there.
    pub home: &'a str,
    /// Who is signed in, where their profile can be read.
    pub person: Option<&'a Person>,
    /// Why they may not.
    pub refusal: &'a Refusal,
    /// Where they wanted to go, as `rd` says it.
    pub rd: &'a str,
    /// What has just been done about it.
    pub notice: Option<&'a str>,
}

/// The page.
pub(crate) fn page(refused: &Refused<'_>) -> Markup {
    let Refused { home, person, refusal, rd, notice } = refused;
    let switch = format!("{home}{}&switch=1", login::with_rd("/api/auth/discord/login", rd));
    let title = "You may not open this";
    let content = html! {
        section.card {
            h1 { (title) }
            (who(*person))
            p { "The rules of this site do not let this account in here." }
            (whom(refusal))
            p { "Has something changed at Discord just now? Then check again." }
            p.soft { code { "403 not_allowed" } }
            p.ways {
                a.button.main href={ (home) (recheck(rd)) } { "Check again" }
                a.button href=(switch) { "Use another account" }
                a.button href={ (home) "/account" } { "Your account" }
            }
        }
    };
    layout_at(home, title, *notice, &content)
}

/// The page of somebody who may open it by now.
///
/// The way leads over the check: it may have been another session that was refused, and from there this one arrives.
pub(crate) fn open(person: Option<&Person>, rd: &str) -> Markup {
    let title = "You may open this now";
    checkable(title, "The rules of this site let this account in here.", ("Open it", rd), person)
}

/// The page of somebody of whom it is not known whether they may.
pub(crate) fn unknown(person: Option<&Person>, rd: &str) -> Markup {
    let text = "What decides whether you may open this is not known, or not recently enough.";
    checkable("Discord has to be asked first", text, ("Check again", rd), person)
}

fn checkable(title: &str, text: &str, (label, rd): (&str, &str), person: Option<&Person>) -> Markup {
    let content = html! {
        section.card {
            h1 { (title) }
            (who(person))
            p { (text) }
            p.ways {
                a.button.main href=(recheck(rd)) { (label) }
                a.button href="/account" { "Your account" }
            }
        }
    };
    layout(title, None, &content)
}

/// The page of nobody.
pub(crate) fn not_signed_in(rd: &str) -> Markup {
    let title = "You may not open this";
    let content = html! {
        section.card {
            h1 { (title) }
            p { "You are not signed in in this browser." }
            p.soft { code { "403 not_allowed" } }
            p.ways {
                a.button.main href=(login::with_rd("/api/auth/discord/login", rd)) { "Sign in with Discord" }
                a.button href="/" { "Home" }
            }
        }
    };
    layout(title, None, &content)
}

fn who(person: Option<&Person>) -> Markup {
    html! {
        @if let Some(person) = person {
            p { "You are signed in as" }
            (badge(person))
        }
    }
}

fn recheck(rd: &str) -> String {
    login::with_rd("/auth/recheck", rd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::Group;

    fn group(name: &str, title: Option<&str>, help: Option<&str>, invite: Option<&str>) -> Group {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Group {
            name: name.into(),
            any: vec![],
            title: owned(title),
            help: owned(help),
            invite: owned(invite),
        }
    }

    #[test]
    fn the_page_on_the_host_of_an_app_has_whole_links_and_no_form() {
        let person = Person {
            id: "80351110224678912".into(),
            display_name: "Nelly <b>\u{202e}".into(),
            tag: "nelly".into(),
            avatar_url: "https://cdn.discordapp.com/embed/avatars/0.png".into(),
            email: Some("nelly@example.com".into()),
        };
        let groups = [
            group("staff", Some("Staff <3"), Some("Ask in #helpdesk"), Some("https://discord.gg/x?a=1&b")),
            group("guests", None, Some("https://example.org/help"), None),
            group("odd", None, Some("javascript:alert(1)"), None),
        ];
        let shown = page(&Refused {
            home: "https://auth.example.org",
            person: Some(&person),
            refusal: &Refusal { groups: groups.to_vec(), ..Refusal::default() },
            rd: "https://wiki.example.net/page?x=1&y=\"'><script>",
            notice: Some("Discord was asked just now."),
        })
        .into_string();
        assert!(
            !shown.contains("<form") && !shown.contains("<script") && !shown.contains("href=\"javascript")
        );
        assert!(!shown.contains("nelly@example.com"), "the app's host need not know");
        let links = shown.matches(" href=\"").count();
        let whole = shown.matches(" href=\"https://").count() + shown.matches(" href=\"#content\"").count();
        assert_eq!(links, whole, "{shown}");
        crate::http::snapshot("http_page_refused", &shown.replace("><", ">\n<"));
    }

    #[test]
    fn nobody_is_asked_to_sign_in_and_not_to_be_somebody_else() {
        let shown = not_signed_in("/x").into_string();
        assert!(
            shown.contains("You are not signed in")
                && shown.contains("href=\"/api/auth/discord/login?rd=%2Fx\">Sign in with Discord")
                && !shown.contains("another account")
                && !shown.contains("/auth/recheck"),
            "{shown}"
        );
    }
}
