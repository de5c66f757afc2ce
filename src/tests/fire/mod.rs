//! Fire: kills, power cuts, failing disks and damaged files, met by the real program.
//!
//! Each story repeats one fault at random moments. `FIRE_SEED` repeats what was chosen (when a process is hit,
//! and how much its files hold by then, is the machine's own doing), and a variable of each story says how often: `FIRE_KILLS=1000`. What was found to be
//! wrong is copied to the directory that `FIRE_KEEP` names.

mod damage;
mod dice;
mod failing;
mod kills;
mod life;
mod mounted;
mod platter;
mod power;

/// Says how far a story is, for whoever waits for it (`--nocapture`).
#[expect(clippy::print_stderr, reason = "a story of an hour says how far it is")]
fn say(figures: &str) {
    eprintln!("{figures}");
}

/// Copies a data directory that is not as it should be, where somebody wants to look at it.
fn keep(data_dir: &std::path::Path) {
    if let Some(kept) = std::env::var_os("FIRE_KEEP") {
        let copied = std::process::Command::new("cp").arg("-a").arg(data_dir).arg(kept).status();
        assert!(copied.expect("cp runs").success());
    }
}
