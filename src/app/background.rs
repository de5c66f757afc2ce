//! What the room records by itself: sightings, roll-ups of strangers, and steps of the wall clock.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{App, By, open, sightings};
use crate::domain::command::Command;
use crate::domain::record::Actor;

/// How often the clocks are compared and strangers are rolled up.
const TICK: Duration = Duration::from_secs(10);

/// How often past months are looked for.
const A_DAY: Duration = Duration::from_secs(86_400);

/// How many sightings may be on their way to the log at once; more wait in the queue.
const UNDER_WAY: usize = 512;

impl App {
    /// Records due sightings and roll-ups until the process ends, and once a day destroys the keys of months that
    /// ended longer than `retention` ago and looks at the age of the escrow; off the request path.
    pub fn start_background(self: &Arc<Self>, retention: Duration) {
        let app = self.clone();
        self.tasks.spawn(async move { app.run_background().await });
        self.tasks.spawn(self.clone().run_clerk());
        let log = self.log.clone();
        self.tasks.spawn(async move {
            if let Err(error) = log.keep_index() {
                tracing::warn!(%error, "the index of the log is not kept; questions about the log take longer");
            }
        });
        let app = self.clone();
        self.tasks.spawn(async move { app.run_retention(retention).await });
    }

    async fn run_retention(&self, retention: Duration) {
        let mut at_start = true;
        let mut yesterday = None;
        loop {
            yesterday = Some(self.settle_what_is_gone(retention, yesterday).await);
            self.look_at_escrow(at_start);
            at_start = false;
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = self.clock.sleep(A_DAY) => {}
            }
        }
    }

    async fn run_background(self: Arc<Self>) {
        let Some(mut due) = self.sightings_queue.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut last_wall = self.clock.now();
        let mut last_monotonic = self.clock.monotonic();
        let mut tick = self.clock.sleep(TICK);
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                () = &mut tick => {
                    tick = self.clock.sleep(TICK);
                    let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
                    let expected = last_wall.plus(monotonic.saturating_sub(last_monotonic));
                    if wall.since(expected) > open::STEP || expected.since(wall) > open::STEP {
                        tracing::warn!(from = %expected, to = %wall, "the wall clock jumped");
                        self.report(Command::StepClock { from: expected, to: wall }, &By::SYSTEM).await;
                    }
                    (last_wall, last_monotonic) = (wall, monotonic);
                    if let Some(over) = self.strangers.turn(wall) {
                        self.report(over, &By::SYSTEM).await;
                    }
                    let state = self.state();
                    self.sightings.retain(|id| state.session(id).is_some());
                }
                (permit, next) = next_sighting(&under_way, &mut due) => {
                    let (Some(permit), Some(next)) = (permit, next) else { break };
                    let app = self.clone();
                    // What waits together shares one flush, so each goes its own way to the log.
                    self.tasks.spawn(async move {
                        app.record_sighting(next).await;
                        drop(permit);
                    });
                }
            }
        }
        // A use that is noted nowhere else: without its record the session might end too early.
        while let Ok(next) = due.try_recv() {
            let app = self.clone();
            self.tasks.spawn(async move { app.record_sighting(next).await });
        }
    }

    async fn record_sighting(&self, due: sightings::Due) {
        let user = self.state().session(due.session).map(|session| session.user);
        let mut recorded = true;
        if let Some(user) = user {
            let by = By {
                actor: Actor::user(user, Some(due.session)),
                request: None,
                cause: None,
                route: None,
                origin: due.origin,
            };
            recorded = self.report(Command::SeeSession { session: due.session }, &by).await;
        }
        self.sightings.settle(due.session, recorded);
    }
}

/// Takes a place first and the sighting then, so that one that is not taken stays in the queue.
async fn next_sighting(
    under_way: &Arc<Semaphore>,
    due: &mut mpsc::Receiver<sightings::Due>,
) -> (Option<OwnedSemaphorePermit>, Option<sightings::Due>) {
    let permit = under_way.clone().acquire_owned().await.ok();
    (permit, due.recv().await)
}
