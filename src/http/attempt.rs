//! Login attempts in the browser: one sealed cookie each, so that parallel tabs do not get in each other's way.
//!
//! The cookie's name holds a hash of the state and its value is sealed, so neither shows the state.

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::cookie::Cookies;
use super::request::Request;
use crate::crypto::CookieKey;
use crate::domain::id::{Hash, Secret};
use crate::domain::login::{Accepted, LoginAttempt};
use crate::domain::target::TargetRules;
use crate::domain::time::Timestamp;

/// The most attempts that a browser keeps, and the most bytes of them.
const MOST: usize = 8;
const MOST_BYTES: usize = 6 * 1024;

const PURPOSE: &str = "login attempt";

/// Reads and writes the cookies of login attempts.
#[derive(Clone)]
pub struct Attempts {
    cookies: Cookies,
    key: CookieKey,
    targets: TargetRules,
}

/// What is sealed. The names are short because a cookie is.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    s: &'a str,
    v: &'a str,
    t: &'a str,
    e: i64,
}

impl Attempts {
    /// Takes what seals, and what a target must fit when it is read back.
    pub fn new(cookies: Cookies, key: CookieKey, own: &Url, allowed: &[Url]) -> Attempts {
        Attempts { cookies, key, targets: TargetRules::new(own, allowed) }
    }

    /// Returns what a login may return to.
    pub fn targets(&self) -> &TargetRules {
        &self.targets
    }

    /// Returns the cookie of a new attempt, and before it the clearing of those that it leaves no room for.
    pub fn begin(&self, request: &Request, attempt: &LoginAttempt, now: Timestamp) -> Vec<HeaderValue> {
        let name = self.name(attempt.state.expose());
        let value = self.seal(attempt, &name);
        let mut cookies = self.make_room(request, name.len() + value.len(), now);
        cookies.push(self.cookies.set_attempt(&name, &value));
        cookies
    }

    /// Returns the attempt that this state belongs to, if this browser began it and it still counts.
    pub fn accept(&self, request: &Request, state: &str, now: Timestamp) -> Option<Accepted> {
        let name = self.name(state);
        request
            .cookies(&name)
            .filter_map(|value| self.open(&name, value))
            .find_map(|attempt| attempt.accept(state, now).ok())
    }

    /// Returns the clearing of the attempt of that state.
    pub fn clear(&self, state: &str) -> HeaderValue {
        self.cookies.clear(&self.name(state))
    }

    /// Returns the clearing of what does not open, is over, or is the oldest where there is no room.
    fn make_room(&self, request: &Request, new_bytes: usize, now: Timestamp) -> Vec<HeaderValue> {
        let prefix = self.cookies.attempt_prefix();
        let mut kept: Vec<(Timestamp, &str, usize)> = Vec::new();
        let mut cleared: Vec<&str> = Vec::new();
        for (name, value) in request.all_cookies().filter(|(name, _)| name.starts_with(prefix)) {
            match self.open(name, value).filter(|attempt| attempt.is_open(now)) {
                Some(attempt) => kept.push((attempt.expires_at, name, name.len() + value.len())),
                None if is_ours(&name[prefix.len()..]) => cleared.push(name),
                None => {}
            }
        }
        // Newest first: what is cut off at the end is the oldest.
        kept.sort_by_key(|(expires_at, ..)| std::cmp::Reverse(*expires_at));
        let mut bytes = new_bytes;
        let mut full = false;
        for (count, (_, name, len)) in kept.into_iter().enumerate() {
            bytes += len;
            full |= count + 1 >= MOST || bytes > MOST_BYTES;
            if full {
                cleared.push(name);
            }
        }
        cleared.sort_unstable();
        cleared.dedup();
        cleared.into_iter().map(|name| self.cookies.clear(name)).collect()
    }

    fn name(&self, state: &str) -> String {
        let id = Hash::of(format!("doorbook/v1/attempt\n{state}").as_bytes());
        format!("{}{}", self.cookies.attempt_prefix(), hex::encode(&id.0[..8]))
    }

    #[expect(clippy::expect_used, reason = "a struct of texts and a number is JSON")]
    fn seal(&self, attempt: &LoginAttempt, name: &str) -> String {
        let sealed = Sealed {
            s: attempt.state.expose(),
            v: attempt.verifier.expose(),
            t: attempt.target.location(),
            e: attempt.expires_at.0,
        };
        let plaintext = Zeroizing::new(serde_json::to_vec(&sealed).expect("it is JSON"));
        self.key.seal(PURPOSE, name.as_bytes(), &plaintext)
    }

    fn open(&self, name: &str, value: &str) -> Option<LoginAttempt> {
        let plaintext = self.key.open(PURPOSE, name.as_bytes(), value)?;
        let sealed: Sealed<'_> = serde_json::from_slice(&plaintext).ok()?;
        Some(LoginAttempt {
            state: Secret::new(sealed.s),
            verifier: Secret::new(sealed.v),
            // Read again: what is allowed may have changed since.
            target: self.targets.read(sealed.t).ok()?,
            expires_at: Timestamp(sealed.e),
        })
    }
}

/// Returns whether this is the end of a name that [`Attempts`] gives.
///
/// Only those are cleared: a name is repeated in an answer's header.
fn is_ours(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
