//! A state taken apart into parts in a fixed order, and built from them again.
//!
//! Equal states have equal parts in the same order, however they came to be: it is what they are written
//! down from. What only helps to find something is left out and made anew.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::sessions::Sessions;
use super::{
    Checkpoint, KnownRules, LogIdentity, Outage, REMEMBERED, Session, State, Timeline, Unsigned, User,
};
use crate::domain::drawn::{DrawnMap, DrawnSet};
use crate::domain::id::{Position, RecordId, Sub, WriterId};
use crate::domain::time::{Month, Timestamp};

/// A part of a state. They come in the order in which they stand here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// What there is one of.
    Head(Cow<'a, Head>),
    /// Somebody who was erased; in ascending order.
    Erased(Sub),
    /// A month whose keys were destroyed; in ascending order.
    Destroyed(Month),
    /// A record that would be known if it came again; the oldest first.
    Recent(RecordId),
    /// A user; in ascending order. Which sessions they have is said by the parts that follow.
    User(Sub, Cow<'a, User>),
    /// A session of the user before it; the oldest first.
    Session(Cow<'a, Session>),
}

/// What there is one of in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// See [`State::log`].
    pub log: Option<LogIdentity>,
    /// See [`State::position`].
    pub position: Option<Position>,
    /// See [`State::eff`].
    pub eff: Timestamp,
    /// See [`State::writer`].
    pub writer: Option<WriterId>,
    /// See [`State::outage`].
    pub outage: Option<Outage>,
    /// See [`State::checkpoint`].
    pub checkpoint: Option<Checkpoint>,
    /// See [`State::unsigned`].
    pub unsigned: Unsigned,
    /// See [`State::rules`].
    pub rules: Option<KnownRules>,
}

/// The parts are not those of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAState {
    /// The head is missing, or is not the first part or the only one.
    #[error("a state begins with its head, and has one")]
    Head,
    /// A part stands behind one that it should stand before.
    #[error("{what} does not stand where it belongs")]
    Order {
        /// What stands there.
        what: &'static str,
    },
    /// Something that is there once is there again.
    #[error("{what} is there twice")]
    Twice {
        /// What.
        what: &'static str,
    },
    /// More records would be known again than ever are.
    #[error("more than {REMEMBERED} records are remembered")]
    TooManyRecent,
    /// A session does not follow the user whose it is.
    #[error("a session does not follow its user")]
    OfAnother,
}

impl State {
    /// Takes the state apart.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let head = Head {
            log: self.log.clone(),
            position: self.position,
            eff: self.time.eff,
            writer: self.writer,
            outage: self.outage,
            checkpoint: self.checkpoint,
            unsigned: self.unsigned,
            rules: self.rules.clone(),
        };
        let mut users: Vec<(Sub, &User)> = self.users().collect();
        users.sort_unstable_by_key(|(sub, _)| *sub);
        let users = users.into_iter().flat_map(|(sub, user)| {
            let sessions = user.sessions.iter().filter_map(|id| self.sessions.get(*id));
            let sessions = sessions.map(|session| Part::Session(Cow::Borrowed(session)));
            std::iter::once(Part::User(sub, Cow::Borrowed(user))).chain(sessions)
        });
        std::iter::once(Part::Head(Cow::Owned(head)))
            .chain(self.erased.iter().copied().map(Part::Erased))
            .chain(self.destroyed.iter().copied().map(Part::Destroyed))
            .chain(self.time.recent.iter().copied().map(Part::Recent))
            .chain(users)
    }
}

/// A state that is being built from its parts.
#[derive(Default)]
pub struct StateBuilder {
    head: Option<Head>,
    erased: Vec<Sub>,
    destroyed: Vec<Month>,
    recent: VecDeque<RecordId>,
    recent_set: DrawnSet<RecordId>,
    users: DrawnMap<Sub, Box<User>>,
    /// The user whose sessions follow.
    last: Option<(Sub, User)>,
    sessions: Sessions,
    /// How far in the order the parts are.
    reached: u8,
}

impl StateBuilder {
    /// Begins without any part.
    pub fn new() -> StateBuilder {
        StateBuilder::default()
    }

