//! What can go wrong with one answer, on purpose: each fault is asked for by a test and played a number of times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::requests::Route;

/// A fault that waits for its request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The route it waits on; none is any route of the API, `"any"` in JSON.
    #[serde(default, with = "any")]
    pub on: Option<Route>,
    /// What happens.
    pub kind: FaultKind,
    /// Whether it happens before the request has had its effect, or after.
    #[serde(default)]
    pub when: When,
    /// How often it happens; none is always.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests it lets pass first.
    #[serde(default)]
    pub skip: u32,
}

impl Fault {
    /// Returns a fault that happens to every request on `route`, before it has had its effect.
    pub fn new(on: Route, kind: FaultKind) -> Fault {
        Fault { on: Some(on), kind, when: When::Before, times: None, skip: 0 }
    }

    /// Returns a fault that happens to every API request, before it has had its effect.
    pub fn anywhere(kind: FaultKind) -> Fault {
        Fault { on: None, kind, when: When::Before, times: None, skip: 0 }
    }

    /// Returns the fault happening only once.
    #[must_use]
    pub fn once(self) -> Fault {
        self.times(1)
    }

    /// Returns the fault happening `times` times.
    #[must_use]
    pub fn times(self, times: u32) -> Fault {
        Fault { times: Some(times), ..self }
    }

    /// Returns the fault happening after the request has had its effect: codes consumed, tokens rotated.
    #[must_use]
    pub fn after_the_effect(self) -> Fault {
        Fault { when: When::After, ..self }
    }

    /// Returns the fault letting `skip` requests pass first.
    #[must_use]
    pub fn skipping(self, skip: u32) -> Fault {
        Fault { skip, ..self }
    }
}

/// Whether a fault happens before or after the effect of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing has changed at Discord.
    #[default]
    Before,
    /// The code is consumed, the token rotated, the grant revoked.
    After,
}

/// What happens instead of, or to, the answer.
///
/// [`Malformed`](FaultKind::Malformed) and the slow bodies change the real answer, so for them the request always
/// has its effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// 429 in Discord's form, or in one of its odd forms.
    RateLimited(RateLimited),
    /// 429 `error code: 1015`, for this one answer.
    CloudflareLimit {
        /// The seconds in `Retry-After`; none leaves it out.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A server error.
    ServerError {
        /// 500, 502, 503 or 504.
        status: u16,
        /// The form; without it the usual one: JSON for 500, HTML for 502 and 504, text for 503.
        #[serde(default)]
        body: Option<ErrorBody>,
    },
    /// A redirect elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        location: String,
    },
    /// Exactly this answer.
    Answer {
        /// The status.
        status: u16,
        /// The headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// The real answer, spoilt.
    Malformed(Malformed),
    /// The answer comes after so many seconds.
    DelayHeaders {
        /// How long, by the stand-in's clock.
        seconds: f64,
    },
    /// The headers come at once, the body after so many seconds.
    DelayBody {
        /// How long, by the stand-in's clock.
        seconds: f64,
    },
    /// The headers come at once, the body at one byte a second.
    OneByteASecond,
    /// The answer waits until the test lets it go.
    Hold,
    /// The connection is accepted and never answered.
    NeverAnswer,
    /// The connection is closed without an answer.
    Drop,
    /// The connection is reset without an answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetMidBody,
}

impl FaultKind {
    /// Returns the name that the list of requests shows.
    pub(super) fn name(&self) -> &'static str {
        match self {
            FaultKind::RateLimited(_) => "rate_limited",
            FaultKind::CloudflareLimit { .. } => "cloudflare_limit",
            FaultKind::ServerError { .. } => "server_error",
            FaultKind::Redirect { .. } => "redirect",
            FaultKind::Answer { .. } => "answer",
            FaultKind::Malformed(_) => "malformed",
            FaultKind::DelayHeaders { .. } => "delay_headers",
            FaultKind::DelayBody { .. } => "delay_body",
            FaultKind::OneByteASecond => "one_byte_a_second",
            FaultKind::Hold => "hold",
            FaultKind::NeverAnswer => "never_answer",
            FaultKind::Drop => "drop",
            FaultKind::Reset => "reset",
            FaultKind::ResetMidBody => "reset_mid_body",
        }
    }
}

/// A 429, in all its forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimited {
    /// Whose limit was hit.
    pub scope: LimitScope,
    /// How long to wait, in seconds; the body carries it as it is, the header rounded up.
    pub retry_after: f64,
    /// What the header says.
    pub header: RetryHeader,
    /// What the body says.
    pub body: RetryBody,
}

impl Default for RateLimited {
    fn default() -> Self {
        RateLimited {
            scope: LimitScope::User,
            retry_after: 1.287,
            header: RetryHeader::Rounded,
            body: RetryBody::Json,
        }
    }
}

/// Whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// The caller's on this route.
    User,
    /// The caller's on all routes.
    Global,
    /// Everybody's on this resource; it does not count towards a ban.
    Shared,
}

