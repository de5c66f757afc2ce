//! Start: claim the data directory, open the keys, replay the log, and write down that we are here.

mod error;
mod ready;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

pub use self::error::OpenError;
use super::applier::{self, Folded, Progress};
use super::{App, By, KeyedLocks, stored};
use crate::clock::Clock;
use crate::crypto::{KeyRing, KeySettings};
use crate::disk::Disk;
use crate::domain::command::{Command, CreateLog};
use crate::domain::decide::decide;
use crate::domain::event::{MadeBy, RestoredFrom};
use crate::domain::id::{Hash, LogId, Position, Secret, WriterId};
use crate::domain::record::{Context, Record};
use crate::domain::rules::Rules;
use crate::domain::state::State;
use crate::entropy::Entropy;
use crate::event_log::EventLog;
use crate::event_log::codec;
use crate::event_log::start::{self, Begun, Loss, StartSettings, Started};
use crate::event_log::states::StatesDir;
use crate::event_log::{Pace, Probe};

/// How far the wall clock may be from where it should be.
pub(super) const STEP: Duration = Duration::from_secs(2);
const A_DAY: Duration = Duration::from_secs(86_400);
/// Sightings that may wait for the log at once; more are noted at their next use.
const SIGHTINGS_WAITING: usize = 4_096;

/// What the room needs to open.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `log/`, `HEAD`, `keys/` and `states/` are.
    pub data_dir: PathBuf,
    /// Mixed into the key that protects `keys/`.
    pub encrypt_secret: Option<Secret>,
    /// Authenticates login attempts, where it is given.
    pub cookie_secret: Option<Secret>,
    /// On whose behalf it is opened.
    pub role: Role,
    /// The version of doorbook.
    pub version: String,
    /// Who may sign in, and for how long.
    pub rules: Rules,
    /// How a copy of the log is looked through after an unclean stop.
    pub probe: Probe,
}

impl Settings {
    fn accepted(&self) -> Accepted {
        match self.role {
            Role::Server { accepted, .. } => accepted,
            Role::Command => Accepted::default(),
        }
    }
}

/// On whose behalf a log is opened.
#[derive(Debug, Clone)]
pub enum Role {
    /// A server, which makes the log where there is none and writes down its start and its end.
    Server {
        /// Which command this is; `serve` refuses a log that `demo` made.
        made_by: MadeBy,
        /// The public origin.
        origin: String,
        /// SHA-256 of the configuration without its secrets.
        config: Hash,
        /// What it may go on without.
        accepted: Accepted,
    },
    /// A command of the operator while no server runs.
    Command,
}

/// What the operator gives up, so that a start goes on where it would refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Acknowledged records that are gone.
    pub loss: bool,
    /// Users whose keys are gone: they are erased, because nothing of theirs can ever be read again.
    pub missing_keys: bool,
}

/// A log that is open but not yet replayed.
pub struct Opened {
    app: Arc<App>,
    head: Option<Position>,
    loss: Option<Loss>,
    restored: Option<RestoredFrom>,
    clean: bool,
    settings: Settings,
    log_id: LogId,
}

/// What a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Records that a stored state stood for; none where there was none that the log vouches for.
    pub stored: u64,
    /// Records that were replayed.
    pub records: u64,
    /// Events in these.
    pub events: u64,
    /// Sessions that count now.
    pub sessions: usize,
    /// How long it took.
    pub took: Duration,
}

impl App {
    /// Opens the data directory and begins to replay; see [`Opened::replay`].
    ///
    /// It blocks, for long after an unclean stop: to be called where that is fine.
    pub fn open(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
    ) -> Result<Opened, OpenError> {
        let accept_loss = settings.accepted().loss;
        if matches!(settings.role, Role::Command) && !start::is_begun(&settings.data_dir)? {
            start::check_path(&settings.data_dir)?;
            return Err(OpenError::NoLog { data_dir: settings.data_dir });
        }
        if matches!(settings.role, Role::Server { .. }) {
            settings.rules.recordable()?;
        }
        let begun = start::begin(StartSettings {
            data_dir: settings.data_dir.clone(),
            accept_loss,
            probe: settings.probe.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            pace: Pace::default(),
        })?;
        let keys_of = |log_id| KeySettings {
            dir: settings.data_dir.join("keys"),
            log_id,
            encrypt_secret: settings.encrypt_secret.clone(),
            cookie_secret: settings.cookie_secret.clone(),
        };
        let writer = WriterId(entropy.draw());
        let (keys, started) = match begun {
            Begun::New(new) => {
                let log_id = new.log_id();
                let keys = KeyRing::create(keys_of(log_id), entropy.clone(), disk.clone())?;
                if keys.subject_count() > 0 {
                    // Somebody has signed in here: a log that says otherwise is not the one they signed in to.
                    return Err(OpenError::UsersWithoutLog { users: keys.subject_count() });
                }
                let frame = first_record(&settings, log_id, &keys, writer, &*clock, &*entropy)?;
                (keys, new.finish(frame)?)
            }
            Begun::Existing(existing) => {
                let log_id = existing.log_id();
                // The keys first: a wrong ENCRYPT_SECRET is found before anything is written.
                let keys = KeyRing::open(keys_of(log_id), entropy.clone(), disk.clone())?;
                (keys, existing.open()?)
            }
        };
        App::assemble(settings, clock, entropy, disk, keys, writer, started)
    }

