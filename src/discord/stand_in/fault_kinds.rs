//! Every kind of fault with an example of its shape: what a test can send, word for word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::faults::{ErrorBody, FaultKind, LimitScope, Malformed, RateLimited, RetryBody, RetryHeader, When};
use super::requests::Route;

/// Returns what a fault is made of: where, what, when, and how often.
pub(super) fn help() -> Value {
    let api: Vec<Route> = ROUTES.into_iter().filter(|route| route.is_api()).collect();
    let pages: Vec<Route> = ROUTES.into_iter().filter(|route| !route.is_api()).collect();
    json!({
        "on": { "any route of the API": "any", "one of the API": api, "one of the pages": pages },
        "kind": examples(),
        "when": { "before the request has had its effect": When::Before, "after it": When::After },
        "times": "how often; without it always",
        "skip": "how many requests pass first",
        "server_error.status": [500, 502, 503, 504],
        "server_error.body": [ErrorBody::Json, ErrorBody::Html, ErrorBody::Envoy, ErrorBody::Empty],
        "rate_limited.scope": [LimitScope::User, LimitScope::Global, LimitScope::Shared],
        "rate_limited.header": [RetryHeader::Rounded, RetryHeader::Absent, RetryHeader::Text("soon".into())],
        "rate_limited.body":
            [RetryBody::Json, RetryBody::JsonWithoutRetryAfter, RetryBody::Blocked, RetryBody::Empty],
        "malformed": MALFORMED,
    })
}

const ROUTES: [Route; 11] = [
    Route::Token,
    Route::Refresh,
    Route::ClientCredentials,
    Route::Revoke,
    Route::Me,
    Route::Member,
    Route::Authorization,
    Route::Authorize,
    Route::Avatar,
    Route::Page,
    Route::Unknown,
];

/// Every way in which a body can be wrong.
pub const MALFORMED: [Malformed; 15] = [
    Malformed::TruncatedJson,
    Malformed::Empty,
    Malformed::Html,
    Malformed::IdAsNumber,
    Malformed::ExpiresInAsString,
    Malformed::ScopeNull,
    Malformed::NoAccessToken,
    Malformed::NoRefreshToken,
    Malformed::TokenTypeLowerCase,
    Malformed::TokenTypeMac,
    Malformed::TopLevelArray,
    Malformed::Bom,
    Malformed::Huge,
    Malformed::InvalidUtf8,
    Malformed::DuplicateKeys,
];

/// Returns one of each kind.
fn examples() -> Vec<FaultKind> {
    let page = "https://discord.com/maintenance".to_owned();
    let headers = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
    vec![
        FaultKind::RateLimited(RateLimited::default()),
        FaultKind::CloudflareLimit { retry_after: Some(60) },
        FaultKind::ServerError { status: 503, body: Some(ErrorBody::Envoy) },
        FaultKind::Redirect { status: 302, location: page },
        FaultKind::Answer { status: 418, headers, body: "no".to_owned() },
        FaultKind::Malformed(Malformed::TruncatedJson),
        FaultKind::DelayHeaders { seconds: 2.5 },
        FaultKind::DelayBody { seconds: 2.5 },
        FaultKind::OneByteASecond,
        FaultKind::Hold,
        FaultKind::NeverAnswer,
        FaultKind::Drop,
        FaultKind::Reset,
        FaultKind::ResetMidBody,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What serde says of a word that it does not know: it names all that it does.
    fn known<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let Err(error) = serde_json::from_value::<T>(json!("?")) else { panic!("it is no word") };
        error.to_string().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    fn words<T: serde::Serialize>(all: &[T]) -> BTreeSet<String> {
        let word = |value: Value| match value {
            Value::String(word) => word,
            Value::Object(fields) => fields.into_iter().next().expect("one field").0,
            other => panic!("{other}"),
        };
        all.iter().map(|one| word(json!(one))).collect()
    }

    #[test]
    fn nothing_that_can_be_sent_is_left_out_of_the_help() {
        assert_eq!(words(&examples()), known::<FaultKind>());
        assert_eq!(words(&MALFORMED), known::<Malformed>());
        assert_eq!(words(&ROUTES), known::<Route>());
        for kind in examples() {
            assert_eq!(serde_json::from_value::<FaultKind>(json!(kind)).expect("it reads"), kind);
        }
        crate::snapshot!("stand_in_faults", serde_json::to_string_pretty(&help()).expect("JSON"));
    }
}
