//! A running stand-in with a client, for the tests of this room.

use std::sync::{Arc, Once};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Application, Settings, StandIn, start};
use crate::clock::ManualClock;
use crate::domain::id::{DiscordId, Secret};
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;

pub(super) const CLIENT: &str = "1457667441164427281";
pub(super) const SECRET: &str = "example-secret";
pub(super) const REDIRECT: &str = "http://localhost:3001/api/auth/discord/redirect";
pub(super) const OTHER_CLIENT: &str = "1457667441164427282";
pub(super) const OTHER_REDIRECT: &str = "http://localhost:4000/callback?from=discord";
pub(super) const MARISOL: DiscordId = DiscordId(555_769_466_601_213_960);
pub(super) const QUIETFOX: DiscordId = DiscordId(1_169_698_460_971_323_693);
/// The example of RFC 7636.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A stand-in, the clock it goes by, and a client that follows no redirect.
pub(super) struct Stage {
    pub clock: ManualClock,
    pub stand_in: StandIn,
    pub http: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub(super) async fn of(response: reqwest::Response) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Returns status, `error` and `error_description`.
    pub(super) fn oauth(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        (self.status, text("error"), text("error_description"))
    }

    /// Returns status, `message` and `code`.
    pub(super) fn api(&self) -> (u16, String, u64) {
        let body = self.json();
        (
            self.status,
            body["message"].as_str().unwrap_or_default().to_owned(),
            body["code"].as_u64().unwrap_or(99),
        )
    }
}

pub(super) fn settings() -> Settings {
    let application = |id: &str, secret: &str, redirect: &str| Application {
        client_id: id.parse().expect("an id"),
        client_secret: Secret::new(secret),
        redirect_uris: vec![redirect.to_owned()],
        name: "Lantern <Login>".into(),
    };
    let mut settings = Settings::new(application(CLIENT, SECRET, REDIRECT));
    settings.applications.push(application(OTHER_CLIENT, "other-secret", OTHER_REDIRECT));
    settings
}

impl Stage {
    pub(super) async fn new() -> Stage {
        Stage::with(settings()).await
    }

    pub(super) async fn with(settings: Settings) -> Stage {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Another test of this process may have been first.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let clock = ManualClock::new(Timestamp(1_770_091_506_789));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let entropy = Arc::new(SeededEntropy::new("stand-in"));
        let stand_in = start(settings, listener, Arc::new(clock.clone()), entropy).await.expect("starts");
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("DiscordBot (https://login.example.test, 0.1.0)")
            .no_proxy()
            .build()
            .expect("a client");
        Stage { clock, stand_in, http }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.stand_in.url())
    }

    /// Returns the query of an authorize request; `more` is appended as it is.
    pub(super) fn query(scope: &str, more: &str) -> String {
        let redirect: String = url::form_urlencoded::byte_serialize(REDIRECT.as_bytes()).collect();
        let scope: String = url::form_urlencoded::byte_serialize(scope.as_bytes()).collect();
        format!("response_type=code&client_id={CLIENT}&scope={scope}&redirect_uri={redirect}{more}")
    }

    /// Plays a person who authorizes, and returns the code.
    pub(super) async fn code(&self, user: DiscordId, scope: &str, more: &str) -> String {
        let query = Stage::query(scope, more);
        let played = self.stand_in.control().authorize(&query, user, true).await.expect("authorized");
        parameter(&played.location, "code").expect("a code")
    }

    /// Sends a form to the token endpoint, with the credentials in front.
    pub(super) async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        self.form(
            "/api/v10/oauth2/token",
            &[&[("client_id", CLIENT), ("client_secret", SECRET)], fields].concat(),
        )
        .await
    }

    pub(super) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        Answer::of(self.http.post(self.url(path)).form(fields).send().await.expect("an answer")).await
    }

    pub(super) async fn redeem(&self, code: &str) -> Answer {
        self.token(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)]).await
    }

    pub(super) async fn refresh(&self, refresh: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await
    }

    /// Signs in, and returns the access and the refresh token.
    pub(super) async fn sign_in(&self, user: DiscordId, scope: &str) -> (String, String) {
        tokens(&self.redeem(&self.code(user, scope, "").await).await)
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        let request = self.http.get(self.url(path)).bearer_auth(token);
        Answer::of(request.send().await.expect("an answer")).await
    }
}

pub(super) fn tokens(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let text = |key: &str| body[key].as_str().expect("a token").to_owned();
    (text("access_token"), text("refresh_token"))
}

/// Returns a parameter of a URL, decoded.
pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).expect("a URL");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
