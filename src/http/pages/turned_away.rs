//! The page of somebody whom Discord knows and who may not sign in here: as whom they came, and where to go on.

use maud::{Markup, html};

use super::layout::layout;
use super::whom::whom;
use super::{Person, badge};
use crate::domain::target::Target;
use crate::http::access::Refusal;
use crate::http::login;
use crate::http::problem::Problem;

/// The page; `target` is where they wanted to go.
pub(crate) fn page(person: Option<&Person>, refusal: &Refusal, target: &Target) -> Markup {
    let facts = Problem::SignInNotAllowed.facts();
    let mut ways =
        [("Use another account", login::switch(target)), ("Try again", login::address(Some(target)))];
    // Whoever only has to accept something is the right person.
    if refusal.is_pending {
        ways.reverse();
    }
    let content = html! {
        section.card {
            h1 { (facts.title) }
            @if let Some(person) = person {
                p { "You came as" }
                (badge(person))
            }
            p { "Discord confirmed who you are, but this site does not let that account in." }
            (whom(refusal))
            p.soft { code { (facts.status.as_u16()) " " (facts.code) } }
            p.ways {
                @for (n, (label, href)) in ways.iter().enumerate() {
                    a.button.main[n == 0] href=(href) { (label) }
                }
            }
        }
    };
    layout(facts.title, None, &content)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::domain::rules::Group;
    use crate::domain::target::TargetRules;

    #[test]
    fn the_page_of_a_member_who_has_not_accepted_the_rules_of_the_server() {
        let person = Person {
            id: "80351110224678912".into(),
            display_name: "Nelly <b>\u{202e}".into(),
            tag: "nelly".into(),
            avatar_url: "https://cdn.discordapp.com/embed/avatars/0.png".into(),
            email: Some("nelly@example.com".into()),
        };
        let members = Group {
            name: "members".into(),
            any: vec![],
            title: Some("Members of our server".into()),
            help: Some("Ask in #helpdesk".into()),
            invite: Some("https://discord.gg/x".into()),
        };
        let refusal = Refusal { groups: vec![members], is_pending: true, ..Refusal::default() };
        let rules = TargetRules::new(&Url::parse("https://login.example.org").expect("a URL"), &[]);
        let target = rules.read("/account?a=1&b=2").expect("a target");
        let shown = page(Some(&person), &refusal, &target).into_string();
        crate::http::snapshot("http_page_turned_away", &shown.replace("><", ">\n<"));
    }
}