    /// Takes in the next part.
    pub fn add(&mut self, part: Part<'_>) -> Result<(), NotAState> {
        self.reach(&part)?;
        match part {
            Part::Head(head) => self.head = Some(head.into_owned()),
            Part::Erased(sub) => push_ascending(&mut self.erased, sub, "an erased user")?,
            Part::Destroyed(month) => push_ascending(&mut self.destroyed, month, "a destroyed month")?,
            Part::Recent(id) => {
                if !self.recent_set.insert(id) {
                    return Err(NotAState::Twice { what: "a record" });
                }
                if self.recent.len() == REMEMBERED {
                    return Err(NotAState::TooManyRecent);
                }
                self.recent.push_back(id);
            }
            Part::User(sub, user) => {
                if self.last.as_ref().is_some_and(|(last, _)| *last >= sub) {
                    return Err(NotAState::Order { what: "a user" });
                }
                let mut user = user.into_owned();
                user.sessions.clear();
                if let Some((last, user)) = self.last.replace((sub, user)) {
                    self.users.insert(last, Box::new(user));
                }
            }
            Part::Session(session) => self.add_session(session.into_owned())?,
        }
        Ok(())
    }

    /// Makes the state of all parts.
    pub fn finish(mut self) -> Result<State, NotAState> {
        let head = self.head.ok_or(NotAState::Head)?;
        self.users.extend(self.last.map(|(sub, user)| (sub, Box::new(user))));
        // Sorted at once, and not one by one: with a million sessions it is most of the work.
        let deadlines = self.sessions.iter().map(|session| (session.deadline(), session.id)).collect();
        Ok(State {
            log: head.log,
            position: head.position,
            time: Timeline { eff: head.eff, recent: self.recent, recent_set: self.recent_set },
            writer: head.writer,
            outage: head.outage,
            checkpoint: head.checkpoint,
            unsigned: head.unsigned,
            rules: head.rules,
            erased: BTreeSet::from_iter(self.erased),
            destroyed: BTreeSet::from_iter(self.destroyed),
            users: self.users,
            sessions: self.sessions,
            deadlines,
        })
    }

    fn reach(&mut self, part: &Part<'_>) -> Result<(), NotAState> {
        let (rank, what) = match part {
            Part::Head(_) => (0, "a head"),
            Part::Erased(_) => (1, "an erased user"),
            Part::Destroyed(_) => (2, "a destroyed month"),
            Part::Recent(_) => (3, "a record"),
            Part::User(..) | Part::Session(_) => (4, "a user"),
        };
        if self.head.is_some() != (rank > 0) {
            return Err(NotAState::Head);
        }
        if rank < self.reached {
            return Err(NotAState::Order { what });
        }
        self.reached = rank;
        Ok(())
    }

    fn add_session(&mut self, session: Session) -> Result<(), NotAState> {
        let user = self.last.as_mut().filter(|(sub, _)| *sub == session.user);
        let (_, user) = user.ok_or(NotAState::OfAnother)?;
        user.sessions.push(session.id);
        if self.sessions.by_key(&session.key).is_some() {
            return Err(NotAState::Twice { what: "the key of a session" });
        }
        if self.sessions.get(session.id).is_some() {
            return Err(NotAState::Twice { what: "a session" });
        }
        self.sessions.insert(session);
        Ok(())
    }
}

