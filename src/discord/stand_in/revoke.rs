//! The revocation endpoint: one token ends the whole authorization.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::json;

use super::Shared;
use super::call::Call;
use super::reply::Reply;
use super::token::client;
use super::webhook::tell_deauthorized;
use crate::domain::id::Hash;

/// Answers a request to revoke a token.
///
/// Whichever token is sent, and whatever the hint says, all tokens of that person and application die, and the
/// consent is asked again next time. A token that is not known, or is somebody else's, gets the same good answer.
pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
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
        drop(world);
        // The application is told of what it did itself, too.
        tell_deauthorized(shared, parties.0, parties.1);
    }
    Reply::json(StatusCode::OK, &json!({}))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CLIENT, MARISOL, QUIETFOX, SECRET, Stage};

    const REVOKE: &str = "/api/v10/oauth2/token/revoke";

    async fn revoke(stage: &Stage, fields: &[(&str, &str)]) -> super::super::testing::Answer {
        stage.form(REVOKE, &[&[("client_id", CLIENT), ("client_secret", SECRET)], fields].concat()).await
    }

    /// Row 31.
    #[tokio::test]
    async fn any_token_ends_the_whole_authorization_whatever_the_hint() {
        let stage = Stage::new().await;
        for (which, hint) in [(0, None), (1, None), (0, Some("refresh_token")), (1, Some("access_token"))] {
            let other = stage.sign_in(QUIETFOX, "identify").await;
            let first = stage.sign_in(MARISOL, "identify").await;
            let second = stage.sign_in(MARISOL, "identify").await;
            let token = [&second.0, &second.1][which].as_str();
            let mut fields = vec![("token", token)];
            fields.extend(hint.map(|hint| ("token_type_hint", hint)));
            let answer = revoke(&stage, &fields).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "{}"));
            for (access, refresh) in [first, second] {
                assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, 401);
                assert_eq!(stage.refresh(&refresh).await.oauth().1, "invalid_grant");
            }
            assert_eq!(stage.get("/api/v10/users/@me", &other.0).await.status, 200);
            let query = Stage::query("identify", "&prompt=none");
            let played = stage.stand_in.control().authorize(&query, MARISOL, true).await.expect("authorized");
            assert!(played.asked, "the consent is asked again");
        }
    }

    /// Row 32.
    #[tokio::test]
    async fn what_is_wrong_is_named_and_an_unknown_token_is_fine() {
        let stage = Stage::new().await;
        let error = |status, error: &str| (status, error.to_owned(), String::new());
        assert_eq!(revoke(&stage, &[]).await.oauth(), error(400, "invalid_request"));
        let hint = [("token", "x"), ("token_type_hint", "id_token")];
        assert_eq!(revoke(&stage, &hint).await.oauth(), error(401, "unsupported_token_type"));
        stage.stand_in.control().change_switches(|switches| switches.unknown_hint_status = 400);
        assert_eq!(revoke(&stage, &hint).await.oauth(), error(400, "unsupported_token_type"));
        assert_eq!(revoke(&stage, &[("token", "never seen")]).await.text, "{}");
        let wrong = [("client_id", CLIENT), ("client_secret", "wrong"), ("token", "x")];
        assert_eq!(stage.form(REVOKE, &wrong).await.oauth(), error(401, "invalid_client"));
        assert_eq!(stage.get(REVOKE, "x").await.status, 405);
    }

    #[tokio::test]
    async fn the_token_of_another_application_stays_alive() {
        let stage = Stage::new().await;
        let (access, _) = stage.sign_in(MARISOL, "identify").await;
        let other = [
            ("client_id", super::super::testing::OTHER_CLIENT),
            ("client_secret", "other-secret"),
            ("token", &*access),
        ];
        assert_eq!(stage.form(REVOKE, &other).await.text, "{}");
        assert_eq!(stage.get("/api/v10/users/@me", &access).await.status, 200);
    }

    /// Row 33.
    #[tokio::test]
    async fn who_removes_the_application_ends_everything_at_once() {
        let stage = Stage::new().await;
        let (access, refresh) = stage.sign_in(MARISOL, "identify").await;
        let code = stage.code(MARISOL, "identify", "").await;
        assert!(stage.stand_in.control().deauthorize(MARISOL).await.expect("stores"));
        assert_eq!(
            stage.get("/api/v10/users/@me", &access).await.api(),
            (401, "401: Unauthorized".into(), 0)
        );
        let refused = stage.refresh(&refresh).await;
        assert_eq!(refused.text, stage.refresh("never seen").await.text, "the reason cannot be learned");
        assert_eq!(stage.redeem(&code).await.oauth().1, "invalid_grant");
        assert!(!stage.stand_in.control().deauthorize(MARISOL).await.expect("stores"));
    }
}
