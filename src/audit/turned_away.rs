//! Who was only ever turned away: no pseudonym is theirs, so they are found in what the refused sign-ins say of them.

use std::collections::BTreeMap;

use super::access::{ALLOW, Known, Seen, flat, lacking};
use super::view::decode;
use super::{NotOnePerson, People, Person, ReadError, Reader, When};
use crate::domain::event::{Event, Private, Profile, Stranger};
use crate::domain::id::{DiscordId, Hash, Position, RecordId, Sub};
use crate::domain::record::Record;
use crate::domain::rules::Rules;
use crate::domain::state::Timeline;
use crate::domain::time::Timestamp;
use crate::event_log::{Lookup, codec};

/// So many refused sign-ins are in memory at once.
const PIECE: usize = 256;

/// So many people are named where a name fits more than one.
const NAMED: usize = 16;

/// Whoever a question is about.
#[derive(Clone)]
pub enum Who {
    /// Somebody who was let in.
    User(Sub),
    /// Somebody who never was.
    Stranger(Box<TurnedAway>),
}

/// Somebody who was never let in, as they were when they were last refused.
#[derive(Clone)]
pub struct TurnedAway {
    /// Who.
    pub id: DiscordId,
    /// When that was.
    pub at: Timestamp,
    /// Where the log says so.
    pub position: Position,
    pub(super) record: RecordId,
    stranger: Stranger,
    rules: Hash,
}

/// Where sign-ins were refused, each place with its effective time.
struct Denials {
    places: Vec<(Position, Timestamp)>,
    /// Whether there is an index by which records are read one by one.
    by_index: bool,
}

impl TurnedAway {
    /// Returns how an answer names them.
    pub fn person(&self) -> Person {
        let profile = &self.stranger.profile;
        Person {
            sub: None,
            id: Some(self.id.to_string()),
            username: Some(profile.username.clone()),
            name: Some(profile.display_name().to_owned()),
        }
    }

    /// Returns what was known of them then.
    pub(super) fn known(&self) -> Known {
        Known::of_stranger(self.stranger.clone(), Seen { record: self.record, at: self.at })
    }

    fn goes_by(&self, wanted: &str) -> bool {
        let Profile { username, .. } = &self.stranger.profile;
        username.to_lowercase() == wanted || self.stranger.profile.display_name().to_lowercase() == wanted
    }
}

impl Reader {
    /// Finds whoever goes by that name: among those who were let in, and if nobody does, among those who never were.
    pub async fn who(
        &self,
        text: &str,
        people: &People,
        up_to: Position,
    ) -> Result<Result<Who, NotOnePerson>, ReadError> {
        match people.find(text, self.opener()) {
            Ok(sub) => Ok(Ok(Who::User(sub))),
            Err(NotOnePerson::Nobody) => {
                let found = self.turned_away(text, up_to).await?;
                Ok(found.map(|stranger| Who::Stranger(Box::new(stranger))))
            }
            Err(ambiguous) => Ok(Err(ambiguous)),
        }
    }

    /// Finds somebody who was never let in by Discord id, username or display name, in any case.
    async fn turned_away(
        &self,
        text: &str,
        up_to: Position,
    ) -> Result<Result<TurnedAway, NotOnePerson>, ReadError> {
        let denials = self.denials(up_to).await?;
        if let Ok(id) = text.parse::<DiscordId>()
            && let Some(stranger) = self.last_refusal(&denials, id).await?
        {
            return Ok(Ok(stranger));
        }
        let (wanted, mut found) = (text.to_lowercase(), BTreeMap::new());
        self.newest_first(&denials, |stranger| {
            if stranger.goes_by(&wanted) && self.opener().sub_of(stranger.id).is_none() {
                found.entry(stranger.id).or_insert(stranger);
            }
            found.len() < NAMED
        })
        .await?;
        match found.first_key_value() {
            None => Ok(Err(NotOnePerson::Nobody)),
            // They may have had another name since.
            Some((id, _)) if found.len() == 1 => {
                let last = self.last_refusal(&denials, *id).await?;
                Ok(last.ok_or(NotOnePerson::Nobody))
            }
            Some(_) => {
                let all = found.values().map(TurnedAway::person).collect();
                Ok(Err(NotOnePerson::Ambiguous(all)))
            }
        }
    }

