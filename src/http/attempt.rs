//! Login attempts in the browser: one sealed cookie each, so that parallel tabs do not get in each other's way.
//!
//! The cookie's name holds a hash of the state and its value is sealed, so neither shows the state.

use http::HeaderValue;
use serde::{Deserialize, Serialize};
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
    pub fn new(cookies: Cookies, key: CookieKey, targets: TargetRules) -> Attempts {
        Attempts { cookies, key, targets }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderMap, Method, Uri};
    use url::Url;

    use super::*;
    use crate::domain::event::Origin;
    use crate::domain::id::{LogId, RequestId};
    use crate::domain::login::ATTEMPT_MAX_AGE;
    use crate::entropy::{Entropy, SeededEntropy};
    use crate::http::query::Query;
    use crate::http::request::Head;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn attempts(secret: &str) -> Attempts {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new("attempts"));
        let key = CookieKey::from_secret(LogId([1; 16]), &Secret::new(secret), entropy);
        let cookies = Cookies::new(true, Duration::from_secs(60));
        let own = Url::parse("https://login.example.org").expect("a URL");
        Attempts::new(cookies, key, TargetRules::new(&own, &[]))
    }

    fn attempt(n: u8, target: &str, now: Timestamp) -> LoginAttempt {
        let target = attempts("").targets.read(target).expect("a target");
        LoginAttempt::begin(&[n; 64], target, now)
    }

    /// What a browser does with cookies, as far as it matters here.
    #[derive(Default, Clone)]
    struct Browser(Vec<(String, String)>);

    impl Browser {
        fn take(&mut self, cookies: &[HeaderValue]) {
            for cookie in cookies {
                let text = cookie.to_str().expect("ASCII");
                let (name, value) =
                    text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
                self.0.retain(|(kept, _)| kept != name);
                if !text.contains("Max-Age=0") {
                    self.0.push((name.to_owned(), value.to_owned()));
                }
            }
        }

        fn request(&self) -> Request {
            let line: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_str(&line.join("; ")).expect("ASCII"));
            let head = Head {
                id: RequestId([0; 16]),
                method: Method::GET,
                uri: Uri::from_static("/"),
                headers,
                peer: None,
            };
            Request { head: head.into(), params: vec![], query: Query::default(), client: Origin::default() }
        }

        fn bytes(&self) -> usize {
            self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
        }
    }

    #[test]
    fn an_attempt_comes_back_whole_and_shows_nothing() {
        let attempts = attempts("secret");
        let begun = attempt(1, "/account?x=%22%27&y", NOW);
        let mut browser = Browser::default();
        browser.take(&attempts.begin(&browser.request(), &begun, NOW));
        let (name, value) = &browser.0[0];
        for secret in [&begun.state, &begun.verifier] {
            assert!(!name.contains(secret.expose()) && !value.contains(secret.expose()));
        }
        let state = begun.state.expose();
        let accepted = attempts.accept(&browser.request(), state, NOW).expect("accepted");
        assert_eq!((accepted.verifier, accepted.target), (begun.verifier.clone(), begun.target.clone()));
        assert_eq!(attempts.accept(&browser.request(), state, NOW.plus(ATTEMPT_MAX_AGE)), None);
    }

    /// A state of caddy-discord belonged to no browser: whoever followed a link was signed in as its author.
    #[test]
    fn another_browser_another_state_another_key_and_another_name_are_refused() {
        let ours = attempts("secret");
        let (first, second) = (attempt(1, "/", NOW), attempt(2, "/", NOW));
        let mut browser = Browser::default();
        browser.take(&ours.begin(&browser.request(), &first, NOW));
        let state = first.state.expose();
        assert!(ours.accept(&browser.request(), state, NOW).is_some());
        assert_eq!(ours.accept(&Browser::default().request(), state, NOW), None);
        assert_eq!(ours.accept(&browser.request(), second.state.expose(), NOW), None);
        assert_eq!(attempts("other").accept(&browser.request(), state, NOW), None);

        let mut renamed = browser.clone();
        renamed.0[0].0 = ours.name(second.state.expose());
        assert_eq!(ours.accept(&renamed.request(), second.state.expose(), NOW), None);
        assert_eq!(ours.accept(&renamed.request(), state, NOW), None);

        let mut flipped = browser.clone();
        let at = flipped.0[0].1.len() / 2;
        let other = if flipped.0[0].1.as_bytes()[at] == b'A' { "B" } else { "A" };
        flipped.0[0].1.replace_range(at..=at, other);
        assert_eq!(ours.accept(&flipped.request(), state, NOW), None);
    }

    #[test]
    fn a_cookie_that_was_slipped_in_does_not_hide_ours() {
        let attempts = attempts("secret");
        let begun = attempt(1, "/", NOW);
        let mut browser = Browser::default();
        browser.take(&attempts.begin(&browser.request(), &begun, NOW));
        let name = browser.0[0].0.clone();
        browser.0.insert(0, (name, "junk".into()));
        assert!(attempts.accept(&browser.request(), begun.state.expose(), NOW).is_some());
    }

    #[test]
    fn parallel_tabs_work_and_the_oldest_attempts_make_room() {
        let attempts = attempts("secret");
        let mut browser = Browser::default();
        let mut begun = Vec::new();
        for n in 1..=12 {
            let now = NOW.plus(Duration::from_secs(u64::from(n)));
            let attempt = attempt(n, "/", now);
            browser.take(&attempts.begin(&browser.request(), &attempt, now));
            begun.push(attempt);
            assert!(browser.0.len() <= MOST, "{n}");
        }
        assert_eq!(browser.0.len(), MOST);
        let now = NOW.plus(Duration::from_secs(13));
        let alive: Vec<_> = begun
            .iter()
            .map(|a| attempts.accept(&browser.request(), a.state.expose(), now).is_some())
            .collect();
        assert_eq!(alive, [[false; 4].as_slice(), [true; 8].as_slice()].concat());
    }

    #[test]
    fn long_targets_leave_room_for_fewer() {
        let attempts = attempts("secret");
        let long = format!("/{}", "a".repeat(2_000));
        let mut browser = Browser::default();
        for n in 1..=5 {
            let now = NOW.plus(Duration::from_secs(u64::from(n)));
            let set = attempts.begin(&browser.request(), &attempt(n, &long, now), now);
            assert!(set.iter().all(|cookie| cookie.len() < 4_096), "browsers drop what is longer");
            browser.take(&set);
            assert!(browser.bytes() <= MOST_BYTES, "{n}: {}", browser.bytes());
        }
        assert_eq!(browser.0.len(), 2);
    }

    #[test]
    fn what_is_over_or_does_not_open_is_cleared_and_foreign_names_are_not_repeated() {
        let attempts = attempts("secret");
        let mut browser = Browser::default();
        browser.take(&attempts.begin(&browser.request(), &attempt(1, "/", NOW), NOW));
        browser.0.push(("__Host-doorbook-login-0123456789abcdef".into(), "junk".into()));
        browser.0.push(("__Host-doorbook-login-UPPER\"x".into(), "junk".into()));
        let later = NOW.plus(ATTEMPT_MAX_AGE);
        let set = attempts.begin(&browser.request(), &attempt(2, "/", later), later);
        assert_eq!(set.len(), 3);
        assert!(set.iter().all(|cookie| !cookie.to_str().expect("ASCII").contains("UPPER")));
        browser.take(&set);
        assert_eq!(browser.0.len(), 2);
    }

    #[test]
    fn a_target_that_is_not_allowed_any_more_is_not_followed() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let mut before = attempts("secret");
        before.targets =
            TargetRules::new(&url("https://login.example.org"), &[url("https://app.example.org")]);
        let target = before.targets.read("https://app.example.org/").expect("a target");
        let begun = LoginAttempt::begin(&[1; 64], target, NOW);
        let mut browser = Browser::default();
        browser.take(&before.begin(&browser.request(), &begun, NOW));
        assert!(before.accept(&browser.request(), begun.state.expose(), NOW).is_some());
        assert_eq!(attempts("secret").accept(&browser.request(), begun.state.expose(), NOW), None);
    }
}
