//! The rules: what decides now, and other rules that take over.

use std::sync::Arc;

use super::{App, By, ExecuteError};
use crate::domain::command::Command;
use crate::domain::id::Position;
use crate::domain::rules::Rules;

impl App {
    /// Returns the rules that decide now.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Lets other rules decide, once the log says so; returns where it does.
    ///
    /// Nowhere where what decides is the same: then only what it is called, and how long sessions last, may be
    /// another. Where it fails the old rules stay.
    pub async fn change_rules(&self, rules: Rules, by: &By) -> Result<Option<Position>, ExecuteError> {
        let rules = Arc::new(rules);
        let _one = self.ruling.lock().await;
        let done = self.execute(Command::ChangeRules(rules.clone()), by).await?;
        self.rules.store(rules);
        Ok(done.position())
    }
}

#[cfg(test)]
mod tests;
