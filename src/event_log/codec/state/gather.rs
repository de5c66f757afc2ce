//! Entries put together to a state; believes no order, and none that names what is not there.

use std::borrow::Cow;
use std::sync::Arc;

use bincode::de::BorrowDecode;
use bincode::enc::Encode;

use super::super::event::scopes;
use super::StateError;
use super::wire::{self, FactV1, GrantV1};
use crate::domain::event::{FailureCode, Fingerprints, MadeBy, Method, OutageCause, RevokedBy, SessionScope};
use crate::domain::id::{
    DiscordId, GrantId, Hash, LogId, Position, RecordId, SessionId, SessionKey, Sub, WriterId,
};
use crate::domain::record::SealedBox;
use crate::domain::state::{
    Checkpoint, Claim, Fact, FactOf, Grant, Head, KnownRules, LogIdentity, NotAState, Observed, Outage, Part,
    Revocation, Session, State, StateBuilder, Unsigned, User,
};
use crate::domain::time::{Month, Timestamp};
use crate::event_log::codec::record::sealed_box;
use crate::event_log::codec::{
    DecodeError, GRANT_ISSUED, GRANT_REFRESHED, MEMBERSHIP_OBSERVED, PROFILE_OBSERVED, canonical,
};

/// Reads the body of an entry.
pub(super) fn decode<'a, T: Encode + BorrowDecode<'a, ()>>(body: &'a [u8]) -> Result<T, DecodeError> {
    canonical::decode("an entry of a stored state", body)
}

/// What has been read, up to the entry that is next.
#[derive(Default)]
pub(super) struct Gathered {
    builder: StateBuilder,
    log: Option<LogIdentity>,
    rules: Option<KnownRules>,
    /// The kind of the last entry but boxes.
    last: u8,
    /// The user whose own entries are being read.
    user: Option<(Sub, User)>,
    /// The user whose sessions follow.
    owner: Option<Sub>,
    boxes: Vec<(RecordId, Arc<SealedBox>)>,
    users: u64,
    sessions: u64,
}

