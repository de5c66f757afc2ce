//! The first page: sign in, or who you are.

use maud::{Markup, html};

use super::layout::layout;
use super::{Person, badge};

/// The page for somebody, or for nobody.
pub(crate) fn page(person: Option<&Person>, notice: Option<&str>) -> Markup {
    let (title, content) = match person {
        Some(person) => ("Signed in", signed_in(person)),
        None => ("Sign in", signed_out()),
    };
    layout(title, notice, &content)
}

fn signed_out() -> Markup {
    html! {
        section.card {
            h1 { "Sign in" }
            p { "This site knows its people by their Discord account. You will be sent to Discord and back." }
            p.ways { a.button.main href="/api/auth/discord/login" { "Sign in with Discord" } }
        }
    }
}

fn signed_in(person: &Person) -> Markup {
    html! {
        section.card {
            h1 { "You are signed in" }
            (badge(person))
            p.ways {
                a.button.main href="/account" { "Your account and sessions" }
                a.button href="/logout" { "Sign out" }
            }
        }
    }
}
