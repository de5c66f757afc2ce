//! `doorbook serve`.

use super::failure::Failure;
use super::flags::AllFlags;
use super::outside::{Outside, block_on};
use crate::config::Config;
use crate::serve::Accepted;
use crate::telemetry::DEFAULT_FILTER;

/// Run the server
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    DISCORD_OAUTH_SECRET_FILE=/run/secrets/discord doorbook serve \\\n      \
    --discord-oauth-client-id 1234567890123456789 \\\n      \
    --discord-redirect-url https://auth.example.org/api/auth/discord/redirect\n\n\
    Every setting is read from its flag, then its environment variable, then .env, then the file.\n\
    Secrets have no flag: DISCORD_OAUTH_SECRET, COOKIE_SECRET, ENCRYPT_SECRET, or each with _FILE.")]
pub(super) struct Args {
    /// Start on a log that is shorter than what was acknowledged; the loss is recorded and ends every session
    #[arg(long)]
    accept_loss: bool,
    /// Start although users of the log have no key any more; they are erased, and their sessions end
    #[arg(long)]
    without_keys: bool,
    #[command(flatten)]
    flags: AllFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let sources = outside.sources(args.flags.0);
    let config = Config::read(&sources)?;
    let filter = config.local.filter.as_deref().unwrap_or(DEFAULT_FILTER);
    (outside.diagnostics)(config.local.log_format, filter);
    let accepted = Accepted { loss: args.accept_loss, missing_keys: args.without_keys };
    block_on(async { Ok(crate::serve::run(config, &sources, accepted).await?) })
}
