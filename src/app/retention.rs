//! Ageing: the keys of months that are past are destroyed, and with them every address and user agent of theirs.

use std::time::Duration;

use super::{App, By, ExecuteError};
use crate::crypto::{Forget, KeyError};
use crate::domain::command::Command;
use crate::domain::id::Position;
use crate::domain::time::{Month, Timestamp};
use crate::event_log::codec;

const A_DAY: Duration = Duration::from_secs(86_400);

/// A server that stands still for longer waits for a day before it ends a month.
const A_WEEK: Duration = Duration::from_secs(7 * 86_400);

/// When both clocks were looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    wall: Timestamp,
    monotonic: Duration,
}

/// Why months were not destroyed, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// It could not be recorded.
    #[error("the end of a month's key could not be recorded")]
    Execute(#[source] ExecuteError),
    /// It is recorded, but the keys are still there.
    #[error(
        "the end of a month's key is recorded, but the key could not be destroyed; the next start does it"
    )]
    Keys(#[source] KeyError),
}

impl App {
    /// Returns the months whose keys [`apply_retention`](Self::apply_retention) would destroy now.
    pub fn retention_due(&self, retention: Duration) -> Vec<Month> {
        past_months(self.keys().months(), self.clock.now(), retention)
    }

    /// Destroys the keys of months that ended longer than `retention` ago, and returns which those were.
    ///
    /// The record comes first: a start destroys again what it names, so a kill in between keeps nothing.
    pub async fn apply_retention(&self, retention: Duration, by: &By) -> Result<Vec<Month>, RetentionError> {
        let past = self.retention_due(retention);
        if past.is_empty() {
            return Ok(past);
        }
        let recorded = self.execute(Command::DestroyMonths { months: past.clone() }, by).await;
        recorded.map_err(RetentionError::Execute)?;
        let gone = Forget { months: past.iter().copied().collect(), ..Forget::default() };
        self.keys().forget(gone).await.map_err(RetentionError::Keys)?;
        Ok(past)
    }

    /// Makes go what is to be gone, once a day: keys that the log says were destroyed, and those of past months.
    ///
    /// Months end for good, so a clock that has just been found far ahead must not end any: the server waits
    /// until that is also the time a day later. Returns when it looked, for the next time.
    pub(super) async fn settle_what_is_gone(&self, retention: Duration, yesterday: Option<Look>) -> Look {
        let look = Look { wall: self.clock.now(), monotonic: self.clock.monotonic() };
        if let Err(error) = self.forget_again().await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                error,
                "keys that the log says were destroyed are still here; it is tried again tomorrow"
            );
        }
        let due = self.retention_due(retention);
        if due.is_empty() {
            return look;
        }
        if !self.is_about_now(look, yesterday).await {
            tracing::warn!(
                now = %look.wall,
                months = ?due,
                "the clock is far ahead of what the log knows, so no month is ended today; is it right?"
            );
            return look;
        }
        match self.apply_retention(retention, &By::SYSTEM).await {
            Ok(months) => {
                tracing::info!(?months, "addresses and user agents of past months were made unreadable");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    error,
                    "past months could not be made unreadable; it is tried again tomorrow"
                );
            }
        }
        look
    }

    /// Returns whether the wall clock has stood about here for a day: by the look before this one, or, at a
    /// start, by what was written to the log.
    async fn is_about_now(&self, look: Look, yesterday: Option<Look>) -> bool {
        match yesterday {
            Some(before) => {
                let passed = look.monotonic.saturating_sub(before.monotonic);
                look.wall.since(before.wall.plus(passed)) <= A_DAY
            }
            None => {
                let written = self.newest_until(look.wall.minus(A_DAY)).await;
                written.is_some_and(|written| look.wall.since(written) <= A_WEEK + A_DAY)
            }
        }
    }

    /// Returns when the newest record was written that is not younger than this.
    ///
    /// It steps back from the end, twice as far each time: a day may have very many records.
    async fn newest_until(&self, limit: Timestamp) -> Option<Timestamp> {
        let mut old = self.state().position()?.0;
        let (mut young, mut step) = (old + 1, 1);
        while self.written_at(old).await? > limit {
            if old == 0 {
                return None;
            }
            young = old;
            old = old.saturating_sub(step);
            step *= 2;
        }
        while young - old > 1 {
            let middle = old + (young - old) / 2;
            if self.written_at(middle).await? > limit { young = middle } else { old = middle }
        }
        self.written_at(old).await
    }

    async fn written_at(&self, position: u64) -> Option<Timestamp> {
        let mut follow = self.log.follow(Position(position));
        let chunk = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return None,
            chunk = follow.next() => chunk.ok()?,
        };
        let (_, frame) = chunk.first()?;
        codec::decode_record(frame).ok().map(|record| record.at)
    }

    /// Destroys again what the log says is gone: the keys may have been restored from before that.
    pub(super) async fn forget_again(&self) -> Result<(), KeyError> {
        let gone = {
            let state = self.state();
            Forget { subs: state.erased().collect(), months: state.destroyed().collect() }
        };
        let found = self.keys().forget(gone).await?;
        if !found.is_empty() {
            let (users, months) = (found.subs.len(), found.months.len());
            tracing::warn!(
                users,
                months,
                "keys that the log says were destroyed were here again, and are gone now"
            );
        }
        Ok(())
    }
}

/// Returns the months that were over before `retention` began.
fn past_months(months: impl IntoIterator<Item = Month>, now: Timestamp, retention: Duration) -> Vec<Month> {
    let first_kept = now.minus(retention).month();
    months.into_iter().filter(|month| *month < first_kept).collect()
}

#[cfg(test)]
mod tests;