/// What the `Retry-After` header of a 429 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryHeader {
    /// The seconds, rounded up.
    Rounded,
    /// Nothing: there is no such header.
    Absent,
    /// This text.
    Text(String),
}

/// What the body of a 429 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryBody {
    /// The documented object.
    Json,
    /// The object without `retry_after`.
    JsonWithoutRetryAfter,
    /// The text of a temporary block, without `retry_after`.
    Blocked,
    /// Nothing.
    Empty,
}

/// The body of a server error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// An object of the API's family.
    Json,
    /// A page of Cloudflare's kind.
    Html,
    /// The text of the proxy in between.
    Envoy,
    /// Nothing.
    Empty,
}

/// How a good answer is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// Cut in half.
    TruncatedJson,
    /// No body.
    Empty,
    /// A page instead of JSON.
    Html,
    /// `id` is a number.
    IdAsNumber,
    /// `expires_in` is a string.
    ExpiresInAsString,
    /// `scope` is null.
    ScopeNull,
    /// There is no `access_token`.
    NoAccessToken,
    /// There is no `refresh_token`.
    NoRefreshToken,
    /// `token_type` is `bearer`, which is still right.
    TokenTypeLowerCase,
    /// `token_type` is `mac`.
    TokenTypeMac,
    /// The object stands in an array.
    TopLevelArray,
    /// A byte order mark stands in front.
    Bom,
    /// The body goes on for 50 MiB.
    Huge,
    /// A string holds a byte that is not UTF-8.
    InvalidUtf8,
    /// Every key stands there twice, first with a wrong value.
    DuplicateKeys,
}

/// The faults that wait, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    faults: Vec<Fault>,
}

impl Waiting {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    /// Takes the first fault that waits for a request on `route`; used up faults go.
    pub(super) fn take(&mut self, route: Route) -> Option<Fault> {
        let waits_here = |fault: &Fault| match fault.on {
            Some(on) => on == route,
            None => route.is_api(),
        };
        let mut taken = None;
        for fault in self.faults.iter_mut().filter(|fault| waits_here(fault)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                if *times == 0 {
                    continue;
                }
                *times -= 1;
            }
            taken = Some(fault.clone());
            break;
        }
        self.faults.retain(|fault| fault.times != Some(0));
        taken
    }
}

/// `"any"`, or the name of a route.
mod any {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Route;

    #[expect(clippy::ref_option, reason = "serde hands out the field by reference")]
    pub(super) fn serialize<S: Serializer>(on: &Option<Route>, serializer: S) -> Result<S::Ok, S::Error> {
        match on {
            Some(route) => route.serialize(serializer),
            None => serializer.serialize_str("any"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Route>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"any\" or the name of a route")]
        enum On {
            Route(Route),
            Any(Any),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Any {
            Any,
        }
        Ok(match On::deserialize(deserializer)? {
            On::Route(route) => Some(route),
            On::Any(Any::Any) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_played_as_often_as_asked_and_after_those_it_skips() {
        let mut waiting = Waiting::default();
        waiting.add(Fault::new(Route::Me, FaultKind::Drop).times(2).skipping(1));
        let played: Vec<bool> = (0..5).map(|_| waiting.take(Route::Me).is_some()).collect();
        assert_eq!(played, [false, true, true, false, false]);
        assert!(waiting.list().is_empty());
    }

    #[test]
    fn any_means_every_route_of_the_api_and_no_page() {
        let mut waiting = Waiting::default();
        waiting.add(Fault::anywhere(FaultKind::Hold));
        assert!(waiting.take(Route::Revoke).is_some());
        assert!(waiting.take(Route::Authorize).is_none());
        assert!(waiting.take(Route::Avatar).is_none());
    }

    #[test]
    fn faults_are_asked_for_in_flat_json_and_wrong_keys_are_refused() {
        let read = |text: &str| serde_json::from_str::<Fault>(text);
        assert_eq!(
            read(r#"{"on":"refresh","kind":"drop","when":"after","times":1}"#).expect("reads"),
            Fault::new(Route::Refresh, FaultKind::Drop).once().after_the_effect()
        );
        assert_eq!(
            read(r#"{"on":"any","kind":{"rate_limited":{"scope":"global","retry_after":65}}}"#)
                .expect("reads"),
            Fault::anywhere(FaultKind::RateLimited(RateLimited {
                scope: LimitScope::Global,
                retry_after: 65.0,
                ..RateLimited::default()
            }))
        );
        assert_eq!(
            read(r#"{"on":"me","kind":{"malformed":"bom"}}"#).expect("reads"),
            Fault::new(Route::Me, FaultKind::Malformed(Malformed::Bom))
        );
        assert!(read(r#"{"on":"me","kind":"drop","time":1}"#).is_err());
        assert!(read(r#"{"on":"mee","kind":"drop"}"#).is_err());
        assert!(read(r#"{"on":"me","kind":{"rate_limited":{"retryafter":1}}}"#).is_err());
    }
}
