//! Pages: plain HTML that needs no script, under a policy that allows none.

pub(super) mod account;
pub(super) mod home;
mod layout;
pub(super) mod logout;
pub(super) mod problem;
pub(super) mod refused;
pub(super) mod revoke;
pub(super) mod turned_away;
mod whom;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use maud::{Markup, html};
use sha2::{Digest, Sha256};
use warp::reply::Response;

use super::reply::{Answer, Forms};
use super::{Gate, Settings};
use crate::domain::event::Profile;
use crate::domain::time::Timestamp;

/// The one stylesheet; it stands in the page itself, so that a page is whole wherever it is shown.
const STYLE: &str = include_str!("style.css");

const ICON: &str = include_str!("icon.svg");

/// Who is signed in, as pages show them.
#[derive(Clone, Debug)]
pub(super) struct Person {
    id: String,
    display_name: String,
    tag: String,
    avatar_url: String,
    email: Option<String>,
}

impl Person {
    /// Takes what pages show.
    pub(super) fn new(profile: &Profile, settings: &Settings) -> Person {
        Person {
            id: profile.id.to_string(),
            display_name: profile.display_name().to_owned(),
            tag: profile.tag(),
            avatar_url: profile.avatar_url(settings.cdn_url.as_str()),
            email: profile.email.clone(),
        }
    }
}

/// Returns the content security policy of a page.
pub(super) fn policy(settings: &Settings, forms: Forms) -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let cdn = settings.cdn_url.origin().ascii_serialization();
    let form_action = match forms {
        Forms::Here => "form-action 'self'; ",
        Forms::Elsewhere => "",
        Forms::None => "form-action 'none'; ",
    };
    // On the host of an app, the icon is on another one.
    let own = match forms {
        Forms::None => settings.site().own(),
        Forms::Here | Forms::Elsewhere => "'self'",
    };
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src {own} {cdn}; {form_action}\
         frame-ancestors 'none'; base-uri 'none'"
    )
}

/// The icon of the site.
pub(super) fn icon(_: &Gate) -> Answer {
    let mut response = Response::new(ICON.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    Ok(response)
}

/// The name and the picture of a person.
///
/// A display name is any text that somebody chose: escaped, and kept from turning the text around it.
fn badge(person: &Person) -> Markup {
    html! {
        div.person {
            img src=(person.avatar_url) alt="" width="64" height="64" referrerpolicy="no-referrer";
            div {
                p.name { bdi { (person.display_name) } }
                p.tag { "@" bdi { (person.tag) } }
            }
        }
    }
}

/// A moment, readable for people and for programs.
fn moment(at: Timestamp) -> Markup {
    let exact = at.to_string();
    let short = exact.get(..16).map(|minutes| minutes.replace('T', " "));
    html! { time datetime=(exact) { (short.as_deref().unwrap_or(&exact)) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_short_for_people_and_exact_for_programs() {
        let shown = moment(Timestamp(1_767_323_045_250)).into_string();
        assert_eq!(shown, "<time datetime=\"2026-01-02T03:04:05.25Z\">2026-01-02 03:04 UTC</time>");
    }

    #[test]
    fn a_hostile_name_stays_text_and_keeps_its_direction_to_itself() {
        let person = Person {
            id: "1".into(),
            display_name: "\u{202e}<script>alert(1)</script> \u{1f600}".into(),
            tag: "\"><img src=x>".into(),
            avatar_url: "https://cdn.example/embed/avatars/0.png".into(),
            email: None,
        };
        let shown = badge(&person).into_string();
        assert!(!shown.contains("<script") && !shown.contains("<img src=x"), "{shown}");
        assert!(shown.contains("<bdi>\u{202e}&lt;script&gt;"), "{shown}");
    }
}
