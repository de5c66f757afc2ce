//! Shows a long replay: a bar on a terminal, a line every few seconds elsewhere, and one line at the end.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::{App, OpenError, Opened, Replayed};
use crate::clock::Clock;

/// A replay that takes less than this shows nothing on the way.
const SOON: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_secs(3);

/// Replays, and says how far it is.
pub(super) async fn shown(opened: Opened, clock: Arc<dyn Clock>) -> Result<(Arc<App>, Replayed), OpenError> {
    let terminal = std::io::stderr().is_terminal().then(ProgressDrawTarget::stderr);
    shown_on(terminal, opened, clock).await
}

/// Like [`shown`], on that terminal, or in the traces where there is none.
async fn shown_on(
    terminal: Option<ProgressDrawTarget>,
    opened: Opened,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<App>, Replayed), OpenError> {
    let records = opened.records();
    let progress = opened.progress();
    let replay = opened.replay();
    tokio::pin!(replay);
    let bar = terminal.map(|terminal| new_bar(terminal, records));
    let mut pause = SOON;
    let replayed = loop {
        tokio::select! {
            biased;
            replayed = &mut replay => break replayed,
            () = clock.sleep(pause) => {
                let done = progress.borrow().position.map_or(0, |position| position.0 + 1);
                if let Some(bar) = &bar {
                    pause = Duration::from_millis(100);
                    bar.set_position(done.min(records));
                } else {
                    pause = EVERY;
                    tracing::info!(records = done, of = records, "replaying the log");
                }
            }
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let (app, found) = replayed?;
    tracing::info!(
        events = found.events,
        stored = (found.stored > 0).then_some(found.stored),
        sessions = found.sessions,
        took = ?found.took,
        "{}",
        outcome(&found)
    );
    Ok((app, found))
}

/// Says what was replayed, in one line.
fn outcome(found: &Replayed) -> String {
    let after = match found.stored {
        0 => String::new(),
        stored => format!(" after a stored state of {}", counted(stored, "record")),
    };
    let (events, sessions) = (counted(found.events, "event"), counted(found.sessions as u64, "live session"));
    format!("replayed the log: {events}{after}, {sessions}, {:.1?}", found.took)
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Makes a bar that is not drawn until it is first told a position.
fn new_bar(terminal: ProgressDrawTarget, records: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(records), terminal);
    let style = ProgressStyle::with_template(
        "replaying the log {bar:32} {human_pos} of {human_len} records, {eta} left",
    );
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
