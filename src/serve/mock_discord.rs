//! The stand-in alone: it says what to put into an app's environment, and runs until it is told to stop.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use tokio::net::TcpListener;
use url::Url;

use super::{ServeError, Signals, World};
use crate::discord::stand_in::{self, StandIn};
use crate::domain::id::Secret;

/// Runs the stand-in alone.
pub async fn mock_discord(options: MockDiscordOptions) -> Result<(), ServeError> {
    let address = options.listen;
    let instead = "name another address with --listen";
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|why| ServeError::Listen { address, why, instead })?;
    let application = stand_in::Application {
        client_id: options.client_id.parse()?,
        client_secret: options.client_secret,
        redirect_uris: options.redirect_uris.iter().map(ToString::to_string).collect(),
        name: "Your app".into(),
    };
    let World { clock, entropy, .. } = World::real();
    let secret = application.client_secret.clone();
    let stand_in = stand_in::start(stand_in::Settings::new(application), listener, clock, entropy).await?;
    // What to do with it is the result of this command; everything else goes to standard error.
    let told = introduction(&options.client_id, &secret, &options.redirect_uris, &stand_in);
    let _ = writeln!(io::stdout(), "{told}");
    tracing::info!(
        api = %stand_in.api_url(),
        authorize = %stand_in.authorize_url(),
        control = %format!("{}/_control/", stand_in.url()),
        "the Discord stand-in is ready; this is not Discord"
    );
    Signals::listen().next().await;
    stand_in.stop().await;
    Ok(())
}

/// Says what to put into the environment of an app that is to sign in there, and who is there.
fn introduction(client_id: &str, secret: &Secret, redirect_uris: &[Url], stand_in: &StandIn) -> String {
    let (url, secret) = (stand_in.url(), secret.expose());
    let (api, authorize, cdn) = (stand_in.api_url(), stand_in.authorize_url(), stand_in.cdn_url());
    let key = stand_in::webhook::public_key();
    let back = redirect_uris.first().map(|uri| format!("DISCORD_REDIRECT_URL={uri}\n")).unwrap_or_default();
    format!(
        "A stand-in for Discord is at {url}. For doorbook's environment, or its .env:\n\n\
         DISCORD_OAUTH_CLIENT_ID={client_id}\nDISCORD_OAUTH_SECRET={secret}\n{back}\
         DISCORD_API_URL={api}\nDISCORD_AUTHORIZE_URL={authorize}\nDISCORD_CDN_URL={cdn}\n\
         DISCORD_PUBLIC_KEY={key}\n\n\
         Who lives there, with ids, guilds and roles: curl {url}/_control/people\n\
         What else can be asked of it, and every fault: curl {url}/_control/\n\
         Ctrl-C stops it."
    )
}

/// How the stand-in is to run alone.
#[derive(Clone, Debug)]
pub struct MockDiscordOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The id of the one application it knows.
    pub client_id: String,
    /// That application's secret.
    pub client_secret: Secret,
    /// The redirect URLs registered for it.
    pub redirect_uris: Vec<Url>,
}
