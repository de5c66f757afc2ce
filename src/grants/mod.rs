//! Discord between two commands: sign-in, refresh, revocation; one call at a time per user.
//!
//! Every call that changes something at Discord runs in a task of its own: a browser that goes away in
//! the middle of a refresh must not take its outcome with it.

mod confirmed;
mod erasure;
mod flight;
mod introduced;
mod lost;
mod membership;
mod outage;
mod profile;
mod recheck;
mod refresh;
mod revocation;
mod sign_in;
mod webhook;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, ExecuteError, Held, KeyedLocks, LiveSession};
use crate::clock::Clock;
use crate::discord::{CallError, Client};
use crate::domain::event::Membership;
use crate::domain::id::{DiscordId, GrantId, Secret, SessionId, SessionToken, Sub};
use crate::entropy::Entropy;

pub use erasure::{EraseError, Erasure};
use flight::Flights;
pub use membership::{LastAsked, Seen, Standing};
pub use recheck::Rechecked;

/// What the room needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The scopes that a sign-in asks for, besides what the rules need.
    pub scopes: Vec<String>,
    /// How old a profile may be before its use queues a refresh.
    pub profile_max_age: Duration,
    /// Whether the sessions end of somebody who is known not to be among those who may stay in any more.
    ///
    /// Their access ends in any case. This is asked each time that Discord has said who somebody is, or what they are in a
    /// guild: where `allow` then holds for certain for them no more, all their sessions end.
    pub role_lost_ends_sessions: bool,
}

/// Discord, one call at a time per user.
pub struct Grants {
    app: Arc<App>,
    client: Arc<Client>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Around each call that changes a user's authorization, and the end of a sign-in.
    discord: KeyedLocks<DiscordId>,
    refreshes: Flights<Sub, Result<(), RefreshError>>,
    refreshed: Mutex<lru::LruCache<Sub, Duration>>,
    fetches: Flights<Sub, recheck::Checked>,
    fetched: Mutex<lru::LruCache<Sub, profile::Fetched>>,
    /// Permits for calls that no browser waits for, and for revocations. They are taken before a Discord lock: whoever
    /// holds a permit may wait for a lock, and whoever holds a lock waits for no permit.
    background: Arc<Semaphore>,
    confirmed: confirmed::Confirmed,
    asked_about: ArcSwapOption<membership::Asked>,
    no_memberships: Arc<[Membership]>,
    /// Checks of memberships that are under way, and those that wait for their turn.
    checks: Flights<(Sub, DiscordId), recheck::Checked>,
    waiting: recheck::Queue,
    hurried: Semaphore,
    sign_ins: sign_in::Limits,
    revocations_sent: revocation::Sent,
    /// Users about whom a loop goes on asking.
    revoking: dashmap::DashSet<Sub>,
    /// Claims whose record may be in the log although nothing was sent for them.
    unsent: Mutex<std::collections::HashSet<(GrantId, u8)>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What the browser brought back from Discord.
#[derive(Debug)]
pub struct SignInRequest {
    /// The code of the callback.
    pub code: Secret,
    /// The PKCE verifier of the attempt.
    pub verifier: Secret,
    /// The session that this browser has.
    pub replaces: Option<SessionId>,
}

/// A sign-in that is on stable storage.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The secret for the cookie.
    pub token: SessionToken,
    /// The session.
    pub session: LiveSession,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Discord refused the code: 400 `code_rejected`.
    #[error("discord refused the code")]
    CodeRejected,
    /// 502 `discord_unavailable`.
    #[error("discord is slow, down or unreadable")]
    DiscordUnavailable,
    /// 503 `discord_rate_limited`.
    #[error("discord asked to wait")]
    DiscordRateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// 500 `discord_client_rejected`.
    #[error("discord refused the client id or secret")]
    ClientRejected,
    /// 403 `sign_in_not_allowed`; who it is, as Discord told.
    #[error("not on the list")]
    NotAllowed(Box<Standing>),
    /// 429 `too_many_sign_ins`.
    #[error("too many sign-ins of this user")]
    TooMany {
        /// Seconds.
        retry_after: u64,
    },
    /// A revocation overtook the sign-in: the browser goes to Discord again.
    #[error("the authorization was revoked meanwhile")]
    StartAgain,
    /// 500 `internal`: a defect of ours ended the task.
    #[error("the sign-in broke")]
    Died,
    /// 503 `log_unavailable`.
    #[error("the sign-in could not be recorded")]
    Execute(#[source] Arc<ExecuteError>),
}

/// Why a refresh gave nothing new.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RefreshError {
    /// The grant is dead and the sessions have ended: 401, cookie cleared.
    #[error("the grant is dead")]
    Ended,
    /// Once a minute per user: 429 `too_many_requests`.
    #[error("refreshed a moment ago")]
    TooSoon {
        /// Seconds.
        retry_after: u64,
    },
    /// 502 `discord_unavailable`.
    #[error("discord is slow, down or unreadable")]
    DiscordUnavailable,
    /// 503 `discord_rate_limited`.
    #[error("discord asked to wait")]
    DiscordRateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// 500 `discord_client_rejected`.
    #[error("discord refused the client id or secret")]
    ClientRejected,
    /// 500 `internal`: a defect of ours, or tokens that cannot be opened.
    #[error("the refresh broke")]
    Died,
    /// 503 `log_unavailable`.
    #[error("the refresh could not be recorded")]
    Execute(#[source] Arc<ExecuteError>),
}

/// What asking Discord for the profile gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The known profile is what Discord just said.
    Fresh,
    /// Discord failed or was too slow; the known profile is the last one.
    Stale,
    /// The grant was found dead; the sessions have ended.
    Ended,
}

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Live sessions that ended.
    pub sessions_ended: u32,
    /// Whether Discord has confirmed; otherwise we go on asking.
    pub confirmed: bool,
}

