//! The client for Discord: the six calls of a login server, and the address people are sent to.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use tokio::sync::watch;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::answer::{Answer, Family};
use super::budget::{Budget, SPENT, STRAINED};
use super::call::{Call, Caller};
use super::error::CallError;
use super::limits::{Limits, Route};
use super::pause::Pause;
use super::{AuthorizeRequest, IssuedTokens, Outage, Settings, call, payload};
use crate::clock::Clock;
use crate::domain::event::{Membership, Profile};
use crate::domain::id::{DiscordId, Secret};
use crate::domain::scopes::Scopes;
use crate::entropy::Entropy;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Where codes and refresh tokens become tokens.
const TOKEN: &str = "oauth2/token";

/// Where tokens end.
const REVOKE: &str = "oauth2/token/revoke";

/// Who somebody is.
const ME: &str = "users/@me";

/// What somebody is in a guild. A limit that one guild meets binds them all: they are one route to us.
const MEMBER: &str = "users/@me/guilds/{guild.id}/member";

/// Discord's code for a guild that one is not in, whether there is such a guild or not.
const UNKNOWN_GUILD: i64 = 10004;

/// Discord's code for somebody who is not in a guild.
const UNKNOWN_MEMBER: i64 = 10007;

/// Talks to Discord.
///
/// A future of [`exchange_code`](Client::exchange_code), [`refresh`](Client::refresh) or
/// [`revoke`](Client::revoke) that is dropped half-way leaves nobody who knows what Discord did: run it in
/// a task of its own where the caller may go away.
pub struct Client {
    settings: Settings,
    caller: Caller,
    /// Keeps connections open, for calls that may be repeated.
    reading: reqwest::Client,
    /// Opens a connection for every call: on a kept one that Discord has just closed, nobody can tell
    /// whether a refresh token was used up.
    changing: reqwest::Client,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting is not a URL of http or https.
    #[error("{setting} is not an http or https url")]
    NotAUrl {
        /// The name of the setting.
        setting: &'static str,
    },
    /// The public origin cannot stand in a header.
    #[error("the public origin cannot stand in a header")]
    UserAgent,
    /// TLS could not be set up, for example because the machine has no root certificates.
    #[error("cannot set up the http client")]
    Transport(#[source] reqwest::Error),
}

/// Chooses how this process does TLS; to be called once, early. Calling it again changes nothing.
pub fn install_crypto_provider() {
    // It fails only where somebody was faster, and then there is a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Client {
    /// Returns a client; it connects only when it is used.
    pub fn new(
        mut settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Client, ClientError> {
        install_crypto_provider();
        let is_https = web_url(&settings.api_url, "api_url")?.scheme() == "https";
        web_url(&settings.authorize_url, "authorize_url")?;
        settings.api_url.truncate(settings.api_url.trim_end_matches('/').len());
        let agent = format!("DiscordBot ({}, {})", settings.public_origin, env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(|_| ClientError::UserAgent)?;
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(agent.clone())
                .default_headers(HeaderMap::from_iter([(
                    ACCEPT,
                    HeaderValue::from_static("application/json"),
                )]))
                // Our credentials are for the configured host and for no other.
                .redirect(Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .connect_timeout(CONNECT)
                .timeout(call::DEADLINE)
                .https_only(is_https);
            // Without https there is nothing to verify, and a machine without root certificates will do.
            if is_https { builder } else { builder.tls_certs_only([]) }
        };
        Ok(Client {
            settings,
            caller: Caller {
                pause: Pause::new(clock.clone()),
                limits: Limits::new(clock.clone()),
                budget: Budget::new(clock.clone()),
                clock,
                entropy,
            },
            reading: builder()
                .pool_idle_timeout(Duration::from_secs(30))
                .build()
                .map_err(ClientError::Transport)?,
            changing: builder().pool_max_idle_per_host(0).build().map_err(ClientError::Transport)?,
        })
    }

    /// Returns the id of our application.
    pub fn application(&self) -> DiscordId {
        self.settings.client_id
    }

    /// Returns the base of avatars.
    pub fn cdn_url(&self) -> &str {
        &self.settings.cdn_url
    }

    /// Returns where to send a browser that is to sign in.
    pub fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> String {
        let client_id = self.settings.client_id.to_string();
        let scope = request.scopes.join(" ");
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", &client_id),
            ("scope", &scope),
            ("redirect_uri", &self.settings.redirect_url),
            ("state", request.state),
            ("code_challenge", request.challenge),
            ("code_challenge_method", "S256"),
        ];
        if request.prompt_none {
            fields.push(("prompt", "none"));
        }
        let query: Vec<_> =
            fields.into_iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let base = &self.settings.authorize_url;
        let separator = if base.contains('?') { '&' } else { '?' };
        format!("{base}{separator}{}", query.join("&"))
    }

    /// Exchanges the code of a callback; a code is sent once, whatever happens.
    ///
    /// `requested` are the scopes that hold where Discord does not name any.
    pub async fn exchange_code(
        &self,
        code: &Secret,
        verifier: &Secret,
        requested: &[String],
    ) -> Result<IssuedTokens, CallError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &self.settings.redirect_url),
            ("code_verifier", verifier.expose()),
        ];
        let parse = |answer: &Answer| payload::tokens(&answer.body, requested.iter().map(String::as_str));
        self.caller.call(change("exchange_code", TOKEN), || self.form(TOKEN, &fields), parse).await
    }

    /// Exchanges a refresh token for the next pair; it is sent once, whatever happens.
    ///
    /// `held` are the scopes that hold where Discord does not name any.
    pub async fn refresh(&self, refresh: &Secret, held: &Scopes) -> Result<IssuedTokens, CallError> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        let parse = |answer: &Answer| payload::tokens(&answer.body, held.names());
        self.caller.call(change("refresh", TOKEN), || self.form(TOKEN, &fields), parse).await
    }

    /// Ends the authorization that a token belongs to, with all its tokens.
    ///
    /// Discord says yes to a token it does not know as well.
    pub async fn revoke(&self, token: &Secret) -> Result<(), CallError> {
        let fields = [("token", token.expose())];
        let parse = |answer: &Answer| payload::nothing(&answer.body);
        self.caller.call(change("revoke", REVOKE), || self.form(REVOKE, &fields), parse).await
    }

    /// Asks who the user of an access token is.
    pub async fn current_user(&self, access: &Secret) -> Result<Profile, CallError> {
        let url = self.url(ME);
        let request = || self.reading.get(&url).bearer_auth(access.expose());
        let parse = |answer: &Answer| payload::profile(&answer.body);
        self.caller.call(question("current_user", ME, access), request, parse).await
    }

    /// Asks what `user`, whose access token it is, is in a guild.
    ///
    /// That somebody is no member is an answer. Everything else that is no membership says nothing, and least of all
    /// that there is none.
    pub async fn member(
        &self,
        access: &Secret,
        user: DiscordId,
        guild: DiscordId,
    ) -> Result<Membership, CallError> {
        let call = Call { absent: &[UNKNOWN_GUILD, UNKNOWN_MEMBER], ..question("member", MEMBER, access) };
        let url = self.url(&format!("users/@me/guilds/{guild}/member"));
        let request = || self.reading.get(&url).bearer_auth(access.expose());
        let parse = |answer: &Answer| match answer.status {
            404 => Ok(Membership::none(guild)),
            _ => payload::membership(&answer.body, user, guild),
        };
        self.caller.call(call, request, parse).await
    }

    /// Proves that Discord knows our id and secret.
    ///
    /// The token it gives belongs to the owner of the application; it is forgotten and not revoked, because
    /// revoking it would sign the owner out.
    pub async fn client_credentials(&self) -> Result<(), CallError> {
        let fields = [("grant_type", "client_credentials"), ("scope", "identify")];
        let parse = |answer: &Answer| payload::own_token(&answer.body);
        self.caller.call(change("client_credentials", TOKEN), || self.form(TOKEN, &fields), parse).await
    }

    /// Returns whether Discord has refused so many calls lately that what can wait should.
    pub fn is_strained(&self) -> bool {
        !self.caller.budget.left(STRAINED).is_zero()
    }

    /// Returns for how long nothing is called at all; zero where calls are made.
    pub fn exhausted_for(&self) -> Duration {
        self.caller.budget.left(SPENT)
    }

    /// Returns the outage that is going on, for those who record when it begins and ends.
    ///
    /// A pause stays visible after its `until` until an answer shows that Discord works again.
    pub fn outage(&self) -> watch::Receiver<Option<Outage>> {
        self.caller.pause.watch()
    }

    /// Takes up an outage that the log knows of; to be called at start, before the first call.
    pub fn pause_until(&self, outage: Outage) {
        self.caller.pause.resume(outage);
    }

    /// Returns a POST with our credentials as form fields, because Basic has failed at Discord before.
    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let client_id = self.settings.client_id.to_string();
        let mut form =
            vec![("client_id", client_id.as_str()), ("client_secret", self.settings.client_secret.expose())];
        form.extend_from_slice(fields);
        self.changing.post(self.url(path)).form(&form)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.settings.api_url)
    }
}

fn change(name: &'static str, path: &'static str) -> Call {
    Call { name, route: Route { path, access: None }, family: Family::OAuth, absent: &[], repeatable: false }
}

fn question(name: &'static str, path: &'static str, access: &Secret) -> Call {
    let route = Route { path, access: Some(access.fingerprint()) };
    Call { name, route, family: Family::Api, absent: &[], repeatable: true }
}

fn web_url(text: &str, setting: &'static str) -> Result<Url, ClientError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or(ClientError::NotAUrl { setting })
}

/// Encodes a value of a query, with `%20` for a space as Discord's own examples have it.
fn encoded(value: &str) -> String {
    // A plus sign that was in the value is `%2B` by now.
    byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests;
