//! SIGHUP: the configuration is read again, and its rules decide from then on; a bad one is refused as a whole.

use std::convert::Infallible;

use crate::app::{App, By};
use crate::config::{Config, ConfigErrors, Mistake, Reloaded, Sources};
use crate::domain::record::Actor;

use super::signals::Hangups;

/// How many mistakes one trace names.
const MISTAKES_SHOWN: usize = 20;

/// Reads the configuration again whenever somebody asks for it; never returns.
pub(super) async fn on_hangup(
    app: &App,
    running: &Config,
    sources: &Sources,
    hangups: &mut Hangups,
) -> Infallible {
    loop {
        hangups.next().await;
        reload(app, running, sources).await;
    }
}

async fn reload(app: &App, running: &Config, sources: &Sources) {
    let sources = sources.clone();
    // It waits for files.
    let read = tokio::task::spawn_blocking(move || Config::read(&sources)).await;
    let config = match read {
        Ok(Ok(config)) => config,
        Ok(Err(errors)) => {
            tracing::error!(
                mistakes = %without_values(&errors),
                "SIGHUP: the configuration has mistakes, so the old rules stay; `doorbook config check` shows them whole"
            );
            return;
        }
        Err(panicked) => {
            tracing::error!(error = %panicked, "SIGHUP: the configuration could not be read, so the old rules stay");
            return;
        }
    };
    // Without the file that has them there are no rules, and then anybody may sign in.
    if let Some(file) = running.file.as_ref().filter(|file| config.file.as_ref() != Some(file)) {
        tracing::error!(
            file = %file.display(),
            "SIGHUP: the configuration is in another file now, or in none, so the old rules stay until a restart"
        );
        return;
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let now = app.rules();
    let Reloaded { rules, waiting } = config.read_again(running, &now);
    // An empty file is good TOML, and so is an `.env` that lost a line.
    if now.allow.is_some() && rules.allow.is_none() {
        tracing::error!(
            "SIGHUP: DOORBOOK_ALLOW is gone, so the old rules stay; opening sign-in to everybody needs a restart"
        );
        return;
    }
    if !waiting.is_empty() {
        tracing::warn!(settings = %waiting.join(", "), "SIGHUP: these settings are others now; they need a restart");
    }
    let (guarded, groups) = (rules.rules.len(), rules.groups.len());
    match app.change_rules(rules, &By { actor: Actor::OPERATOR, ..By::SYSTEM }).await {
        Ok(Some(position)) => {
            tracing::info!(
                position = position.0,
                rules = guarded,
                groups,
                "SIGHUP: other rules decide from now on"
            );
        }
        Ok(None) => tracing::info!("SIGHUP: the configuration was read again, and what decides is the same"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "SIGHUP: the rules could not be written down, so the old ones stay");
        }
    }
}

/// Says where the mistakes are and of which kind, without what was written there: it may name a person.
fn without_values(errors: &ConfigErrors) -> String {
    let mut all: Vec<String> = errors.0.iter().take(MISTAKES_SHOWN).map(Mistake::without_values).collect();
    if errors.0.len() > MISTAKES_SHOWN {
        all.push(format!("and {} more", errors.0.len() - MISTAKES_SHOWN));
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_repeated_in_a_trace() {
        let errors = crate::config::rules(
            "allow = \"user:nelly@example.org\"\n[[rule]]\nhost = \"a.example\"\nallow = [{ user = \"8\\\"035\" }]\n",
            None,
        );
        let said = without_values(&errors.expect_err("two mistakes"));
        assert_eq!(said, "rules:1: allow: is not a term; rules:4: rule.allow.user: is not a Discord id");
        assert!(!said.contains("nelly") && !said.contains("035"), "{said}");
    }
}
