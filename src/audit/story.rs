//! The story of one person: every record about them, one line each, and how things stand at the end of it.

use std::net::IpAddr;

use serde::Serialize;

use super::rows::{Actor, actor_of};
use super::words::{listed, membership};
use super::{Filter, People, Person, ReadError, Reader, Rows, SignedIn, TurnedAway, View, When, in_words};
use crate::domain::id::{Position, Sub};
use crate::domain::time::Timestamp;

/// Everything that the log tells of one person, up to some moment.
#[derive(Debug, Serialize)]
pub struct Story {
    /// Who.
    pub person: Person,
    /// How things stand at the end, in one sentence.
    pub standing: String,
    /// The sessions that count then.
    pub sessions: Vec<SignedIn>,
    /// What happened, in order.
    pub story: Vec<Line>,
}

/// One record of the story.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Where it stands; what only time has ended stands nowhere.
    pub position: Option<u64>,
    /// The effective time.
    pub time: String,
    /// What happened, in words.
    pub what: String,
    /// Who caused it.
    pub by: String,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// Whether nothing in the log says so, but time does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
}

impl Reader {
    /// Tells the story of a person up to a moment; `None` where the log had not begun by then.
    pub async fn story(&self, sub: Sub, when: When, now: Timestamp) -> Result<Option<Story>, ReadError> {
        let Some(end) = self.position(when).await? else { return Ok(None) };
        let Some(view) = self.view(when, now).await? else { return Ok(None) };
        let filter = Filter { users: Some([sub].into()), ..Filter::default() };
        let story = self.lines(filter, end, view.now, Some(sub)).await?;
        Ok(Some(self.told(sub, &view, story)))
    }

    /// Tells the story of somebody who was never let in: every refused sign-in, up to the last.
    ///
    /// `standing` says how they stand.
    pub async fn story_of_stranger(
        &self,
        stranger: &TurnedAway,
        standing: String,
    ) -> Result<Story, ReadError> {
        let TurnedAway { id, position, at, .. } = *stranger;
        let filter = Filter { users: Some([].into()), stranger: Some(id), ..Filter::default() };
        let story = self.lines(filter, position, at, None).await?;
        Ok(Story { person: stranger.person(), standing, sessions: Vec::new(), story })
    }

    /// Returns a line for each record of which a filter wants anything.
    async fn lines(
        &self,
        filter: Filter,
        end: Position,
        now: Timestamp,
        sub: Option<Sub>,
    ) -> Result<Vec<Line>, ReadError> {
        let mut rows = Rows::new(self.opener().clone(), filter.clone());
        let mut people = People::default();
        let mut story = Vec::new();
        self.what_matters(&filter, end, |position, record, eff| {
            people.hear(record);
            let found = rows.take_at(position, record, eff);
            let (derived, told): (Vec<_>, Vec<_>) = found.into_iter().partition(|row| row.derived);
            story.extend(derived.into_iter().map(|row| expired(row.time)));
            if told.is_empty() {
                return true;
            }
            let origin = self.opener().origin(record);
            let words = record
                .events
                .iter()
                .enumerate()
                .map(|(index, event)| in_words(event, self.opener().private(record, index).as_ref()));
            let mut what = words.collect::<Vec<_>>().join("; ");
            if let Some(why) = told.iter().find_map(|row| row.without_effect) {
                what.push_str(&format!(" (without effect: {why})"));
            }
            story.push(Line {
                position: Some(position.0),
                time: eff.to_string(),
                what,
                by: by(&actor_of(record, &people, self.opener()), sub),
                ip: origin.as_ref().and_then(|origin| origin.ip),
                user_agent: origin.and_then(|origin| origin.user_agent),
                derived: false,
            });
            true
        })
        .await?;
        story.extend(rows.expired(now).into_iter().map(|row| expired(row.time)));
        Ok(story)
    }

    fn told(&self, sub: Sub, view: &View, story: Vec<Line>) -> Story {
        let person = view.people.person(sub, self.opener());
        let of_them = |row: &SignedIn| row.user.sub == person.sub;
        let sessions: Vec<SignedIn> = view.signed_in(self.opener()).into_iter().filter(of_them).collect();
        let standing = match (view.state.user(sub), sessions.len()) {
            (_, _) if view.state.is_erased(sub) => {
                "erased: what is left are pseudonyms, kinds and times".into()
            }
            (None, _) => "never signed in".to_owned(),
            (Some(_), 0) => "signed in nowhere".to_owned(),
            (Some(_), 1) => "signed in, in 1 session".to_owned(),
            (Some(_), many) => format!("signed in, in {many} sessions"),
        };
        let grant = view.state.user(sub).map(|user| match (&user.grant, &user.revocation) {
            (Some(grant), _) => format!("\nDiscord lets doorbook ask for {}", listed(&grant.scopes)),
            (None, Some(_)) => "\nthe authorization has ended, and Discord has yet to confirm".to_owned(),
            (None, None) => "\ndoorbook has no authorization at Discord".to_owned(),
        });
        let seen = view.state.user(sub).map(|user| self.opener().memberships(user)).unwrap_or_default();
        let seen = seen.iter().map(|(seen, at)| format!("\n{}, first seen so at {at}", membership(seen)));
        let standing = standing + &grant.unwrap_or_default() + &seen.collect::<String>();
        Story { person, standing, sessions, story }
    }
}

fn by(actor: &Actor, sub: Option<Sub>) -> String {
    match &actor.user {
        Some(person) if person.sub == sub.map(|sub| sub.to_string()) => "themselves".to_owned(),
        Some(person) => format!("{} {}", actor.kind, person.by_name()),
        None => actor.kind.clone(),
    }
}

fn expired(at: Timestamp) -> Line {
    Line {
        position: None,
        time: at.to_string(),
        what: "a session ran out".into(),
        by: "time".into(),
        ip: None,
        user_agent: None,
        derived: true,
    }
}
