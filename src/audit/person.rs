//! Everything that is held on one person, readable: what they may ask for.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    EventRow, Filter, MembershipRow, Person, ReadError, Reader, Rows, SignedIn, View, When, describe,
};
use crate::domain::event::{Event, Private, Profile};
use crate::domain::id::{Position, Sub};
use crate::domain::record::Record;
use crate::domain::state::State;
use crate::domain::time::Timestamp;

/// Everything that the log and the keys hold on a person.
#[derive(Debug, Serialize)]
pub struct Holdings {
    /// Who.
    pub person: Person,
    /// Up to which record this looks.
    pub up_to: u64,
    /// The profile as last seen.
    pub profile: Option<Value>,
    /// Every profile that was ever seen, by the position that says so.
    pub profiles: BTreeMap<u64, Value>,
    /// What they are in guilds, as last seen; what was seen before is among the events.
    pub memberships: Vec<MembershipRow>,
    /// The sessions that count now.
    pub sessions: Vec<SignedIn>,
    /// What is sealed of them and not shown, because it opens an account.
    pub withheld: &'static str,
    /// Every event about them or by them, denials from before they were let in included.
    pub events: Vec<EventRow>,
}

impl Reader {
    /// Collects everything about a person, up to a record.
    pub async fn holdings(&self, sub: Sub, up_to: Position, now: Timestamp) -> Result<Holdings, ReadError> {
        let id = self.opener().id_of(sub);
        let mut view = View { state: State::default(), people: Default::default(), now };
        let mut of_them =
            Rows::new(self.opener().clone(), Filter { users: Some([sub].into()), ..Filter::default() });
        let mut of_strangers = Rows::new(
            self.opener().clone(),
            Filter { kind: Some("sign_in.denied".into()), ..Filter::default() },
        );
        let (mut events, mut profiles) = (Vec::new(), BTreeMap::new());
        self.each(Position(0), up_to, |position, record| {
            view.state.apply(position, record);
            view.people.hear(record);
            events.extend(of_them.take(position, record));
            let denied = of_strangers.take(position, record);
            let is_them = |profile: &Profile| id.is_some_and(|id| profile.id == id);
            let of_nobody_known = record.subject.is_none();
            if of_nobody_known
                && self.private_facts(record).any(|(_, private)| match private {
                    Private::Denied(stranger) => is_them(&stranger.profile),
                    _ => false,
                })
            {
                events.extend(denied);
            }
            if record.subject.is_some_and(|subject| subject.sub == sub) {
                for (event, private) in self.private_facts(record) {
                    if let Private::Profile(_) = private {
                        profiles.insert(position.0, Value::Object(describe(event, Some(&private))));
                    }
                }
            }
        })
        .await?;
        events.extend(of_them.expired(now));
        view.now = now;
        let sub_text = Some(sub.to_string());
        let mut sessions = view.signed_in(self.opener());
        sessions.retain(|session| session.user.sub == sub_text);
        let known = view.state.user(sub);
        let memberships = known.map(|user| MembershipRow::all(user, self.opener())).unwrap_or_default();
        Ok(Holdings {
            person: view.people.person(sub, self.opener()),
            up_to: up_to.0,
            profile: profiles.last_key_value().map(|(_, profile)| profile.clone()),
            profiles,
            memberships,
            sessions,
            withheld: "the access and refresh tokens that Discord gave doorbook for this person",
            events,
        })
    }

    /// Returns the position up to which an answer looks, and everybody's names there.
    pub async fn today(&self, now: Timestamp) -> Result<Option<(Position, View)>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(None) };
        Ok(self.view(When::After(head), now).await?.map(|view| (head, View { now, ..view })))
    }

    fn private_facts<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = (&'a Event, Private)> {
        let facts = record.events.iter().enumerate();
        facts.filter_map(|(index, event)| Some((event, self.opener().private(record, index)?)))
    }
}
