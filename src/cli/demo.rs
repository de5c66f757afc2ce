//! `doorbook demo`.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::failure::Failure;
use super::outside::{Outside, block_on};
use crate::serve::DemoOptions;
use crate::telemetry::DEFAULT_FILTER;

/// Try it: the server and a stand-in for Discord, on this machine alone
///
/// Needs no Discord account and no configuration, and reads none: neither .env nor doorbook.toml nor the
/// environment. Everything is kept in one directory, so that stopping and starting signs nobody out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook demo --fresh    # start over, with an empty log\n  doorbook demo --port 4001 --discord-port 4002"
)]
pub(super) struct Args {
    /// Forget the demo so far and start over
    #[arg(long)]
    fresh: bool,
    /// Where to keep everything
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    data_dir: PathBuf,
    /// The port of doorbook, on this machine alone
    #[arg(long, value_name = "PORT", default_value_t = 3001)]
    port: u16,
    /// The port of the stand-in, on this machine alone
    #[arg(long, value_name = "PORT", default_value_t = 3002)]
    discord_port: u16,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let filter = outside.env.get(OsStr::new("RUST_LOG")).and_then(|value| value.to_str());
    (outside.diagnostics)(None, filter.unwrap_or(DEFAULT_FILTER));
    let options = DemoOptions {
        data_dir: outside.path(&args.data_dir),
        fresh: args.fresh,
        port: args.port,
        discord_port: args.discord_port,
    };
    block_on(async { Ok(crate::serve::demo(options).await?) })
}