impl Grants {
    /// Wires the room up; nothing is called yet.
    pub fn new(
        app: Arc<App>,
        client: Arc<Client>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Grants> {
        Arc::new(Grants {
            sign_ins: sign_in::Limits::new(clock.clone()),
            confirmed: confirmed::Confirmed::new(clock.clone()),
            asked_about: ArcSwapOption::empty(),
            no_memberships: Arc::from([]),
            checks: Flights::default(),
            waiting: recheck::Queue::default(),
            hurried: Semaphore::new(recheck::HURRIED),
            app,
            client,
            settings,
            clock,
            entropy,
            discord: KeyedLocks::default(),
            refreshes: Flights::default(),
            refreshed: Mutex::new(lru::LruCache::sparse(REMEMBERED)),
            fetches: Flights::default(),
            fetched: Mutex::new(lru::LruCache::sparse(REMEMBERED)),
            background: Arc::new(Semaphore::new(BACKGROUND_CALLS)),
            revocations_sent: revocation::Sent::default(),
            revoking: dashmap::DashSet::new(),
            unsent: Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// Takes up what the process before left: a pause, refreshes without an outcome, revocations that
    /// Discord has not confirmed. To be called once, after the replay.
    pub fn start(self: &Arc<Self>) {
        self.follow_outages();
        let (claimed, revoked): (Vec<Sub>, Vec<Sub>) = {
            let state = self.app.state();
            let claimed =
                state.users().filter(|(_, user)| user.grant.as_ref().is_some_and(|g| g.claim.is_some()));
            let revoked = state.users().filter(|(_, user)| user.revocation.is_some());
            (claimed.map(|(sub, _)| sub).collect(), revoked.map(|(sub, _)| sub).collect())
        };
        for sub in claimed {
            let grants = self.clone();
            self.spawn(async move { grants.settle(sub).await });
        }
        for sub in revoked {
            self.revoke_in_background(sub, Duration::ZERO);
        }
    }

    /// Waits until every call that is under way has been concluded in the log.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.clock.sleep(LAST_CALLS) => {
                tracing::warn!("stopping although some calls to Discord have no outcome yet; the next start settles them");
            }
        }
        // What the last calls met: a ban must outlast the restart.
        self.record_outage().await;
    }

    /// Runs a task that [`Self::stop`] waits for.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Takes the Discord lock of a user; `None` where nobody knows their Discord id any more.
    async fn lock(&self, user: Sub) -> Option<Held<DiscordId>> {
        let id = self.app.discord_id_of(user)?;
        Some(self.discord.lock(id).await)
    }

    /// Returns the seconds that Discord wants to be left alone, at least one.
    fn seconds_to_wait(&self, error: &CallError) -> u64 {
        refresh::whole_seconds(error.retry_after(self.clock.now()).unwrap_or(Duration::from_secs(1)))
    }
}

/// Users about whom it is remembered when they were last asked for.
const REMEMBERED: std::num::NonZeroUsize = match std::num::NonZeroUsize::new(65_536) {
    Some(remembered) => remembered,
    None => std::num::NonZeroUsize::MIN,
};

/// Longer than a call and what is recorded about it.
const LAST_CALLS: Duration = Duration::from_secs(30);

/// Calls that no browser waits for, at the same time.
const BACKGROUND_CALLS: usize = 8;
