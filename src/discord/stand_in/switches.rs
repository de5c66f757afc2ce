//! What a test may change about the stand-in's manners; the defaults are Discord's, or the stricter choice
//! where Discord's are unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::people::ids;
use super::requests::Route;
use crate::domain::id::DiscordId;

/// The switches, each with the default that a faithful stand-in has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// How long an access token lives, in seconds.
    pub expires_in: u64,
    /// How long a code lives, in seconds.
    pub code_life: u64,
    /// How tokens look.
    pub token_shape: TokenShape,
    /// Which scopes a token reply names, and the token has.
    pub scope_reply: ScopeReply,
    /// Whether a failed redemption uses up the code.
    pub failed_attempt_burns_code: bool,
    /// Whether redeeming a code again kills the tokens of the authorization.
    pub code_reuse_revokes: bool,
    /// Whether a refresh leaves the old access token alive.
    pub old_access_token_survives: bool,
    /// The status that a token without the needed scope gets: 401, or 403 with code 50026.
    pub missing_scope_status: u16,
    /// The status of an unknown `client_id`: 401 or 400.
    pub unknown_client_status: u16,
    /// The status of a `token_type_hint` that does not exist: 401 or 400.
    pub unknown_hint_status: u16,
    /// Whether HTTP Basic is answered as during Discord's outage of February 2024.
    pub basic_auth_broken: bool,
    /// Whether API calls need a `User-Agent` that starts with `DiscordBot (`.
    pub require_user_agent: bool,
    /// Whether an authorize request without `redirect_uri` is refused, instead of using the first registered.
    pub require_redirect_uri: bool,
    /// The scopes that this application may not ask for: `invalid_scope` after Authorize.
    pub denied_scopes: Vec<String>,
    /// Whether every JSON answer carries one random key that is documented nowhere.
    pub unknown_fields: bool,
    /// People whose refresh works, but whose refreshed access tokens are all answered with 401.
    #[serde(with = "ids")]
    pub poisoned: Vec<DiscordId>,
    /// The rate limits per route, each counted per `Authorization` header.
    pub limits: BTreeMap<Route, Limit>,
    /// After how many answers of 401, 403 and 429 within the window an address is banned.
    pub ban_after: u32,
    /// The length of that window, in seconds.
    pub ban_window: u64,
    /// How long a ban lasts, in seconds.
    pub ban_seconds: u64,
    /// Whether the ban's answer tells in `Retry-After` how long it lasts.
    pub ban_tells_how_long: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Switches {
            expires_in: 604_800,
            code_life: 100,
            token_shape: TokenShape::Current,
            scope_reply: ScopeReply::Asked,
            failed_attempt_burns_code: true,
            code_reuse_revokes: false,
            old_access_token_survives: false,
            missing_scope_status: 401,
            unknown_client_status: 401,
            unknown_hint_status: 401,
            basic_auth_broken: false,
            require_user_agent: true,
            require_redirect_uri: false,
            denied_scopes: Vec::new(),
            unknown_fields: true,
            poisoned: Vec::new(),
            limits: BTreeMap::from([(Route::Member, Limit { size: 5, seconds: 5 })]),
            ban_after: 10_000,
            ban_window: 600,
            ban_seconds: 3_600,
            ban_tells_how_long: false,
        }
    }
}

/// How tokens look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenShape {
    /// The id in base64url, a dot, 30 characters: since 2025.
    Current,
    /// 30 characters: before.
    Short,
    /// 1,500 characters: perhaps one day.
    Long,
}

/// Which scopes a token reply names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeReply {
    /// Those asked for in this round.
    Asked,
    /// Everything this person ever granted to the application.
    Union,
    /// One fewer than asked for.
    Fewer,
}

/// A bucket of `size` requests that fills up again within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How many requests fit.
    pub size: u32,
    /// How long an empty bucket takes to fill, in seconds.
    pub seconds: u32,
}
