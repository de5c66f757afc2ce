//! Diagnostics: what the program says about itself on standard error.
//!
//! Never in them: tokens, cookies, codes, states, secrets, addresses of people, names, Discord ids. The types
//! help: secrets and ids print as nothing.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::config::LogFormat;
use crate::event_log;

/// What is written where nobody said otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Sets diagnostics up for the whole process, and makes a panic one line of them.
///
/// A second call changes nothing.
pub fn init(format: Option<LogFormat>, filter: &str) {
    let filter = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let terminal = io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = fmt::layer().with_writer(io::stderr);
    let format = format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    let lines = match format {
        LogFormat::Pretty => lines.with_ansi(terminal && !plain).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let set = Registry::default().with(lines.with_filter(filter)).try_init();
    if set.is_ok() {
        std::panic::set_hook(Box::new(on_panic));
    }
}

/// One line with the place, and no backtrace: what a panic says may hold what must not be written.
fn on_panic(info: &PanicHookInfo<'_>) {
    let (file, line) = info.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
    if is_quiet(file) {
        return;
    }
    tracing::error!(at = %format_args!("{file}:{line}"), "a part of the program panicked; the rest goes on");
}

/// sled panics on a damaged database; whoever opens it catches that and says it in a sentence.
fn is_quiet(file: &str) -> bool {
    event_log::quiet_panics() || event_log::is_sled_source(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_panics_that_somebody_catches_are_quiet() {
        assert!(is_quiet("registry/src/index/sled-0.34.7/src/pagecache/mod.rs"));
        assert!(!is_quiet("src/serve.rs"));
    }
}
