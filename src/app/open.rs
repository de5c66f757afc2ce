//! Start: claim the data directory, open the keys, replay the log, and write down that we are here.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::applier::{self, FoldError, Folded, Progress};
use super::{App, By, ExecuteError, KeyedLocks, stored};
use crate::clock::Clock;
use crate::crypto::{KeyError, KeyRing, KeySettings};
use crate::disk::Disk;
use crate::domain::command::{AcceptLoss, Command, CreateLog};
use crate::domain::decide::decide;
use crate::domain::event::{MadeBy, RestoredFrom};
use crate::domain::id::{Hash, LogId, Position, Secret, WriterId};
use crate::domain::record::{Context, Record};
use crate::domain::rules::Rules;
use crate::domain::state::State;
use crate::entropy::Entropy;
use crate::event_log::EventLog;
use crate::event_log::codec::{self, EncodeError};
use crate::event_log::start::{self, Begun, Loss, StartError, StartSettings, Started};
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
        /// Whether to go on although acknowledged records are gone.
        accept_loss: bool,
    },
    /// A command of the operator while no server runs.
    Command,
}

/// Why doorbook cannot start on this directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A command makes no log.
    #[error("there is no log in {}", data_dir.display())]
    NoLog {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
    /// The log, or the directory.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A record.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The fold ended without a word.
    #[error("the log could not be replayed to its end")]
    Unfinished,
    /// A log for play is not one for a front door.
    #[error(
        "this log was made by `doorbook {made_by}` and cannot be used by `doorbook {wanted}`; use another data directory"
    )]
    MadeByAnother {
        /// The command that made it.
        made_by: MadeBy,
        /// The command that was given.
        wanted: MadeBy,
    },
    /// A user without a key: their tokens and profile can never be read again.
    #[error(
        "the key file `subjects` lacks {missing} of the log's users; put the whole of keys/ back as it was"
    )]
    SubjectsMissing {
        /// How many.
        missing: usize,
    },
    /// The key that the log names does not sign.
    #[error(
        "the key that signs for this log cannot be used; put the whole of keys/ back as it was, or the escrow that belongs to this log"
    )]
    Signer(#[source] KeyError),
    /// Keys that were destroyed are here again: nobody may be revived.
    #[error("keys that the log says were destroyed are here again, and could not be destroyed")]
    Forget(#[source] KeyError),
    /// The first records could not be written.
    #[error("the start could not be recorded")]
    Record(#[source] ExecuteError),
    /// The keys of people, and no log that knows them.
    #[error("keys/ knows {users} users, but the log is empty; put the log back that belongs to these keys")]
    UsersWithoutLog {
        /// How many.
        users: usize,
    },
    /// The fold has no thread to run on.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The first record has no bytes.
    #[error("the first record cannot be written")]
    Encode(#[source] EncodeError),
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
        let accept_loss = matches!(settings.role, Role::Server { accept_loss: true, .. });
        if matches!(settings.role, Role::Command) && !start::is_begun(&settings.data_dir)? {
            start::check_path(&settings.data_dir)?;
            return Err(OpenError::NoLog { data_dir: settings.data_dir });
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
        let (log_id, keys, started) = match begun {
            Begun::New(new) => {
                let log_id = new.log_id();
                let keys = KeyRing::create(keys_of(log_id), entropy.clone(), disk.clone())?;
                if keys.subject_count() > 0 {
                    // Somebody has signed in here: a log that says otherwise is not the one they signed in to.
                    return Err(OpenError::UsersWithoutLog { users: keys.subject_count() });
                }
                let frame = first_record(&settings, log_id, &keys, writer, &*clock, &*entropy)?;
                (log_id, keys, new.finish(frame)?)
            }
            Begun::Existing(existing) => {
                let log_id = existing.log_id();
                // The keys first: a wrong ENCRYPT_SECRET is found before anything is written.
                let keys = KeyRing::open(keys_of(log_id), entropy.clone(), disk.clone())?;
                (log_id, keys, existing.open()?)
            }
        };
        let Started { engine, head, clean, loss, restored } = started;
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
            rules: settings.rules.clone(),
            clock,
            entropy,
            writer,
            version: settings.version.clone(),
            waiting,
            progress,
            fold: Mutex::new(Some(fold)),
            locks: KeyedLocks::default(),
            profiles: super::facts::OpenProfiles::default(),
            sightings: super::sightings::Sightings::default(),
            sightings_due,
            sightings_queue: Mutex::new(Some(sightings_queue)),
            strangers: super::strangers::Strangers::default(),
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
        let checked = match self.check() {
            Ok(()) => self.app.take_over_keys().await,
            refused => refused,
        };
        if let Err(error) = checked {
            let _ = self.app.close_log().await;
            return Err(error);
        }
        if let Err(error) = self.record_start().await {
            let _ = self.app.close_log().await;
            return Err(OpenError::Record(error));
        }
        let now = self.app.clock.now();
        let sessions = self.app.state().sessions().filter(|session| session.is_live(now)).count();
        let Progress { events, begun_at, .. } = *self.app.progress.borrow();
        let stored = begun_at.map_or(0, |beginning| beginning.records);
        let records = self.app.frontier().size().saturating_sub(stored);
        if let Some(beginning) = begun_at.filter(|_| self.app.is_server) {
            self.app.check_beginning(beginning);
        }
        Ok((self.app, Replayed { stored, records, events, sessions, took }))
    }

    fn check(&self) -> Result<(), OpenError> {
        let state = self.app.state();
        if let (Some(log), Role::Server { made_by, .. }) = (state.log(), &self.settings.role)
            && log.made_by != *made_by
        {
            return Err(OpenError::MadeByAnother { made_by: log.made_by, wanted: *made_by });
        }
        let missing = state.users().filter(|(sub, _)| !self.app.keys.has_subject(*sub)).count();
        if missing > 0 {
            return Err(OpenError::SubjectsMissing { missing });
        }
        Ok(())
    }

    async fn record_start(&self) -> Result<(), ExecuteError> {
        let app = &self.app;
        if let Some(loss) = &self.loss {
            let lost = AcceptLoss {
                head_sequence: loss.head_sequence,
                head_position: loss.head_position,
                head_leaf: loss.head_leaf,
                last_found: loss.last_found,
                salvaged: loss.salvaged.as_ref().map(|(_, hash)| *hash),
                created: loss.is_total().then(|| create_log(&self.settings, self.log_id, &app.keys)),
            };
            app.execute(Command::AcceptLoss(lost), &By::SYSTEM).await?;
        } else if let Some(source) = self.restored {
            // Whoever signed out since the copy was taken is signed in by it: that ends here.
            let tree = app.frontier();
            tracing::warn!(%source, "this log was put back from a copy; every session ends");
            let restore = Command::RestoreLog { size: tree.size(), root: tree.root(), source };
            app.execute(restore, &By::SYSTEM).await?;
        }
        let (from, to) = (app.state().eff(), app.clock.now());
        if from.since(to) > STEP {
            tracing::warn!(%from, %to, "the wall clock is behind the log's last record");
            app.execute(Command::StepClock { from, to }, &By::SYSTEM).await?;
        } else if self.head.is_some() && to.since(from) > A_DAY {
            tracing::warn!(last_record = %from, now = %to, "the log's last record is more than a day old; is the clock right?");
        }
        if !self.clean && self.restored.is_none() {
            tracing::warn!("the last stop was not clean; the log was checked and is whole");
        }
        let Role::Server { config, .. } = self.settings.role else { return Ok(()) };
        let log_size = self.records();
        let command =
            Command::StartServer { version: app.version.clone(), writer: app.writer, config, log_size };
        app.execute(command, &By::SYSTEM).await.map(drop)
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
