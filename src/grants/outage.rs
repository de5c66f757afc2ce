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
                let command = match current {
                    Some(stop) => Command::NoteOutage { cause: stop.cause, until: stop.until },
                    None => Command::NoteRecovery,
                };
                if current.is_some() {
                    let rest = recorded_at
                        .map(|at| (at + A_MINUTE).saturating_sub(grants.clock.monotonic()))
                        .unwrap_or_default();
                    if !rest.is_zero() {
                        tokio::select! {
                            biased;
                            () = grants.stopping.cancelled() => return,
                            () = grants.clock.sleep(rest) => {}
                        }
                        if *outage.borrow() != current {
                            continue;
                        }
                    }
                    recorded_at = Some(grants.clock.monotonic());
                }
                grants.app.report(command, &By::SYSTEM).await;
                tokio::select! {
                    biased;
                    () = grants.stopping.cancelled() => return,
                    changed = outage.changed() => if changed.is_err() { return },
                }
            }
        });
    }
}
