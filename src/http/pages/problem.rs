//! The page of a problem: what happened, what it means, and where to go on.

use maud::{Markup, html};

use super::layout::layout_at;
use crate::http::login;
use crate::http::problem::{Problem, WayOn};
use crate::http::reply::{Asked, Refused};

/// The page, with the same content as the document.
pub(crate) fn page(refused: &Refused, asked: &Asked) -> Markup {
    let facts = refused.problem.facts();
    let ways: Vec<_> = facts.ways_on.iter().filter_map(|way| link(*way, refused, asked)).collect();
    let content = html! {
        section.card {
            h1 { (facts.title) }
            p { (facts.detail) }
            @if let Some(seconds) = refused.problem.retry_after() {
                p { "Wait " (seconds) " seconds." }
            }
            p.soft {
                code { (facts.status.as_u16()) " " (facts.code) }
                @if let Problem::Internal = &refused.problem { " " code { (asked.id) } }
            }
            p.ways {
                @for (n, (label, href)) in ways.iter().enumerate() {
                    a.button.main[n == 0] href=(href) { (label) }
                }
            }
        }
    };
    layout_at(home(asked), facts.title, None, &content)
}

/// Returns what our own addresses begin with on that page.
fn home(asked: &Asked) -> &str {
    asked.at_app.as_ref().map_or("", |app| &app.home)
}

/// Returns a link's label and address.
fn link(way: WayOn, refused: &Refused, asked: &Asked) -> Option<(&'static str, String)> {
    let home = home(asked);
    let login = format!("{home}{}", login::address(refused.back.as_ref()));
    Some(match way {
        // Away from the sign-in, what happens at Discord is told to somebody who is signed in.
        WayOn::SignInAgain if asked.path == "/auth/recheck" => ("Try again", asked.path_and_query.clone()),
        WayOn::SignInAgain if !asked.path.starts_with("/api/auth/discord/") => {
            ("Your account", format!("{home}/account"))
        }
        WayOn::SignInAgain => ("Sign in again", login),
        WayOn::SignIn => ("Sign in with Discord", login),
        WayOn::TryAgain if let Some(app) = &asked.at_app => ("Try again", app.again.clone()?),
        // A path that begins with two slashes would be another host.
        WayOn::TryAgain if asked.is_get && !asked.path_and_query.starts_with("//") => {
            ("Try again", asked.path_and_query.clone())
        }
        WayOn::TryAgain => return None,
        WayOn::Account => ("Your account", format!("{home}/account")),
        WayOn::Home => ("Home", format!("{home}/")),
    })
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::domain::id::RequestId;
    use crate::domain::target::TargetRules;
    use crate::http::request::Head;

    fn asked(path: &str) -> Asked {
        let mut request = http::Request::builder().uri(path).body(()).expect("a request");
        Asked::of(&Head::take(RequestId([0; 16]), None, &mut request))
    }

    #[test]
    fn every_problem_has_a_page_with_a_way_on() {
        for problem in crate::http::problem::tests::all() {
            let code = problem.facts().code;
            let shown = page(&problem.into(), &asked("/account")).into_string();
            assert!(
                shown.contains(code) && shown.contains("class=\"button main\" href=\"/"),
                "{code}: {shown}"
            );
        }
    }

    #[test]
    fn a_new_sign_in_leads_where_the_first_was_to_lead() {
        let rules = TargetRules::new(&Url::parse("https://login.example.org").expect("a URL"), &[]);
        let target = rules.read("/account?a=1&b=2").expect("a target");
        let refused = Refused::from(Problem::NotSignedIn).back_to(Some(target));
        let shown = page(&refused, &asked("/account")).into_string();
        let href = "/api/auth/discord/login?rd=%2Faccount%3Fa%3D1%26b%3D2";
        assert!(shown.contains(href), "{shown}");
        crate::http::snapshot("http_page_problem_not_signed_in", &shown.replace("><", ">\n<"));
    }

    #[test]
    fn trying_again_never_leaves_the_site() {
        let shown = page(&Problem::NotReady.into(), &asked("//evil.example/")).into_string();
        assert!(!shown.contains("evil.example"), "{shown}");
    }
}
