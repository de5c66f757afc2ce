//! The one door to change: decide, append, apply. And the state, to read.
//!
//! Nothing else appends to the log. What [`App::execute`] reports as done is on stable storage and in the
//! state; what it reports as not done may still be found in the log later, and then counts.

pub mod applier;
mod background;
mod checkpoints;
mod escrowed;
mod execute;
mod facts;
mod keys;
mod locks;
mod open;
mod retention;
#[cfg(test)]
mod rig;
mod room;
mod ruling;
mod sightings;
mod stored;
mod strangers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::crypto::KeyRing;
use crate::domain::command::{Command, Which};
use crate::domain::event::{Cause, FailureCode, Membership, Origin, Private, Profile, Route, Stage, Tokens};
use crate::domain::id::{DiscordId, Position, RequestId, SessionId, SessionToken, Sub, WriterId};
use crate::domain::record::Actor;
use crate::domain::rules::Rules;
use crate::domain::state::{Fact, FactOf, Grant, Session};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::event_log::states::StatesDir;
use crate::event_log::{EventLog, Health, codec};

pub use applier::{Applied, Beginning, FoldError, Progress, StateGuard};
pub use checkpoints::SignError;
pub use escrowed::Escrowed;
pub use execute::{ExecuteError, Executed};
pub use facts::OpenProfile;
pub use keys::{NewRoot, NewSigningKey, RotateError};
pub use locks::{Held, KeyedLocks};
pub use open::{Accepted, OpenError, Opened, Replayed, Role, Settings};
pub use retention::RetentionError;
pub use stored::StoreError;
pub use strangers::network;

/// Who asks for a change, and from where.
#[derive(Clone, Debug)]
pub struct By {
    /// On whose behalf.
    pub actor: Actor,
    /// The request, shared by all its records.
    pub request: Option<RequestId>,
    /// The record that led to it.
    pub cause: Option<Position>,
    /// Where the request came in.
    pub route: Option<Route>,
    /// The client's address and agent; only ever stored sealed.
    pub origin: Option<Origin>,
}

impl By {
    /// doorbook itself, on nobody's behalf.
    pub const SYSTEM: By = By { actor: Actor::SYSTEM, request: None, cause: None, route: None, origin: None };
}

/// A session that counts at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// The public id.
    pub id: SessionId,
    /// Whose.
    pub user: Sub,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used, exact to one quantum after a restart.
    pub last_seen_at: Timestamp,
    /// When it ends whatever happens, or earlier unless it is used.
    pub expires_at: Timestamp,
}

/// A profile, and how old it is.
#[derive(Clone, Debug)]
pub struct KnownProfile {
    /// As Discord said.
    pub profile: Arc<OpenProfile>,
    /// When Discord last confirmed it; before it has in this process, when it was recorded.
    pub fetched_at: Timestamp,
    /// Whether Discord has confirmed it since this process started.
    pub confirmed: bool,
}

/// The state, and the only way to change it.
pub struct App {
    folded: Arc<RwLock<applier::Folded>>,
    log: EventLog,
    states: Arc<StatesDir>,
    data_dir: std::path::PathBuf,
    keys: Arc<KeyRing>,
    rules: ArcSwap<Rules>,
    /// One change of the rules at a time.
    ruling: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    writer: WriterId,
    version: String,
    waiting: Arc<applier::Waiting>,
    progress: watch::Receiver<Progress>,
    fold: std::sync::Mutex<Option<std::thread::JoinHandle<Result<(), FoldError>>>>,
    locks: KeyedLocks<Sub>,
    profiles: facts::OpenProfiles,
    memberships: facts::OpenMemberships,
    sightings: sightings::Sightings,
    sightings_due: mpsc::Sender<sightings::Due>,
    sightings_queue: std::sync::Mutex<Option<mpsc::Receiver<sightings::Due>>>,
    strangers: strangers::Strangers,
    room: room::Room,
    /// One signature at a time, and none while another key takes over.
    signing: tokio::sync::Mutex<()>,
    signature_due: tokio::sync::Notify,
    has_appended: AtomicBool,
    /// The last multiple of records whose state was stored, or is being stored.
    last_stored: std::sync::atomic::AtomicU64,
    is_server: bool,
    closing: AtomicBool,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// Returns the live session that a cookie's secret opens, from memory, and notes that it was used.
    pub fn session(&self, token: &SessionToken, origin: &Origin) -> Option<LiveSession> {
        let key = token.key();
        let now = self.clock.now();
        let state = self.state();
        let session = state.session_by_key(&key).filter(|session| session.is_live(now))?;
        self.note_use(session, Some(origin), now);
        Some(self.live(session))
    }

