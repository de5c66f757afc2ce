//! The client for Discord: the five calls of a login server, and the address people are sent to.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use tokio::sync::watch;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::answer::Family;
use super::call::{Call, Caller};
use super::error::CallError;
use super::limits::{Limits, Route};
use super::pause::Pause;
use super::{AuthorizeRequest, IssuedTokens, Outage, Settings, call, payload};
use crate::clock::Clock;
use crate::domain::event::Profile;
use crate::domain::id::{DiscordId, Secret};
use crate::entropy::Entropy;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Where codes and refresh tokens become tokens.
const TOKEN: &str = "oauth2/token";

/// Where tokens end.
const REVOKE: &str = "oauth2/token/revoke";

/// Who somebody is.
const ME: &str = "users/@me";

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
        let parse = |body: &[u8]| payload::tokens(body, requested);
        self.caller.call(change("exchange_code", TOKEN), || self.form(TOKEN, &fields), parse).await
    }

    /// Exchanges a refresh token for the next pair; it is sent once, whatever happens.
    ///
    /// `held` are the scopes that hold where Discord does not name any.
    pub async fn refresh(&self, refresh: &Secret, held: &[String]) -> Result<IssuedTokens, CallError> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        let parse = |body: &[u8]| payload::tokens(body, held);
        self.caller.call(change("refresh", TOKEN), || self.form(TOKEN, &fields), parse).await
    }

    /// Ends the authorization that a token belongs to, with all its tokens.
    ///
    /// Discord says yes to a token it does not know as well.
    pub async fn revoke(&self, token: &Secret) -> Result<(), CallError> {
        let fields = [("token", token.expose())];
        self.caller.call(change("revoke", REVOKE), || self.form(REVOKE, &fields), payload::nothing).await
    }

    /// Asks who the user of an access token is.
    pub async fn current_user(&self, access: &Secret) -> Result<Profile, CallError> {
        let route = Route { path: ME, access: Some(access.fingerprint()) };
        let call = Call { name: "current_user", route, family: Family::Api, repeatable: true };
        let url = self.url(ME);
        let request = || self.reading.get(&url).bearer_auth(access.expose());
        self.caller.call(call, request, payload::profile).await
    }

    /// Proves that Discord knows our id and secret.
    ///
    /// The token it gives belongs to the owner of the application; it is forgotten and not revoked, because
    /// revoking it would sign the owner out.
    pub async fn client_credentials(&self) -> Result<(), CallError> {
        let fields = [("grant_type", "client_credentials"), ("scope", "identify")];
        self.caller
            .call(change("client_credentials", TOKEN), || self.form(TOKEN, &fields), payload::own_token)
            .await
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
    Call { name, route: Route { path, access: None }, family: Family::OAuth, repeatable: false }
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
mod tests {
    use super::super::scripted::{
        Act, EagerClock, Rig, START, Scripted, answer, client, fixture, good_token, good_user, json, secs,
        settings,
    };
    use super::*;
    use crate::domain::event::{FailureCode, OutageCause};
    use crate::entropy::SeededEntropy;

    macro_rules! snapshot {
        ($name:literal, $value:expr) => {{
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.bind(|| insta::assert_snapshot!($name, $value));
        }};
    }

    #[tokio::test]
    async fn every_request_stands_on_the_wire_as_discord_wants_it() {
        let own = json(200, fixture!("token_client_credentials.json"));
        let revoked = json(200, fixture!("revoked.json"));
        let rig = Rig::new([good_token(), good_token(), revoked, good_user(), own]).await;
        rig.exchange().await.expect("tokens");
        rig.refresh().await.expect("tokens");
        rig.client.revoke(&Secret::new("refresh-1")).await.expect("revoked");
        rig.user().await.expect("a user");
        rig.client.client_credentials().await.expect("credentials");
        let heard = rig.discord.heard();
        assert_eq!(heard.len(), 5);
        snapshot!("discord_request_exchange_code", heard[0]);
        snapshot!("discord_request_refresh", heard[1]);
        snapshot!("discord_request_revoke", heard[2]);
        snapshot!("discord_request_current_user", heard[3]);
        snapshot!("discord_request_client_credentials", heard[4]);
    }

    #[tokio::test]
    async fn people_are_sent_to_discord_with_everything_it_asks_for() {
        let scopes = ["identify".to_owned(), "email".to_owned()];
        let mut request = AuthorizeRequest {
            state: "3q2-7wAA+/=& é",
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            scopes: &scopes,
            prompt_none: true,
        };
        let rig = Rig::new([]).await;
        let url = rig.client.authorize_url(&request);
        snapshot!("discord_authorize_url", url);
        let parsed = Url::parse(&url).expect("a url");
        let state =
            parsed.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
        assert_eq!(state.as_deref(), Some(request.state));
        request.prompt_none = false;
        assert_eq!(rig.client.authorize_url(&request), url.replace("&prompt=none", ""));
    }

    #[tokio::test]
    async fn both_families_of_errors_reach_the_caller_as_facts() {
        let rig = Rig::new([
            json(400, fixture!("invalid_grant.json")),
            json(401, fixture!("invalid_client.json")),
            json(400, fixture!("missing_code_verifier.json")),
            json(401, fixture!("unauthorized.json")),
        ])
        .await;
        let refused = CallError::Refused { status: 400, code: FailureCode::InvalidGrant };
        assert_eq!(rig.refresh().await, Err(refused));
        assert_eq!(rig.refresh().await, Err(CallError::ClientRejected { status: 401 }));
        assert_eq!(rig.exchange().await, Err(CallError::ClientRejected { status: 400 }));
        assert_eq!(rig.user().await.err(), Some(CallError::Unauthorized));
        assert_eq!((rig.calls(), rig.clock.waits()), (4, vec![]), "none of them is asked again");
    }

    #[tokio::test]
    async fn what_changes_something_has_a_connection_of_its_own() {
        let held = || Act::Hold(answer(200, &[], fixture!("token.json")));
        let rig = Rig::new([held(), held()]).await;
        // On the first connection nobody listens any more.
        rig.refresh().await.expect("tokens");
        rig.refresh().await.expect("the held connection is not used again");
        assert_eq!(rig.calls(), 2);
    }

    #[tokio::test]
    async fn a_global_limit_pauses_every_call_until_it_ends() {
        let rig =
            Rig::new([json(429, fixture!("rate_limited_global.json")), good_token(), good_user()]).await;
        let told = rig.client.outage();
        let expected = CallError::RateLimited { retry_after: secs(64.57), global: true };
        assert_eq!(rig.user().await.err(), Some(expected));
        let until = START.plus(secs(64.57));
        let cause = OutageCause::GlobalRateLimit;
        assert_eq!(*told.borrow(), Some(Outage { cause, until: Some(until) }));
        let paused = CallError::Paused { cause, until };
        assert_eq!(rig.user().await.err(), Some(paused));
        assert_eq!(rig.exchange().await, Err(paused));
        assert_eq!(rig.client.revoke(&Secret::new("a")).await, Err(paused));
        assert_eq!(rig.client.client_credentials().await, Err(paused));
        assert_eq!((rig.calls(), paused.outcome_unknown()), (1, false));

        rig.clock.clock.advance(secs(64.57));
        assert!(rig.refresh().await.is_ok());
        assert_eq!(*told.borrow(), None);
    }

    #[tokio::test]
    async fn a_ban_pauses_every_call_and_is_taken_up_after_a_restart() {
        let headers = ["Content-Type: text/plain", "Retry-After: 3600", "Connection: close"];
        let ban = Act::Say(answer(429, &headers, fixture!("cloudflare_1015.txt")));
        let rig = Rig::new([ban]).await;
        assert_eq!(rig.exchange().await.expect_err("a ban").status(), Some(429));
        let outage = rig.client.outage().borrow().expect("it is known");
        assert_eq!(outage.until, Some(START.plus(secs(3600.0))));
        assert!(matches!(rig.user().await, Err(CallError::Paused { cause: OutageCause::CloudflareBan, .. })));

        let next = Rig::new([good_user()]).await;
        next.client.pause_until(outage);
        assert!(matches!(next.user().await, Err(CallError::Paused { .. })));
        next.clock.clock.advance(secs(3600.0));
        assert!(next.user().await.is_ok());
        assert_eq!((rig.calls(), next.calls()), (1, 1));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        for status in [301, 302, 307, 308] {
            let elsewhere = Scripted::start([good_user(), good_token()]).await;
            let location = format!("Location: {}/users/@me", elsewhere.url);
            let redirect = || Act::Say(answer(status, &[&location, "Connection: close"], ""));
            let rig = Rig::new([redirect(), redirect()]).await;
            let expected = CallError::Unexpected { status, code: None };
            assert_eq!(rig.user().await.err(), Some(expected));
            assert_eq!(rig.exchange().await, Err(expected));
            assert_eq!((elsewhere.heard().len(), rig.calls()), (0, 2));
        }
    }

    #[tokio::test]
    async fn a_slash_at_the_end_of_the_base_is_one_slash() {
        let rig = Rig::new([good_user()]).await;
        let client = client(&format!("{}/", rig.discord.url), rig.clock.clone());
        assert!(client.current_user(&Secret::new("access-1")).await.is_ok());
        assert!(rig.discord.heard()[0].starts_with("GET /api/v10/users/@me HTTP/1.1\n"));
    }

    #[tokio::test]
    async fn a_client_needs_web_addresses() {
        let build = |settings| {
            Client::new(settings, EagerClock::new(START), Arc::new(SeededEntropy::new("jitter"))).err()
        };
        for wrong in ["", "discord.com", "ftp://discord.com", "/api"] {
            let error = build(settings(wrong));
            assert!(matches!(error, Some(ClientError::NotAUrl { setting: "api_url" })), "{wrong}");
        }
        let origin = Settings { public_origin: "http://x\n".into(), ..settings("http://127.0.0.1") };
        assert!(matches!(build(origin), Some(ClientError::UserAgent)));
        assert!(build(settings("http://127.0.0.1/api/v10/")).is_none());
    }
}
