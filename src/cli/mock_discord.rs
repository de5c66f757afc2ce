//! `doorbook mock-discord`.

use std::ffi::OsStr;
use std::net::SocketAddr;

use url::Url;

use super::failure::Failure;
use super::outside::{Outside, block_on};
use crate::domain::id::Secret;
use crate::serve::MockDiscordOptions;
use crate::telemetry::DEFAULT_FILTER;

/// Run the stand-in for Discord alone, to test another app's Discord login against it
///
/// It knows one application and a few people, and no secret of it is worth anything elsewhere. At its start it prints
/// what to put into the app's environment. Faults are switched on and off under /_control/, which lists them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    doorbook mock-discord --client-id 1234567890123456789 --client-secret hush \\\n      \
    --redirect-uri http://localhost:8080/callback")]
pub(super) struct Args {
    /// Where to listen; it listens on loopback unless told another address here, since it signs anybody in [default: 127.0.0.1:3002]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The id of the application
    #[arg(long, value_name = "ID", default_value = "100000000000000001")]
    client_id: String,
    /// The secret of the application
    #[arg(long, value_name = "SECRET", default_value = "mock-discord-secret")]
    client_secret: String,
    /// A redirect URL registered for the application; may be given more than once
    #[arg(
        long = "redirect-uri",
        value_name = "URL",
        value_parser = url,
        default_value = "http://localhost:3001/api/auth/discord/redirect"
    )]
    redirect_uris: Vec<Url>,
}

fn url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.fragment().is_none() => Ok(url),
        Ok(_) => Err("a redirect URL has no fragment".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let filter = outside.env.get(OsStr::new("RUST_LOG")).and_then(|value| value.to_str());
    (outside.diagnostics)(None, filter.unwrap_or(DEFAULT_FILTER));
    let options = MockDiscordOptions {
        listen: args.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3002))),
        client_id: args.client_id,
        client_secret: Secret::new(args.client_secret),
        redirect_uris: args.redirect_uris,
    };
    block_on(async { Ok(crate::serve::mock_discord(options).await?) })
}