fn push_ascending<T: Ord>(all: &mut Vec<T>, next: T, what: &'static str) -> Result<(), NotAState> {
    if all.last().is_some_and(|last| *last >= next) {
        return Err(NotAState::Order { what });
    }
    all.push(next);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, KeyPurpose, Method, Requester, SessionScope};
    use crate::domain::id::{Hash, SessionId, SessionKey};
    use crate::domain::record::{Actor, Context, Record, Subject};
    use crate::domain::state::Verdict;

    fn built(parts: impl IntoIterator<Item = Part<'static>>) -> Result<State, NotAState> {
        let mut builder = StateBuilder::new();
        parts.into_iter().try_for_each(|part| builder.add(part))?;
        builder.finish()
    }

    fn opened(session: u8, key: u8) -> Event {
        Event::SessionOpened {
            session: SessionId([session; 16]),
            method: Method::Discord,
            scope: SessionScope::Host("wiki.example.org".into()),
            admin: true,
            key: SessionKey([key; 32]),
            expires_at: Timestamp(i64::from(session) * 1_000),
            idle_deadline: Timestamp(500_000),
            rules: Hash([0; 32]),
            first: true,
            replaces: None,
        }
    }

    fn applied(state: &mut State, who: u8, events: Vec<Event>) -> Verdict {
        let position = state.position().map_or(Position(0), Position::next);
        let writer = WriterId([7; 8]);
        let record = Record {
            id: RecordId(u128::from(position.0).to_be_bytes()),
            at: Timestamp(7),
            subject: Some(Subject { sub: Sub([who; 16]), version: None }),
            context: Context { writer, actor: Actor::SYSTEM, request: None, cause: None, route: None },
            events,
            sealed: vec![],
        };
        state.apply(position, &record)
    }

    /// Several of everything, opened in no order.
    fn full() -> State {
        let mut state = State::default();
        for (who, session) in [(9, 91), (3, 32), (3, 31), (9, 90), (5, 50), (1, 10)] {
            assert_eq!(applied(&mut state, who, vec![opened(session, session)]), Verdict::Applied);
        }
        let erased =
            || Event::UserErased { requested_by: Requester::User, sessions: vec![], confirmed: None };
        assert_eq!(applied(&mut state, 5, vec![erased()]), Verdict::Applied);
        assert_eq!(applied(&mut state, 1, vec![erased()]), Verdict::Applied);
        for key_id in [202_612, 202_601] {
            let purpose = KeyPurpose::Month;
            assert_eq!(
                applied(&mut state, 9, vec![Event::KeyDestroyed { purpose, key_id }]),
                Verdict::Applied
            );
        }
        state
    }

    fn owned(part: Part<'_>) -> Part<'static> {
        match part {
            Part::Head(head) => Part::Head(Cow::Owned(head.into_owned())),
            Part::Erased(sub) => Part::Erased(sub),
            Part::Destroyed(month) => Part::Destroyed(month),
            Part::Recent(id) => Part::Recent(id),
            Part::User(sub, user) => Part::User(sub, Cow::Owned(user.into_owned())),
            Part::Session(session) => Part::Session(Cow::Owned(session.into_owned())),
        }
    }

    #[test]
    fn a_state_is_built_from_its_parts_again() {
        for state in [State::default(), full()] {
            let parts: Vec<_> = state.parts().map(owned).collect();
            assert_eq!(built(parts.clone()), Ok(state.clone()));
            let again = built(parts.clone()).unwrap();
            assert!(again.parts().eq(parts), "in the same order");
        }
    }

    #[test]
    fn a_rebuilt_state_goes_on_as_the_other_one_does() {
        let mut state = full();
        let mut again = built(state.parts().map(owned)).unwrap();
        for event in [
            opened(92, 92),
            opened(32, 33),
            Event::ClockStepped { from: Timestamp(7), to: Timestamp(90_000_000_000) },
        ] {
            assert_eq!(applied(&mut state, 9, vec![event.clone()]), applied(&mut again, 9, vec![event]));
            assert_eq!(state, again);
        }
        assert_eq!(state.sessions().count(), 0, "time has ended them all, by the index of deadlines");
    }

    #[test]
    fn a_record_opens_a_session_and_takes_a_key_once() {
        let mut state = State::default();
        let events = vec![opened(1, 1), opened(1, 2), opened(2, 1), opened(3, 3)];
        assert_eq!(applied(&mut state, 4, events), Verdict::Applied);
        assert_eq!(state.sessions_of(Sub([4; 16])).count(), 2);
        assert_eq!(built(state.parts().map(owned)), Ok(state.clone()));
    }

    #[test]
    fn parts_in_another_order_or_twice_are_no_state() {
        let parts: Vec<_> = full().parts().map(owned).collect();
        for at in 0..parts.len() {
            let mut twice = parts.clone();
            twice.insert(at, parts[at].clone());
            assert!(built(twice).is_err(), "{:?} twice", parts[at]);
            let mut swapped = parts.clone();
            swapped.swap(at, (at + 1) % parts.len());
            let same_kind = matches!(
                (&parts[at], &swapped[at]),
                (Part::Recent(_), Part::Recent(_)) | (Part::Session(_), Part::Session(_))
            );
            assert!(same_kind || built(swapped).is_err(), "{:?} too late", parts[at]);
        }
        assert_eq!(built(parts[1..].to_vec()), Err(NotAState::Head));
        assert_eq!(built(vec![]), Err(NotAState::Head));
        let recent = (0..=REMEMBERED).map(|n| Part::Recent(RecordId((n as u128).to_be_bytes())));
        let head = Part::Head(Cow::Owned(Head::default()));
        assert_eq!(built(std::iter::once(head).chain(recent)), Err(NotAState::TooManyRecent));
    }
}
