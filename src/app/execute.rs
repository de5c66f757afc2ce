//! Decide, append, apply: how an intent becomes records.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{App, Applied, By, SignError};
use crate::crypto::{KeyError, SealError};
use crate::domain::command::{Command, Facts};
use crate::domain::decide::{Decision, Refusal, decide};
use crate::domain::event::{ActorKind, Event, Private};
use crate::domain::id::{Position, RecordId, Sub};
use crate::domain::record::{Context, Owner, Record, SealedBox};
use crate::domain::state::{CONTEXT, Verdict};
use crate::domain::time::Timestamp;
use crate::event_log::AppendError;
use crate::event_log::codec::{self, EncodeError, SealedFact};

/// How often a decision that was overtaken is made again before we give up.
const TRIES: u32 = 8;

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// It makes no sense now.
    #[error("the change makes no sense now")]
    Refused(#[source] Refusal),
    /// The log could not be written; the change may be found in it later, and then it counts.
    #[error("the log cannot be written")]
    Append(#[source] AppendError),
    /// So many records are unsigned that no more may come, and nobody can sign.
    #[error("too many records wait for a signature")]
    Unsigned(#[source] Box<SignError>),
    /// The record was appended, but the fold did not come to it.
    #[error("the log cannot be read on")]
    FoldStopped,
    /// A key could not be made or stored.
    #[error("a key could not be stored")]
    Key(#[source] KeyError),
    /// The personal facts could not be sealed.
    #[error("a personal fact could not be sealed")]
    Seal(#[source] SealError),
    /// The record has no bytes.
    #[error("the record cannot be written as bytes")]
    Encode(#[source] EncodeError),
    /// The decision was overtaken again and again.
    #[error("the user changed again and again meanwhile")]
    Overtaken,
    /// The log could not be closed in order; the next start looks closer.
    #[error("the log could not be closed in order: {why}")]
    Close {
        /// What failed.
        why: String,
    },
}

/// What is now in the log and in the state.
#[derive(Debug, Default)]
pub struct Executed {
    /// The records, in order; none where there was nothing to record.
    pub records: Vec<Applied>,
}

impl Executed {
    /// Returns all events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.records.iter().flat_map(|applied| &applied.record.events)
    }

    /// Returns whether the first record counts.
    pub fn applied(&self) -> bool {
        self.records.first().is_some_and(|applied| applied.verdict == Verdict::Applied)
    }

    /// Returns the position of the first record.
    pub fn position(&self) -> Option<Position> {
        self.records.first().map(|applied| applied.position)
    }

    /// Returns how many sessions ended.
    pub fn sessions_ended(&self) -> u32 {
        let ended = self.events().map(|event| match event {
            Event::SessionRevoked { sessions, .. } => sessions.len(),
            _ => 0,
        });
        u32::try_from(ended.sum::<usize>()).unwrap_or(u32::MAX)
    }
}

impl App {
    /// Decides against the state, appends what follows, and waits until it is applied.
    ///
    /// A user's decisions are made one at a time; different users' share a flush. Giving up the wait does
    /// not undo anything: what was handed to the log is written and applied all the same.
    pub async fn execute(&self, command: Command, by: &By) -> Result<Executed, ExecuteError> {
        // Nor does who lets another key sign wait for a signature: nobody signs meanwhile.
        let signs =
            matches!(command, Command::SignCheckpoint(_) | Command::RotateKey { signer: Some(_), .. });
        // What a start owns up to comes before everything else, a signature included.
        let owns_up = matches!(command, Command::AcceptLoss(_) | Command::RestoreLog { .. });
        let needs_room = !signs && !owns_up;
        if needs_room {
            self.make_room_for_records().await?;
        }
        let _held = match subject_of(&command, self) {
            Some(sub) => Some(self.locks.lock(sub).await),
            None => None,
        };
        let mut tries = 0;
        while tries < TRIES {
            let now = self.clock.now();
            let facts = self.facts_for(&command);
            let decided = decide(&self.state(), &facts, &self.rules(), command.clone(), now);
            let decisions = decided.map_err(ExecuteError::Refused)?;
            if decisions.is_empty() {
                return Ok(Executed::default());
            }
            let Some(executed) = self.append(decisions, by, now, needs_room).await? else {
                // Others took it meanwhile; what was decided may be another thing afterwards.
                self.make_room_for_records().await?;
                continue;
            };
            tries += 1;
            if !signs {
                self.appended();
            }
            // Reports may stand before the decision; only that can be overtaken.
            if executed.records.iter().all(|applied| applied.verdict != Verdict::Superseded) {
                return Ok(executed);
            }
        }
        Err(ExecuteError::Overtaken)
    }

    /// Returns nothing, and has appended nothing, where there is no room for unsigned records.
    async fn append(
        &self,
        decisions: Vec<Decision>,
        by: &By,
        now: Timestamp,
        needs_room: bool,
    ) -> Result<Option<Executed>, ExecuteError> {
        if self.progress.borrow().stopped {
            return Err(ExecuteError::FoldStopped);
        }
        self.keys.ensure_month(now.month()).await.map_err(ExecuteError::Key)?;
        let mut frames = Vec::with_capacity(decisions.len());
        let mut answers = Expected { app: self, ids: vec![], receivers: vec![] };
        for decision in decisions {
            let record = self.seal(decision, by, now)?;
            frames.push(codec::encode_record(&record).map_err(ExecuteError::Encode)?);
            answers.expect(record.id);
        }
        let append = || self.log.append(frames, None);
        let handed_over = self.room.hand_over(answers.ids.len(), self.signed_for(), needs_room, append);
        // Until they are applied they are under way: whoever signs waits for that.
        let Some((ticket, appending)) = handed_over else { return Ok(None) };
        let answer = appending.await;
        ticket.answered(&answer);
        answer.map_err(ExecuteError::Append)?;
        answers.wait().await.map(Some)
    }

    /// Makes the record: everything personal goes into one box for each owner.
    fn seal(&self, decision: Decision, by: &By, now: Timestamp) -> Result<Record, ExecuteError> {
        let id = self.new_record_id(now);
        let month = now.month();
        let sub = decision.subject.map(|subject| subject.sub);
        let mut boxes: BTreeMap<OwnerOrder, (Owner, Vec<SealedFact>)> = BTreeMap::new();
        let mut put = |owner: Owner, fact: SealedFact| {
            boxes.entry(order(owner)).or_insert_with(|| (owner, vec![])).1.push(fact);
        };
        let mut events = Vec::with_capacity(decision.events.len());
        for (index, draft) in decision.events.into_iter().enumerate() {
            let stored =
                codec::serialize_event(&draft.event, draft.private.as_ref()).map_err(ExecuteError::Encode)?;
            if let Some(payload) = stored.sealed {
                let owner = match draft.private {
                    // As readable as the log is.
                    Some(Private::Rules(_)) => Owner::Log,
                    _ => sub.map_or(Owner::Context(month, None), Owner::Subject),
                };
                let index = u16::try_from(index).unwrap_or(CONTEXT - 1);
                put(owner, SealedFact { index, version: stored.version, payload });
            }
            events.push(draft.event);
        }
        if let Some(origin) = &by.origin {
            let (version, payload) = codec::serialize_origin(origin).map_err(ExecuteError::Encode)?;
            let actor =
                by.actor.sub.filter(|sub| by.actor.kind == ActorKind::User && self.keys.has_subject(*sub));
            put(Owner::Context(month, actor), SealedFact { index: CONTEXT, version, payload });
        }
        let sealed: Result<Vec<Arc<SealedBox>>, ExecuteError> = boxes
            .into_values()
            .map(|(owner, facts)| {
                let plain = codec::encode_sealed(&facts).map_err(ExecuteError::Encode)?;
                Ok(Arc::new(self.keys.seal(owner, id, &plain).map_err(ExecuteError::Seal)?))
            })
            .collect();
        let context = Context {
            writer: self.writer,
            actor: by.actor,
            request: by.request,
            cause: by.cause,
            route: by.route,
        };
        Ok(Record { id, at: now, subject: decision.subject, context, events, sealed: sealed? })
    }

    fn new_record_id(&self, now: Timestamp) -> RecordId {
        let millis = u64::try_from(now.0).unwrap_or(0);
        let random = self.entropy.draw::<10>();
        RecordId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    fn facts_for(&self, command: &Command) -> Facts {
        let Some(user) = command.user() else { return Facts::default() };
        let profile = self.profile_of(user).map(|known| (**known.profile).clone());
        let memberships = match command {
            Command::SignIn(_) | Command::ObserveMemberships { .. } => self.known_memberships(user),
            _ => None,
        };
        Facts { profile, memberships: memberships.map(|known| known.by_slot()).unwrap_or_default() }
    }
}

/// The records of one append, until each has been applied; dropping it forgets them.
struct Expected<'a> {
    app: &'a App,
    ids: Vec<RecordId>,
    receivers: Vec<oneshot::Receiver<Applied>>,
}

impl Expected<'_> {
    fn expect(&mut self, id: RecordId) {
        self.ids.push(id);
        self.receivers.push(self.app.waiting.expect(id));
    }

    async fn wait(mut self) -> Result<Executed, ExecuteError> {
        let mut records = Vec::with_capacity(self.receivers.len());
        for applied in std::mem::take(&mut self.receivers) {
            if self.app.progress.borrow().stopped {
                return Err(ExecuteError::FoldStopped);
            }
            records.push(applied.await.map_err(|_| ExecuteError::FoldStopped)?);
        }
        Ok(Executed { records })
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        for id in &self.ids {
            self.app.waiting.forget(*id);
        }
    }
}

/// Returns the user whose decisions the command is one of.
fn subject_of(command: &Command, app: &App) -> Option<Sub> {
    match command {
        Command::SeeSession { session } => app.state().session(*session).map(|session| session.user),
        command => command.user(),
    }
}

type OwnerOrder = (u8, u32, Option<Sub>);

/// Boxes stand in a fixed order, so that the same facts give the same record.
fn order(owner: Owner) -> OwnerOrder {
    match owner {
        Owner::Subject(sub) => (0, 0, Some(sub)),
        Owner::Context(month, sub) => (1, month.0, sub),
        Owner::Log => (2, 0, None),
    }
}