    /// Returns the live session of that public id, from memory, without noting a use.
    pub fn session_by_id(&self, id: SessionId) -> Option<LiveSession> {
        let now = self.clock.now();
        self.state().session(id).filter(|session| session.is_live(now)).map(|session| self.live(session))
    }

    /// Like [`Self::session_by_id`], and notes that it was used; from where, if that is known.
    pub fn session_used(&self, id: SessionId, origin: Option<&Origin>) -> Option<LiveSession> {
        let now = self.clock.now();
        let state = self.state();
        let session = state.session(id).filter(|session| session.is_live(now))?;
        self.note_use(session, origin, now);
        Some(self.live(session))
    }

    /// Returns the live sessions of a user, newest first, from memory.
    pub fn sessions_of(&self, user: Sub) -> Vec<LiveSession> {
        let now = self.clock.now();
        let state = self.state();
        let mut live: Vec<_> = state
            .sessions_of(user)
            .filter(|session| session.is_live(now))
            .map(|session| self.live(session))
            .collect();
        live.reverse();
        live
    }

    /// Returns all live sessions, oldest first.
    pub fn sessions(&self) -> Vec<LiveSession> {
        let now = self.clock.now();
        let state = self.state();
        let mut live: Vec<_> = state
            .sessions()
            .filter(|session| session.is_live(now))
            .map(|session| self.live(session))
            .collect();
        live.sort_by_key(|session| (session.opened_at, session.id));
        live
    }

    /// Returns from where a session was last recorded to come; `None` where that cannot be opened.
    pub fn origin_of(&self, session: SessionId) -> Option<Origin> {
        let fact = self.state().session(session)?.origin.clone()?;
        self.open_origin(&fact)
    }

    /// Returns the profile as last known, from memory; `None` where it cannot be opened.
    pub fn profile_of(&self, user: Sub) -> Option<KnownProfile> {
        let (kept, fact, recorded_at) = {
            let state = self.state();
            let found = state.user(user)?;
            let fact = found.profile.as_ref()?;
            let kept = self.profiles.kept(user, fact.record);
            // Nobody waits while a box is opened.
            let fact = if kept.is_none() { Some(fact.clone()) } else { None };
            (kept, fact, found.profile_at)
        };
        let opened =
            || fact.and_then(|fact| self.profiles.open(user, fact.record, || self.open_profile(&fact)));
        let (profile, confirmed_at) = kept.or_else(opened)?;
        Some(KnownProfile {
            profile,
            fetched_at: confirmed_at.unwrap_or(recorded_at),
            confirmed: confirmed_at.is_some(),
        })
    }

    /// Notes that Discord has just said that the recorded profile is right.
    pub fn profile_confirmed(&self, user: Sub) {
        // Opening it first makes sure there is something to confirm.
        let _ = self.profile_of(user);
        self.profiles.confirm(user, self.clock.now());
    }

    /// Forgets what was opened of somebody who is erased.
    pub fn forget_opened(&self, user: Sub) {
        self.profiles.forget(user);
        self.memberships.forget(user);
    }

    /// Returns what the user is in guilds, one membership a guild, as last recorded and from memory.
    ///
    /// What cannot be opened is not among them; `None` is for somebody whom the log does not know.
    pub fn memberships_of(&self, user: Sub) -> Option<Arc<[Membership]>> {
        self.known_memberships(user).map(|known| known.memberships.clone())
    }

    fn known_memberships(&self, user: Sub) -> Option<Arc<facts::KnownMemberships>> {
        let observed = {
            let state = self.state();
            let observed = &state.user(user)?.memberships;
            if let Some(kept) = self.memberships.kept(user, observed) {
                return Some(kept);
            }
            observed.clone()
        };
        Some(self.memberships.open(user, &observed, |fact| self.open_membership(fact)))
    }

    /// Returns the user's live grant.
    pub fn grant_of(&self, user: Sub) -> Option<Grant> {
        self.state().user(user)?.grant.clone()
    }

    /// Opens the tokens of a grant; `None` where the user's key is gone.
    pub fn tokens_of(&self, grant: &Grant) -> Option<Tokens> {
        match self.open_private(&grant.tokens)? {
            Private::Tokens(tokens) => Some(tokens),
            _ => None,
        }
    }

    /// Ends sessions of one user, at once; returns how many were live.
    pub async fn end_sessions(
        &self,
        user: Sub,
        which: Which,
        cause: Cause,
        reason: Option<String>,
        by: &By,
    ) -> Result<u32, ExecuteError> {
        let done = self.execute(Command::EndSessions { user, which, cause, reason }, by).await?;
        Ok(done.sessions_ended())
    }

