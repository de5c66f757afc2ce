//! `doorbook health`.

use std::io::Write as _;
use std::sync::Arc;

use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::{Outside, block_on};
use crate::config::Local;
use crate::control::{Answers as _, Client, Health};

/// Say whether the server on this machine is ready; exit 1 where it is not
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook health --data-dir /var/lib/doorbook")]
pub(super) struct Args {
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let local = Local::read(&outside.sources(args.flags.0))?;
    let clock = Arc::clone(&outside.clock);
    let health = block_on(async {
        let client = Client::connect(&local.data_dir, clock).await?;
        let client = client.ok_or_else(|| Failure::No("no server is running here".to_owned()))?;
        Ok(client.health().await?)
    })?;
    let text = match health {
        Health { ready: false, .. } => return Err(Failure::No("the server is still starting".to_owned())),
        Health { log_available: false, .. } => "ready, but the log cannot be written",
        Health { .. } => "ready",
    };
    writeln!(outside.stdout, "{text}").map_err(Failure::Output)
}
