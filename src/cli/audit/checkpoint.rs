//! `doorbook audit checkpoint`: what to keep elsewhere, so that nobody can cut the log's end off unseen.

use std::io::Write as _;

use super::with_reading;
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::outside::Outside;
use crate::cli::rows::visible_lines;

/// Print the newest signed checkpoint, to be kept elsewhere
///
/// It is a signed note as C2SP has it: three lines, and a signature that others' tools can check too. Keep it
/// where whoever owns this machine cannot change it, and give it to `audit verify --checkpoint` one day.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit checkpoint > monday.txt\n  doorbook audit checkpoint --key"
)]
pub(in crate::cli) struct Args {
    /// Print the public keys instead, as `golang.org/x/mod/sumdb/note` reads them; the current one is the last
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    with_reading(args.flags, outside, async |reading, outside| {
        let text = if args.key {
            let keys = reading.reader.verifier_keys().await?;
            keys.iter().map(|key| format!("{key}\n")).collect::<String>()
        } else {
            let newest = reading.reader.newest_checkpoint().await?;
            let nobody = "nobody has signed for the log yet: that comes within an hour of the first record, and at every stop";
            newest.ok_or_else(|| Failure::No(nobody.to_owned()))?.note
        };
        // Whoever keeps it needs every byte; a terminal must not obey a log that somebody sent.
        let text = if outside.stdout_is_terminal { visible_lines(&text) } else { text };
        outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output)
    })
}
