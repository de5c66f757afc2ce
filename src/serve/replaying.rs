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
        sessions = found.sessions,
        took = ?found.took,
        "replayed the log: {}, {}, {:.1?}",
        counted(found.events, "event"),
        counted(found.sessions as u64, "live session"),
        found.took
    );
    Ok((app, found))
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
