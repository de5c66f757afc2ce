//! What a person gets who opens the address that revokes: a question, and nothing done yet.

use maud::{Markup, html};

use super::layout::layout;
use super::{Person, badge};

/// The page.
pub(crate) fn page(person: Option<&Person>) -> Markup {
    let content = html! {
        section.card {
            h1 { "Disconnect Discord?" }
            @match person {
                Some(person) => (badge(person)),
                None => p { "You are not signed in in this browser." }
            }
            p {
                "This takes back what you allowed this site at Discord and ends all your sessions here, on every \
                 device."
            }
            div.ways {
                form method="post" action="/api/auth/revoke" { button.danger { "Disconnect Discord" } }
                a.button href="/account" { "Keep it" }
            }
        }
    };
    layout("Disconnect Discord", None, &content)
}
