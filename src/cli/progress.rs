//! Shows how far long work is: a bar, and only where somebody watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outside::Outside;

/// How far something is.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show work on `of` records.
    pub(super) fn new(outside: &Outside, what: &str, of: u64) -> Progress {
        let target = match outside.stderr_is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(of), target);
        let template = format!("{what} {{bar:32}} {{human_pos}} of {{human_len}} records, {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        Progress { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    /// Begins to show work on nobody knows how many records.
    pub(super) fn endless(outside: &Outside, what: &str) -> Progress {
        let progress = Progress::new(outside, what, 0);
        let style = ProgressStyle::with_template(&format!("{what}: {{human_pos}} records, {{elapsed}}"));
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        progress.bar.unset_length();
        Progress { bar: progress.bar.clone().with_style(style) }
    }

    /// Says that so many are done.
    pub(super) fn done(&self, records: u64) {
        self.bar.set_position(records);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