impl Gathered {
    /// Takes in an entry.
    pub(super) fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), StateError> {
        self.place(kind)?;
        match kind {
            wire::LOG => self.log = Some(log(&decode(body)?)),
            wire::RULES => self.rules = Some(rules(&decode(body)?)),
            wire::HEAD => {
                let head = head(decode(body)?, self.log.take(), self.rules.take());
                self.builder.add(Part::Head(Cow::Owned(head)))?;
            }
            wire::ERASED => self.builder.add(Part::Erased(Sub(decode::<wire::IdV1>(body)?.id)))?,
            wire::DESTROYED => {
                let month = Month(decode::<wire::MonthV1>(body)?.month);
                self.builder.add(Part::Destroyed(month))?;
            }
            wire::RECENT => self.builder.add(Part::Recent(RecordId(decode::<wire::IdV1>(body)?.id)))?,
            wire::USER => {
                self.add_user()?;
                let user: wire::UserV1 = decode(body)?;
                let sub = Sub(user.sub);
                let (version, profile_at) = (user.version, Timestamp(user.profile_at));
                self.user = Some((sub, User { version, profile_at, ..User::default() }));
                self.owner = Some(sub);
                self.boxes.clear();
                self.users += 1;
            }
            wire::BOX => {
                let found: wire::UserBoxV1<'_> = decode(body)?;
                self.boxes.push((RecordId(found.record), Arc::new(sealed_box(&found.sealed))));
            }
            wire::PROFILE => self.user(kind)?.profile = Some(self.fact(&decode(body)?)?),
            wire::GRANT => self.user(kind)?.grant = Some(self.grant(&decode(body)?)?),
            wire::REVOCATION => {
                let found: wire::RevocationV1<'_> = decode(body)?;
                self.user(kind)?.revocation = Some(Box::new(Revocation {
                    grant: self.grant(&found.grant)?,
                    source: RevokedBy::from_code(found.source),
                    since: Timestamp(found.since),
                    position: Position(found.position),
                }));
            }
            wire::MEMBERSHIP => {
                let found: wire::MembershipV1 = decode(body)?;
                let observed = Observed { fact: self.fact(&found.fact)?, at: Timestamp(found.at) };
                let known = &mut self.user(kind)?.memberships;
                if known.last_key_value().is_some_and(|(last, _)| *last >= found.slot) {
                    return Err(NotAState::Order { what: "a membership" }.into());
                }
                known.insert(found.slot, observed);
            }
            wire::SESSION => {
                self.add_user()?;
                let session = self.session(kind, &decode(body)?)?;
                self.builder.add(Part::Session(Cow::Owned(session)))?;
                self.sessions += 1;
            }
            kind => return Err(StateError::Misplaced { kind }),
        }
        Ok(())
    }
    /// Makes the state of all entries.
    pub(super) fn finish(mut self) -> Result<State, StateError> {
        self.add_user()?;
        Ok(self.builder.finish()?)
    }

    /// Returns how many users there were.
    pub(super) fn users(&self) -> u64 {
        self.users
    }

    /// Returns how many sessions there were.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Says whether an entry of this kind may stand here.
    fn place(&mut self, kind: u8) -> Result<(), StateError> {
        let (last, this) = (wire::rank(self.last), wire::rank(kind));
        let (head, user) = (wire::rank(wire::HEAD), wire::rank(wire::USER));
        let belongs = match kind {
            wire::LOG | wire::RULES | wire::HEAD => last < this,
            wire::ERASED | wire::DESTROYED | wire::RECENT => (head..=this).contains(&last),
            wire::USER => last >= head,
            wire::PROFILE | wire::GRANT | wire::REVOCATION => (user..this).contains(&last),
            wire::MEMBERSHIP => (user..=this).contains(&last),
            wire::SESSION | wire::BOX => last >= user,
            _ => false,
        };
        if !belongs {
            return Err(StateError::Misplaced { kind });
        }
        if kind != wire::BOX {
            self.last = kind;
        }
        Ok(())
    }

    /// Hands over the user whose own entries have been read.
    fn add_user(&mut self) -> Result<(), StateError> {
        if let Some((sub, user)) = self.user.take() {
            self.builder.add(Part::User(sub, Cow::Owned(user)))?;
        }
        Ok(())
    }

    fn user(&mut self, kind: u8) -> Result<&mut User, StateError> {
        self.user.as_mut().map(|(_, user)| user).ok_or(StateError::Misplaced { kind })
    }

    fn fact(&self, found: &FactV1) -> Result<Fact, StateError> {
        let number = found.number;
        let known = usize::try_from(number).ok().and_then(|number| self.boxes.get(number));
        let (record, sealed) = known.ok_or(StateError::NoSuchBox { number })?;
        let of = match found.of {
            0 => FactOf::Context,
            GRANT_ISSUED => FactOf::GrantIssued,
            GRANT_REFRESHED => FactOf::GrantRefreshed,
            PROFILE_OBSERVED => FactOf::ProfileObserved,
            MEMBERSHIP_OBSERVED => FactOf::MembershipObserved,
            of => return Err(StateError::NoSuchFact { of }),
        };
        Ok(Fact { record: *record, sealed: Arc::clone(sealed), index: found.index, of })
    }

    fn grant(&self, found: &GrantV1<'_>) -> Result<Grant, StateError> {
        Ok(Grant {
            id: GrantId(found.id),
            application: DiscordId(found.application),
            scopes: scopes(&found.scopes)?,
            issued_at: Timestamp(found.issued_at),
            refreshed_at: Timestamp(found.refreshed_at),
            expires_at: Timestamp(found.expires_at),
            tokens: self.fact(&found.tokens)?,
            fingerprints: Fingerprints {
                access: Hash(found.fingerprints.access),
                refresh: Hash(found.fingerprints.refresh),
            },
            claim: found.claim.map(|(attempt, until, writer, position)| {
                Box::new(Claim {
                    attempt,
                    until: Timestamp(until),
                    writer: WriterId(writer),
                    position: Position(position),
                })
            }),
            not_before: found.not_before.map(Timestamp),
            failed_with: found.failed_with.map(FailureCode::from_code),
            failures: found.failures,
            uncertain: found.uncertain,
        })
    }

    fn session(&self, kind: u8, found: &wire::SessionV1<'_>) -> Result<Session, StateError> {
        Ok(Session {
            id: SessionId(found.id),
            user: self.owner.ok_or(StateError::Misplaced { kind })?,
            key: SessionKey(found.key),
            method: Method::from_code(found.method),
            scope: found.host.map_or(SessionScope::All, |host| SessionScope::Host(host.into())),
            admin: found.admin,
            opened_at: Timestamp(found.opened_at),
            seen_at: Timestamp(found.seen_at),
            expires_at: Timestamp(found.expires_at),
            idle_deadline: Timestamp(found.idle_deadline),
            origin: found.origin.as_ref().map(|fact| self.fact(fact)).transpose()?,
        })
    }
}

fn log(found: &wire::LogV1<'_>) -> LogIdentity {
    LogIdentity {
        id: LogId(found.log),
        origin: found.origin.to_owned(),
        made_by: MadeBy::from_code(found.made_by),
        public_key: found.public_key,
    }
}

fn rules(found: &wire::RulesV1<'_>) -> KnownRules {
    let fact = found.text.as_ref().map(|(record, sealed, index)| Fact {
        record: RecordId(*record),
        sealed: Arc::new(sealed_box(sealed)),
        index: *index,
        of: FactOf::RulesChanged,
    });
    KnownRules { hash: Hash(found.hash), fact }
}

fn head(found: wire::HeadV1, log: Option<LogIdentity>, rules: Option<KnownRules>) -> Head {
    let (records, since) = found.unsigned;
    Head {
        log,
        position: found.position.map(Position),
        eff: Timestamp(found.eff),
        writer: found.writer.map(WriterId),
        outage: found.outage.map(|(cause, until)| Outage {
            cause: OutageCause::from_code(cause),
            until: until.map(Timestamp),
        }),
        checkpoint: found.checkpoint.map(|(position, size, root, at)| Checkpoint {
            position: Position(position),
            size,
            root: Hash(root),
            at: Timestamp(at),
        }),
        unsigned: Unsigned { records, since: since.map(Timestamp) },
        rules,
    }
}
