//! The page that asks whether to sign out: one button.

use maud::{Markup, html};

use super::layout::layout;
use super::{Person, badge};
use crate::domain::target::Target;

/// The page; `target` is where to go afterwards.
pub(crate) fn page(person: Option<&Person>, target: Option<&Target>) -> Markup {
    let action = match target {
        Some(target) => {
            let rd = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("rd", target.location())
                .finish();
            format!("/api/auth/logout?{rd}")
        }
        None => "/api/auth/logout".to_owned(),
    };
    let back = target.map_or("/", Target::location);
    let content = html! {
        section.card {
            h1 { "Sign out" }
            @match person {
                Some(person) => {
                    (badge(person))
                    p { "This ends your session in this browser. Your other devices stay signed in." }
                    div.ways {
                        form method="post" action=(action) { button.main { "Sign out" } }
                        a.button href=(back) { "Back" }
                    }
                }
                None => {
                    p { "You are not signed in in this browser." }
                    div.ways { a.button.main href=(back) { "Back" } }
                }
            }
        }
    };
    layout("Sign out", None, &content)
}