    async fn last_refusal(&self, denials: &Denials, id: DiscordId) -> Result<Option<TurnedAway>, ReadError> {
        let mut last = None;
        self.newest_first(denials, |stranger| {
            if stranger.id == id {
                last = Some(stranger);
            }
            last.is_none()
        })
        .await?;
        Ok(last)
    }

    /// Returns where sign-ins were refused; by the index, as far as that goes.
    async fn denials(&self, up_to: Position) -> Result<Denials, ReadError> {
        let (mut places, mut time, mut from) = (Vec::new(), Timeline::default(), Position(0));
        let mut by_index = false;
        if let Some(found) = self.source().find(Lookup::Kind(codec::SIGN_IN_DENIED)).await?
            && let Some((known_to, eff)) = found.up_to
        {
            (places, by_index) = (found.records, true);
            (time, from) = (Timeline::starting_at(eff), known_to.next());
        }
        if from <= up_to {
            self.each(from, up_to, |position, record| {
                time.advance(record);
                if record.events.iter().any(is_denial) {
                    places.push((position, time.eff()));
                }
            })
            .await?;
        }
        places.retain(|(position, _)| *position <= up_to);
        Ok(Denials { places, by_index })
    }

    /// Hands over who was refused there, the newest first, until that is enough.
    async fn newest_first(
        &self,
        denials: &Denials,
        mut take: impl FnMut(TurnedAway) -> bool,
    ) -> Result<(), ReadError> {
        for part in denials.places.rchunks(PIECE) {
            let positions: Vec<Position> = part.iter().rev().map(|(position, _)| *position).collect();
            let records = self.records_at(positions, denials.by_index).await?;
            for (record, (position, at)) in records.iter().zip(part.iter().rev()) {
                if !self.refused_in(record, *position, *at).into_iter().all(&mut take) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn records_at(&self, positions: Vec<Position>, by_index: bool) -> Result<Vec<Record>, ReadError> {
        if by_index {
            let picked = self.source().pick(positions).await?;
            return picked.iter().map(|(position, frame)| decode(*position, frame)).collect();
        }
        let mut records = Vec::new();
        for position in positions {
            records.push(self.record(position).await?.0);
        }
        Ok(records)
    }

    /// Returns the strangers of a record whose boxes the keys open.
    fn refused_in(&self, record: &Record, position: Position, at: Timestamp) -> Vec<TurnedAway> {
        let of_event = |(index, event): (usize, &Event)| match (event, self.opener().private(record, index)) {
            (Event::SignInDenied { rules, .. }, Some(Private::Denied(stranger))) => Some(TurnedAway {
                id: stranger.profile.id,
                at,
                position,
                record: record.id,
                stranger: *stranger,
                rules: *rules,
            }),
            _ => None,
        };
        record.events.iter().enumerate().filter_map(of_event).collect()
    }

    /// Says that somebody was never let in, when that was last refused, and what they lacked for it.
    ///
    /// `parse` reads the rules as the log has them.
    pub async fn never_let_in(
        &self,
        stranger: &TurnedAway,
        now: Timestamp,
        parse: impl Fn(&str) -> Result<Rules, String>,
    ) -> Result<String, ReadError> {
        let TurnedAway { at, position, rules: hash, .. } = stranger;
        let mut said = format!("was never let in; last refused at {at} (position {position})");
        let Some(view) = self.view(When::After(*position), now).await? else { return Ok(said) };
        if let Ok(then) = self.rules_of(&view, *position, parse).await?
            && then.rules.hash() == *hash
        {
            let known = stranger.known();
            let terms = flat(&then.rules, then.rules.allow.iter().flatten());
            let lacked =
                terms.iter().map(|term| format!("{term}, and {}", lacking(&then.rules, term, &known)));
            let lacked: Vec<String> = lacked.take(NAMED).collect();
            let more = match terms.len() - lacked.len() {
                0 => String::new(),
                more => format!("; or {more} more"),
            };
            said.push_str(&match lacked.is_empty() {
                true => format!(": {ALLOW} lets nobody in"),
                false => format!(": {ALLOW} wants {}{more}", lacked.join("; or ")),
            });
        }
        Ok(said)
    }
}

pub(super) fn is_denial(event: &Event) -> bool {
    matches!(event, Event::SignInDenied { .. })
}
