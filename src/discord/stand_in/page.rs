//! The pages that a person sees: plain HTML that works without a script, in light and dark.

use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};

use super::Shared;
use super::authorize::Request;
use super::people::Person;
use super::reply::Reply;
use crate::domain::id::DiscordId;

/// There is no `form-action`: Chromium applies it to every redirect that follows the form, and the answer to the
/// consent form leads to the application's origin and on from there.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Returns the style of the pages.
pub(super) fn style() -> Reply {
    Reply::new(StatusCode::OK, "text/css; charset=utf-8", include_str!("page.css"))
        .with(CACHE_CONTROL, "public, max-age=300")
        .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Returns the consent page; `action` is where its form goes.
pub(super) fn consent(
    request: &Request,
    people: &[Person],
    remembered: Option<DiscordId>,
    action: &str,
) -> Reply {
    let picked = remembered.filter(|id| people.iter().any(|person| person.id == *id));
    let picked = picked.or(people.first().map(|person| person.id));
    let title = format!("Authorize {}", request.application.name);
    page(StatusCode::OK, &title, &html! {
        h1 { bdi { (request.application.name) } " wants to access your account" }
        form method="post" action=(action) {
            fieldset {
                legend { "Sign in as" }
                @for person in people {
                    label.person {
                        input type="radio" name="user" value=(person.id) checked[Some(person.id) == picked] required;
                        img src=(person.avatar_path()) alt="" width="44" height="44";
                        span.who {
                            bdi.name { (person.display_name()) }
                            bdi.tag { (person.tag()) }
                            @if !person.note.is_empty() {
                                span.note { (person.note) }
                            }
                        }
                    }
                }
            }
            section aria-labelledby="asks" {
                h2 #asks { "This will allow " bdi { (request.application.name) } " to" }
                ul {
                    @for scope in &request.scopes {
                        li { (in_words(scope)) " " code { (scope) } }
                    }
                }
            }
            p.fine { "Afterwards you go to " bdi.target { (origin(&request.redirect_uri)) } "." }
            div.buttons {
                button.plain type="submit" name="decision" value="cancel" formnovalidate { "Cancel" }
                button type="submit" name="decision" value="authorize" { "Authorize" }
            }
        }
    })
    .named("consent")
}

/// Returns an error page: Discord shows its own and sends the browser nowhere.
pub(super) fn error(status: StatusCode, title: &'static str, detail: &str) -> Reply {
    page(
        status,
        title,
        &html! {
            h1 { (title) }
            p { (detail) }
            p { "Go back to the application you came from, and start again." }
        },
    )
    .named(title)
}

/// Returns the front page, for those who open the bare address.
pub(super) fn front(shared: &Shared) -> Reply {
    page(
        StatusCode::OK,
        "Discord stand-in",
        &html! {
            h1 { "A Discord to practise on" }
            p { "Applications reach it in place of Discord:" }
            dl {
                dt { "authorize" } dd { code { (shared.url) "/oauth2/authorize" } }
                dt { "API" } dd { code { (shared.url) "/api/v10" } }
                dt { "pictures" } dd { code { (shared.url) } }
                dt { "control" } dd { code { (shared.url) "/_control/" } }
            }
            h2 { "Who can sign in" }
            ul.people {
                @for person in &shared.world().people {
                    li.person {
                        img src=(person.avatar_path()) alt="" width="44" height="44";
                        span.who {
                            bdi.name { (person.display_name()) }
                            bdi.tag { (person.tag()) }
                            span.note { (person.note) }
                        }
                    }
                }
            }
        },
    )
}

fn page(status: StatusCode, title: &str, content: &Markup) -> Reply {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="stylesheet" href="/assets/stand-in.css";
                link rel="icon" href="/embed/avatars/0.png" type="image/svg+xml";
            }
            body {
                p.banner role="note" { strong { "Discord stand-in" } " – this is not Discord, and nobody here is real" }
                main { (content) }
            }
        }
    };
    Reply::new(status, "text/html; charset=utf-8", document.into_string())
        .with(CONTENT_SECURITY_POLICY, POLICY)
        .with(CACHE_CONTROL, "no-store")
        .with(REFERRER_POLICY, "same-origin")
        .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(X_FRAME_OPTIONS, "DENY")
}

/// Returns what a scope allows, in words.
fn in_words(scope: &str) -> &'static str {
    match scope {
        "identify" => "See your user name, avatar and banner",
        "email" => "See your e-mail address",
        "guilds" => "Know which servers you are in",
        "guilds.members.read" => "Read your nickname, avatar and roles in your servers",
        "guilds.join" => "Join servers for you",
        "connections" => "See the accounts you have connected",
        "openid" => "Confirm who you are",
        _ => "Do what this scope names",
    }
}

fn origin(uri: &str) -> String {
    match url::Url::parse(uri) {
        Ok(url) if url.origin().is_tuple() => url.origin().ascii_serialization(),
        _ => uri.to_owned(),
    }
}
