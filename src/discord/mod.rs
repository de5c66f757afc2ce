//! The way out: every call to Discord, what it can answer, and when we must not call at all.
//!
//! [`Client`] makes the calls and nothing else here does. The seam for tests and for the demo is the base
//! URL in [`Settings`]: what stands behind it is always a real server on a real socket.

mod answer;
mod budget;
mod call;
mod client;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod limits;
mod pause;
mod payload;
mod retry_after;
#[cfg(test)]
mod scripted;
pub mod stand_in;
pub mod webhook;

use std::time::Duration;

use crate::domain::event::{OutageCause, Tokens};
use crate::domain::id::{DiscordId, Secret};
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;

pub use client::{Client, ClientError, install_crypto_provider};
pub use error::{CallError, Unreadable};

/// Where Discord is, and who we are there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The id of the application.
    pub client_id: DiscordId,
    /// The secret of the application.
    pub client_secret: Secret,
    /// The redirect URL, byte for byte as it is registered.
    pub redirect_url: String,
    /// The base of the API with its version, for example `https://discord.com/api/v10`.
    ///
    /// Without a version Discord answers as version 6 does, which counts waits in milliseconds.
    pub api_url: String,
    /// The page on which people say yes.
    pub authorize_url: String,
    /// The base of avatars.
    pub cdn_url: String,
    /// Our own public origin: Discord asks for it in `User-Agent`.
    pub public_origin: String,
}

/// What a browser is sent to Discord with.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeRequest<'a> {
    /// Comes back unchanged.
    pub state: &'a str,
    /// The S256 challenge of PKCE.
    pub challenge: &'a str,
    /// What to ask for.
    pub scopes: &'a [String],
    /// Whether to skip the consent page for somebody who has granted all this before.
    pub prompt_none: bool,
}

/// What Discord gives for a code or for a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedTokens {
    /// The pair.
    pub tokens: Tokens,
    /// What it allows, sorted, each once; it can be more or less than was asked for.
    pub scopes: Scopes,
    /// How long the access token lives from now.
    pub expires_in: Duration,
}

/// That Discord cannot be called, or answers none of our calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub cause: OutageCause,
    /// Until when nothing is sent; `None` where we go on trying.
    pub until: Option<Timestamp>,
}