    /// Puts the parts together, and begins to replay.
    fn assemble(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        disk: Arc<dyn Disk>,
        keys: KeyRing,
        writer: WriterId,
        started: Started,
    ) -> Result<Opened, OpenError> {
        let Started { engine, head, clean, loss, restored } = started;
        let log_id = keys.log_id();
        let log = EventLog::new(engine);
        let states = Arc::new(StatesDir::new(settings.data_dir.join("states"), disk));
        let folded = Arc::new(RwLock::new(Folded::default()));
        let waiting = Arc::new(applier::Waiting::default());
        let (progress_sender, progress) =
            watch::channel(Progress { position: None, stopped: false, events: 0, begun_at: None });
        let fold = {
            let (folded, waiting) = (folded.clone(), waiting.clone());
            let (states, log) = (states.clone(), log.clone());
            let run = move || {
                let begin =
                    || log.follow(stored::take_up(&states, &log, log_id, head, &folded, &progress_sender));
                applier::run(begin, &folded, &waiting, &progress_sender)
            };
            std::thread::Builder::new().name("doorbook-fold".into()).spawn(run).map_err(OpenError::Thread)?
        };
        let (sightings_due, sightings_queue) = mpsc::channel(SIGHTINGS_WAITING);
        let app = Arc::new(App {
            folded,
            log,
            states,
            data_dir: settings.data_dir.clone(),
            keys: Arc::new(keys),
            rules: ArcSwap::from_pointee(settings.rules.clone()),
            ruling: tokio::sync::Mutex::new(()),
            clock,
            entropy,
            writer,
            version: settings.version.clone(),
            waiting,
            progress,
            fold: Mutex::new(Some(fold)),
            locks: KeyedLocks::default(),
            profiles: super::facts::OpenProfiles::default(),
            memberships: super::facts::OpenMemberships::default(),
            sightings: super::sightings::Sightings::default(),
            sightings_due,
            sightings_queue: Mutex::new(Some(sightings_queue)),
            strangers: super::strangers::Strangers::default(),
            room: super::room::Room::new(),
            signing: tokio::sync::Mutex::new(()),
            signature_due: tokio::sync::Notify::new(),
            has_appended: AtomicBool::new(false),
            last_stored: std::sync::atomic::AtomicU64::new(0),
            is_server: matches!(settings.role, Role::Server { .. }),
            closing: AtomicBool::new(false),
            stopping: tokio_util::sync::CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        });
        Ok(Opened { app, head, loss, restored, clean, settings, log_id })
    }
}

impl Opened {
    /// Returns how many records are to be replayed.
    pub fn records(&self) -> u64 {
        self.head.map_or(0, |head| head.0 + 1)
    }

    /// Returns how far the replay is, to be watched.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.app.progress.clone()
    }

    /// Replays to the end, checks what was found, and writes down that this process has started.
    pub async fn replay(self) -> Result<(Arc<App>, Replayed), OpenError> {
        let began = self.app.clock.monotonic();
        let mut progress = self.app.progress.clone();
        // Zero stopped folds: the sender lives as long as the fold's thread.
        let _ = progress.wait_for(|found| found.stopped || found.position >= self.head).await;
        if progress.borrow().stopped {
            let fold = self.app.fold.lock().unwrap_or_else(PoisonError::into_inner).take();
            let ended = match fold {
                Some(fold) => tokio::task::spawn_blocking(move || fold.join()).await,
                None => return Err(OpenError::Unfinished),
            };
            let _ = self.app.log.close().await;
            return Err(match ended {
                Ok(Ok(Err(error))) => OpenError::Fold(error),
                _ => OpenError::Unfinished,
            });
        }
        let took = self.app.clock.monotonic().saturating_sub(began);
        self.app.room.begin_at(self.app.frontier().size());
        let recorded = match self.check().await {
            Ok(handed) => self.record_start(handed).await.map_err(OpenError::Record),
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            let _ = self.app.close_log().await;
            return Err(error);
        }
        let now = self.app.clock.now();
        let sessions = self.app.state().sessions().filter(|session| session.is_live(now)).count();
        let Progress { events, begun_at, .. } = *self.app.progress.borrow();
        let stored = begun_at.map_or(0, |beginning| beginning.records);
        self.app.last_stored.fetch_max(stored, Ordering::Relaxed);
        let records = self.app.frontier().size().saturating_sub(stored);
        if let Some(beginning) = begun_at.filter(|_| self.app.is_server) {
            self.app.check_beginning(beginning);
        }
        Ok((self.app, Replayed { stored, records, events, sessions, took }))
    }
}

fn create_log(settings: &Settings, log: LogId, keys: &KeyRing) -> CreateLog {
    let (made_by, origin) = match &settings.role {
        Role::Server { made_by, origin, .. } => (*made_by, origin.clone()),
        Role::Command => (MadeBy::Other, String::new()),
    };
    CreateLog {
        log,
        origin,
        made_by,
        public_key: keys.signer_public_key(),
        version: settings.version.clone(),
    }
}

/// `log.created` is written by the start procedure itself, before there is a fold.
fn first_record(
    settings: &Settings,
    log: LogId,
    keys: &KeyRing,
    writer: WriterId,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, OpenError> {
    let now = clock.now();
    let decided = decide(
        &State::default(),
        &Default::default(),
        &settings.rules,
        Command::CreateLog(create_log(settings, log, keys)),
        now,
    );
    let events = decided.into_iter().flatten().flat_map(|decision| decision.events);
    let random = entropy.draw::<10>();
    let millis = u64::try_from(now.0).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes();
    let record = Record {
        id: crate::domain::id::RecordId(id),
        at: now,
        subject: None,
        context: Context { writer, actor: By::SYSTEM.actor, request: None, cause: None, route: None },
        events: events.map(|draft| draft.event).collect(),
        sealed: vec![],
    };
    codec::encode_record(&record).map_err(OpenError::Encode)
}

#[cfg(test)]
mod tests;
