//! What every page has around its content.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::STYLE;

/// Puts `content` into a whole page.
pub(super) fn layout(title: &str, notice: Option<&str>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " \u{2013} doorbook" }
                link rel="icon" href="/favicon.svg" type="image/svg+xml";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header { a href="/" { "doorbook" } }
                main #content {
                    @if let Some(notice) = notice {
                        p.notice role="status" { (notice) }
                    }
                    (content)
                }
                footer { p { "Sign-in with Discord by doorbook" } }
            }
        }
    }
}
