//! What the room records by itself: sightings, roll-ups of strangers, and steps of the wall clock.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{App, By, open, sightings};
use crate::domain::command::Command;
use crate::domain::record::Actor;

/// How often the clocks are compared and strangers are rolled up.
const TICK: Duration = Duration::from_secs(10);

/// How many sightings may be on their way to the log at once; more wait in the queue.
const UNDER_WAY: usize = 512;

impl App {
    /// Records due sightings and roll-ups until the process ends; off the request path.
    pub async fn run_background(self: Arc<Self>) {
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
                () = self.stopping.cancelled() => return,
                next = due.recv() => {
                    let Some(next) = next else { return };
                    let Ok(permit) = under_way.clone().acquire_owned().await else { return };
                    let app = self.clone();
                    // What waits together shares one flush, so each goes its own way to the log.
                    tokio::spawn(async move {
                        app.record_sighting(next).await;
                        drop(permit);
                    });
                }
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
            }
        }
    }

    async fn record_sighting(&self, due: sightings::Due) {
        let user = self.state().session(due.session).map(|session| session.user);
        if let Some(user) = user {
            let by = By {
                actor: Actor::user(user, Some(due.session)),
                request: None,
                cause: None,
                route: None,
                origin: due.origin,
            };
            self.report(Command::SeeSession { session: due.session }, &by).await;
        }
        self.sightings.recorded(due.session);
    }
}
