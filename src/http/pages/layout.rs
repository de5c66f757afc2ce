//! What every page has around its content.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::STYLE;

/// Puts `content` into a whole page of our own origin.
pub(super) fn layout(title: &str, notice: Option<&str>, content: &Markup) -> Markup {
    layout_at("", title, notice, content)
}

/// Puts `content` into a whole page, whose links to us begin with `home`.
pub(super) fn layout_at(home: &str, title: &str, notice: Option<&str>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " \u{2013} doorbook" }
                link rel="icon" href={ (home) "/favicon.svg" } type="image/svg+xml";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header { a href={ (home) "/" } { "doorbook" } }
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
