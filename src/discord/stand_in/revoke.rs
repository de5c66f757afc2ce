//! The revocation endpoint: one token ends the whole authorization.

use http::{Method, StatusCode};
use serde_json::json;

use super::Shared;
use super::call::Call;
use super::reply::Reply;
use super::token::client;
use crate::domain::id::Hash;

/// Answers a request to revoke a token.
///
/// Whichever token is sent, and whatever the hint says, all tokens of that person and application die, and the
/// consent is asked again next time. A token that is not known, or is somebody else's, gets the same good answer.
pub(super) fn answer(shared: &Shared, call: &Call) -> Reply {
    if call.method != Method::POST {
        return Reply::method_not_allowed("POST");
    }
    let application = match client(shared, call) {
        Ok(application) => application,
        Err(refusal) => return refusal,
    };
    let Some(token) = call.field("token").filter(|token| !token.is_empty()) else {
        return Reply::oauth_error(StatusCode::BAD_REQUEST, "invalid_request", None);
    };
    let mut world = shared.world();
    if let Some(hint) = call.field("token_type_hint")
        && !["access_token", "refresh_token"].contains(&hint.as_str())
    {
        let status = StatusCode::from_u16(world.switches.unknown_hint_status);
        return Reply::oauth_error(
            status.unwrap_or(StatusCode::UNAUTHORIZED),
            "unsupported_token_type",
            None,
        );
    }
    let parties = world.tokens.owner(&Hash::of(token.as_bytes()));
    if let Some(parties) = parties.filter(|parties| parties.0 == application.client_id) {
        world.tokens.end(parties);
    }
    Reply::json(StatusCode::OK, &json!({}))
}