    /// Records a failed sign-in, or counts it where this address, or everybody, has had enough of them.
    pub async fn sign_in_failed(&self, stage: Stage, code: FailureCode, by: &By) {
        if self.note_stranger(code, by).await {
            self.report(Command::FailSignIn { stage, code }, by).await;
        }
    }

    /// Returns whether one more denial from there may be written down; otherwise it has been counted.
    pub async fn note_stranger(&self, code: FailureCode, by: &By) -> bool {
        let address = by.origin.as_ref().and_then(|origin| origin.ip);
        let (recording, over) = self.strangers.note(address, code, self.clock.now());
        if let Some(over) = over {
            self.report(over, &By::SYSTEM).await;
        }
        recording == strangers::Recording::OneByOne
    }

    /// Returns whether the log can be written.
    pub fn log_is_available(&self) -> bool {
        matches!(*self.log.health().borrow(), Health::Ok) && !self.progress.borrow().stopped
    }

    /// Returns the health of the log, to be watched.
    pub fn log_health(&self) -> watch::Receiver<Health> {
        self.log.health()
    }

    /// Returns how far the fold is, to be watched.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Returns the log, to read.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Returns the keys.
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// Returns the state, to read; it must not be held across anything slow.
    pub fn state(&self) -> StateGuard<'_> {
        StateGuard::new(&self.folded)
    }

    fn live(&self, session: &Session) -> LiveSession {
        let last_seen_at = self.sightings.last(session.id).unwrap_or(session.seen_at).max(session.seen_at);
        LiveSession {
            id: session.id,
            user: session.user,
            opened_at: session.opened_at,
            last_seen_at,
            expires_at: session.deadline(),
        }
    }

    fn note_use(&self, session: &Session, origin: Option<&Origin>, now: Timestamp) {
        let recorded = || session.origin.as_ref().and_then(|fact| self.open_origin(fact));
        let due = self.sightings.note(session, origin, self.rules.load().seen_quantum(), now, recorded);
        if let Some(due) = due {
            let id = due.session;
            if self.sightings_due.try_send(due).is_err() {
                self.sightings.settle(id, false);
            }
        }
    }

    /// Records something that nobody waits for; a failure is traced. Returns whether there was none.
    pub async fn report(&self, command: Command, by: &By) -> bool {
        match self.execute(command, by).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => true,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a fact could not be recorded");
                false
            }
        }
    }

    fn open_profile(&self, fact: &Fact) -> Option<Profile> {
        match self.open_private(fact)? {
            Private::Profile(profile) => Some(profile),
            _ => None,
        }
    }

    fn open_membership(&self, fact: &Fact) -> Option<Membership> {
        match self.open_private(fact)? {
            Private::Membership(membership) => Some(membership),
            _ => None,
        }
    }

    fn open_private(&self, fact: &Fact) -> Option<Private> {
        let kind = match fact.of {
            FactOf::GrantIssued => codec::GRANT_ISSUED,
            FactOf::GrantRefreshed => codec::GRANT_REFRESHED,
            FactOf::ProfileObserved => codec::PROFILE_OBSERVED,
            FactOf::MembershipObserved => codec::MEMBERSHIP_OBSERVED,
            FactOf::RulesChanged => codec::RULES_CHANGED,
            FactOf::Context => return None,
        };
        let plain = self.keys.unseal(fact.record, &fact.sealed).ok()?;
        codec::private_in(&plain, fact.index, kind).ok()?
    }

    fn open_origin(&self, fact: &Fact) -> Option<Origin> {
        let plain = self.keys.unseal(fact.record, &fact.sealed).ok()?;
        codec::origin_in(&plain).ok()?
    }

    /// Returns the Discord id behind a pseudonym, while the person is not erased.
    pub fn discord_id_of(&self, user: Sub) -> Option<DiscordId> {
        self.keys.discord_id_of(user)
    }

    /// Writes down that the process ends in order, closes the log, and ends the fold.
    pub async fn close(&self) -> Result<(), ExecuteError> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(counted) = self.strangers.drain(self.clock.now()) {
            self.report(counted, &By::SYSTEM).await;
        }
        if self.is_server {
            self.report(Command::StopServer { clean: true }, &By::SYSTEM).await;
        }
        self.sign_at_the_end().await;
        self.close_log().await
    }

    async fn close_log(&self) -> Result<(), ExecuteError> {
        let closed = self.log.close().await;
        let fold = self.fold.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fold) = fold {
            let _ = tokio::task::spawn_blocking(move || fold.join()).await;
        }
        closed.map_err(|source| ExecuteError::Close { why: source.to_string() })
    }
}
