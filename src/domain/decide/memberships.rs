//! What is news about memberships, where the state keeps it, and how much of it goes into one record.

use std::collections::BTreeMap;

use crate::domain::command::Facts;
use crate::domain::event::{Event, Membership, Private};
use crate::domain::id::DiscordId;
use crate::domain::record::Draft;

/// How many bytes of memberships one record takes: what else a sign-in brings has room beside them.
const ROOM: usize = 48_000;

/// Returns what is not known yet, one membership a guild.
///
/// A guild keeps its slot, and a new one gets the lowest that is free. What stands in a slot but could not be
/// opened is lost, so that slot is free.
pub(super) fn news(facts: &Facts, memberships: Vec<Membership>) -> Vec<Draft> {
    let known: BTreeMap<DiscordId, (u16, &Membership)> =
        facts.memberships.iter().map(|(slot, known)| (known.guild, (*slot, known))).collect();
    let seen: BTreeMap<DiscordId, Membership> =
        memberships.into_iter().map(|seen| (seen.guild, seen.in_order())).collect();
    let mut free = (0..=u16::MAX).filter(|slot| !facts.memberships.contains_key(slot));
    let mut news = Vec::new();
    for (guild, membership) in seen {
        let slot = match known.get(&guild) {
            Some((_, known)) if **known == membership => continue,
            Some((slot, _)) => *slot,
            // The rules name 20 guilds at most; what could run out is slots of guilds that nobody asks about any more.
            None => match free.next() {
                Some(slot) => slot,
                None => break,
            },
        };
        let event = Event::MembershipObserved { slot };
        news.push(Draft { event, private: Some(Private::Membership(membership)) });
    }
    news
}

/// Puts the news of as many records together as they need; a record takes at least one.
pub(super) fn packed(news: Vec<Draft>) -> Vec<Vec<Draft>> {
    let mut records: Vec<Vec<Draft>> = Vec::new();
    let mut room = 0;
    for draft in news {
        let bytes = match &draft.private {
            Some(Private::Membership(membership)) => size(membership),
            _ => 0,
        };
        match records.last_mut() {
            Some(record) if bytes <= room => {
                record.push(draft);
                room -= bytes;
            }
            _ => {
                records.push(vec![draft]);
                room = ROOM.saturating_sub(bytes);
            }
        }
    }
    records
}

/// Keeps as many memberships as one record takes.
pub(super) fn cut(memberships: Vec<Membership>) -> Vec<Membership> {
    let mut room = ROOM;
    let fits = |membership: &Membership| match room.checked_sub(size(membership)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    memberships.into_iter().take_while(fits).collect()
}

/// At most so many bytes are written for a membership, in the clear and in the box together.
fn size(membership: &Membership) -> usize {
    // The event with its kind and slot, the fact with its index, and a number of nine bytes for each id.
    64 + 9 * membership.roles.len() + membership.nick.as_ref().map_or(0, String::len)
}
