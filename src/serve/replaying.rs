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
    let records = opened.records();
    let progress = opened.progress();
    let replay = opened.replay();
    tokio::pin!(replay);
    let terminal = std::io::stderr().is_terminal();
    let mut pause = SOON;
    let mut bar: Option<ProgressBar> = None;
    let replayed = loop {
        tokio::select! {
            biased;
            replayed = &mut replay => break replayed,
            () = clock.sleep(pause) => {
                let done = progress.borrow().position.map_or(0, |position| position.0 + 1);
                if terminal {
                    pause = Duration::from_millis(100);
                    bar.get_or_insert_with(|| new_bar(records)).set_position(done.min(records));
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

fn new_bar(records: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "replaying the log {bar:32} {human_pos} of {human_len} records, {eta} left",
    );
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_replayed_and_what_was_not() {
        let took = Duration::from_micros(3_200);
        let mut found = Replayed { stored: 0, records: 9, events: 14, sessions: 1, took };
        assert_eq!(outcome(&found), "replayed the log: 14 events, 1 live session, 3.2ms");
        found.stored = 65_536;
        let after =
            "replayed the log: 14 events after a stored state of 65536 records, 1 live session, 3.2ms";
        assert_eq!(outcome(&found), after);
    }
}
