//! For whom something is that somebody may not open: the groups of which one would do, or else plain words.

use maud::{Markup, html};

use crate::domain::rules::Group;
use crate::http::access::Refusal;

/// Says for whom it is, and what they lack who are nearly there.
pub(super) fn whom(refusal: &Refusal) -> Markup {
    let Refusal { groups, kinds, is_pending, .. } = refusal;
    html! {
        @if !groups.is_empty() {
            p { @if groups.len() > 1 { "It is for any of these:" } @else { "It is for:" } }
            ul.groups { @for group in groups { (item(group)) } }
        } @else if !kinds.is_empty() {
            p { "It is for " (kinds.join(", or ")) "; ask the operator of this site." }
        } @else {
            p { "If that is wrong, ask the operator of this site." }
        }
        @if *is_pending {
            p { "Accept the rules of the Discord server first, then try again." }
        }
    }
}

fn item(group: &Group) -> Markup {
    html! {
        li {
            strong { bdi { (group.title.as_deref().unwrap_or(&group.name)) } }
            @if let Some(help) = &group.help {
                " \u{2013} "
                @if help.starts_with("https://") { a href=(help) { (help) } } @else { bdi { (help) } }
            }
            @if let Some(invite) = &group.invite {
                " \u{2013} " a href=(invite) rel="noreferrer" { "Join" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_group_is_named_it_is_said_in_plain_words() {
        let shown = |kinds: &[&'static str]| {
            whom(&Refusal { kinds: kinds.to_vec(), ..Refusal::default() }).into_string()
        };
        assert_eq!(
            shown(&["members of a Discord server with a certain role", "certain people"]),
            "<p>It is for members of a Discord server with a certain role, or certain people; ask the operator of this \
             site.</p>"
        );
        assert_eq!(shown(&[]), "<p>If that is wrong, ask the operator of this site.</p>");
    }
}
