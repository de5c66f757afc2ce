//! When calls to Discord stop and work again: recorded, so that a restart goes on waiting.

use std::sync::Arc;
use std::time::Duration;

use super::Grants;
use crate::app::By;
use crate::discord::Outage;
use crate::domain::command::Command;

/// At most one pair of records in this time.
const A_MINUTE: Duration = Duration::from_secs(60);

impl Grants {
    /// Takes up the pause that the log knows of, and records every change from now on.
    pub(super) fn follow_outages(self: &Arc<Self>) {
        let known = self.app.state().outage();
        if let Some(known) = known {
            self.client.pause_until(Outage { cause: known.cause, until: known.until });
        }
        let grants = self.clone();
        self.spawn(async move {
            let mut outage = grants.client.outage();
            let mut recorded_at: Option<Duration> = None;
            loop {
                let current = *outage.borrow_and_update();
                let rest = recorded_at
                    .map(|at| (at + A_MINUTE).saturating_sub(grants.clock.monotonic()))
                    .unwrap_or_default();
                let waits = grants.clock.now().plus(rest);
                // What outlasts the minute is worth a record at once; a flicker within it is not.
                let brief = current.is_some_and(|stop| stop.until.is_none_or(|until| until <= waits));
                if brief && !rest.is_zero() {
                    tokio::select! {
                        biased;
                        () = grants.stopping.cancelled() => return,
                        () = grants.clock.sleep(rest) => {}
                    }
                    if *outage.borrow() != current {
                        continue;
                    }
                }
                if current.is_some() {
                    recorded_at = Some(grants.clock.monotonic());
                }
                if !grants.record_outage().await {
                    // A ban must outlast a restart, so this is tried until it is written down.
                    tokio::select! {
                        biased;
                        () = grants.stopping.cancelled() => return,
                        () = grants.clock.sleep(Duration::from_secs(1)) => continue,
                    }
                }
                tokio::select! {
                    biased;
                    () = grants.stopping.cancelled() => return,
                    changed = outage.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// Records how things stand, where the log does not say so already.
    pub(super) async fn record_outage(&self) -> bool {
        let current = *self.client.outage().borrow();
        let command = match current {
            Some(stop) => Command::NoteOutage { cause: stop.cause, until: stop.until },
            None => Command::NoteRecovery,
        };
        self.app.report(command, &By::SYSTEM).await
    }
}
