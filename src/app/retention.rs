//! Ageing: the keys of months that are past are destroyed, and with them every address and user agent of theirs.

use std::time::Duration;

use super::{App, By, ExecuteError};
use crate::crypto::{Forget, KeyError};
use crate::domain::command::Command;
use crate::domain::time::{Month, Timestamp};

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
mod tests {
    use super::*;

    #[test]
    fn a_month_is_past_once_all_of_it_is_older_than_what_is_kept() {
        let months = || [202_510, 202_511, 202_512, 202_601].map(Month);
        let now = Timestamp(1_767_323_045_000); // 2026-01-02T03:04:05Z
        let past = |days: u64| past_months(months(), now, Duration::from_secs(days * 86_400));
        assert_eq!(past(1), [202_510, 202_511, 202_512].map(Month), "yesterday was January already");
        assert_eq!(
            past(2),
            [202_510, 202_511].map(Month),
            "the last days of December are kept, so all of it is"
        );
        assert_eq!(past(32), [202_510, 202_511].map(Month));
        assert_eq!(past(33), [202_510].map(Month));
        assert_eq!(past(400), []);
    }
}
