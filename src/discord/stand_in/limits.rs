//! How often may one caller ask: rate limits per route, and the ban for those who collect refusals.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::faults::{LimitScope, RateLimited, RetryBody, RetryHeader};
use super::reply::Reply;
use super::requests::Route;
use super::switches::{Limit, Switches};
use crate::domain::id::Hash;
use crate::domain::time::Timestamp;

/// How many buckets, and how many addresses, are remembered; past that those that do not matter are forgotten.
const KEPT: usize = 10_000;

/// Who asked how often.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    buckets: HashMap<(Route, Hash), Bucket>,
    addresses: HashMap<IpAddr, Address>,
    /// A ban of everybody, asked for by a test.
    everybody_until: Option<Duration>,
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    at: Duration,
}

#[derive(Debug, Default)]
struct Address {
    refused_at: VecDeque<Duration>,
    banned_until: Option<Duration>,
}

/// How a caller stands after a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    limit: Limit,
    remaining: f64,
    /// Seconds until the bucket is full again.
    reset_after: f64,
    /// Seconds until one request fits, where none did.
    pub wait: Option<f64>,
}

impl Traffic {
    /// Counts a request against its bucket.
    pub(super) fn take(&mut self, route: Route, caller: Hash, limit: Limit, now: Duration) -> Standing {
        let size = f64::from(limit.size);
        let per_second = size / f64::from(limit.seconds.max(1));
        if self.buckets.len() >= KEPT {
            self.buckets
                .retain(|_, bucket| bucket.level + (now - bucket.at).as_secs_f64() * per_second < size);
        }
        let bucket = self.buckets.entry((route, caller)).or_insert(Bucket { level: size, at: now });
        bucket.level = (bucket.level + (now - bucket.at).as_secs_f64() * per_second).min(size);
        bucket.at = now;
        let fits = bucket.level >= 1.0;
        if fits {
            bucket.level -= 1.0;
        }
        Standing {
            limit,
            remaining: bucket.level.floor(),
            reset_after: (size - bucket.level) / per_second.max(f64::MIN_POSITIVE),
            wait: (!fits).then(|| (1.0 - bucket.level) / per_second.max(f64::MIN_POSITIVE)),
        }
    }

    /// Returns how long `address` is still banned.
    pub(super) fn banned(&self, address: IpAddr, now: Duration) -> Option<Duration> {
        let own = self.addresses.get(&address).and_then(|address| address.banned_until);
        own.into_iter()
            .chain(self.everybody_until)
            .filter_map(|until| until.checked_sub(now))
            .max()
            .filter(|left| !left.is_zero())
    }

    /// Bans everybody until `until`, or nobody any more.
    pub(super) fn ban_everybody(&mut self, until: Option<Duration>) {
        self.everybody_until = until;
        if until.is_none() {
            self.addresses.clear();
        }
    }

    /// Counts an answer of 401, 403 or 429, and bans whoever collected too many.
    pub(super) fn count_refusal(&mut self, address: IpAddr, switches: &Switches, now: Duration) {
        if switches.ban_after == 0 {
            return;
        }
        if self.addresses.len() >= KEPT {
            self.addresses.retain(|_, address| address.banned_until.is_some_and(|until| until > now));
        }
        let address = self.addresses.entry(address).or_default();
        let window = Duration::from_secs(switches.ban_window);
        while address.refused_at.front().is_some_and(|at| now.saturating_sub(*at) >= window) {
            address.refused_at.pop_front();
        }
        address.refused_at.push_back(now);
        if address.refused_at.len() >= usize::try_from(switches.ban_after).unwrap_or(usize::MAX) {
            address.refused_at.clear();
            address.banned_until = Some(now + Duration::from_secs(switches.ban_seconds));
        }
    }
}

impl Standing {
    /// Returns the answer with the headers that tell how the caller stands.
    pub(super) fn on(&self, reply: Reply, now: Timestamp) -> Reply {
        with_bucket(reply, self.limit.size, self.remaining, self.reset_after, now)
    }

    /// Returns the 429 for a caller that has to wait.
    pub(super) fn refusal(&self, wait: f64, milliseconds: bool, now: Timestamp) -> Reply {
        let limited = RateLimited { retry_after: wait, ..RateLimited::default() };
        let reply = rate_limited(&limited, milliseconds, now);
        with_bucket(reply, self.limit.size, 0.0, wait, now)
    }
}

/// Returns a 429 of the API in any of its forms.
pub(super) fn rate_limited(limited: &RateLimited, milliseconds: bool, now: Timestamp) -> Reply {
    const STATUS: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    let message = match limited.scope {
        LimitScope::Shared => "The resource is being rate limited.",
        LimitScope::User | LimitScope::Global => "You are being rate limited.",
    };
    let wait = limited.retry_after * if milliseconds { 1_000.0 } else { 1.0 };
    let global = limited.scope == LimitScope::Global;
    let body = json!({ "message": message, "retry_after": wait, "global": global });
    let mut reply = match limited.body {
        RetryBody::Json => Reply::json(STATUS, &body),
        RetryBody::JsonWithoutRetryAfter => {
            Reply::json(STATUS, &json!({ "message": message, "global": global }))
        }
        RetryBody::Blocked => Reply::api_error(
            STATUS,
            "You are being blocked from accessing our API temporarily due to exceeding our rate limits frequently. \
             Please read our docs at https://discord.com/developers/docs/topics/rate-limits to prevent this moving forward.",
            0,
        ),
        RetryBody::Empty => Reply::new(STATUS, "application/json", ""),
    };
    match &limited.header {
        RetryHeader::Rounded => reply = reply.with_text("retry-after", &format!("{:.0}", wait.ceil())),
        RetryHeader::Text(text) => reply = reply.with_text("retry-after", text),
        RetryHeader::Absent => {}
    }
    let outcome = if limited.scope == LimitScope::Shared { "rate_limited_shared" } else { "rate_limited" };
    match limited.scope {
        LimitScope::Global => {
            reply.with_text("x-ratelimit-global", "true").with_text("x-ratelimit-scope", "global")
        }
        LimitScope::User => {
            with_bucket(reply.with_text("x-ratelimit-scope", "user"), 5, 0.0, limited.retry_after, now)
        }
        LimitScope::Shared => {
            with_bucket(reply.with_text("x-ratelimit-scope", "shared"), 5, 0.0, limited.retry_after, now)
        }
    }
    .named(outcome)
}

/// Returns the text with which Cloudflare turns an address away.
pub(super) fn cloudflare_limit(retry_after: Option<u64>) -> Reply {
    let reply = Reply::new(StatusCode::TOO_MANY_REQUESTS, "text/plain; charset=UTF-8", "error code: 1015");
    let reply = reply.named("cloudflare_limit");
    match retry_after {
        Some(seconds) => reply.with_text("retry-after", &seconds.to_string()),
        None => reply,
    }
}

fn with_bucket(reply: Reply, size: u32, remaining: f64, reset_after: f64, now: Timestamp) -> Reply {
    let reset = now.plus(Duration::try_from_secs_f64(reset_after).unwrap_or_default()).0;
    reply
        .with_text("x-ratelimit-limit", &size.to_string())
        .with_text("x-ratelimit-remaining", &format!("{remaining:.0}"))
        .with_text("x-ratelimit-reset", &format!("{}.{:03}", reset / 1_000, reset % 1_000))
        .with_text("x-ratelimit-reset-after", &format!("{reset_after:.3}"))
        .with_text("x-ratelimit-bucket", "6f0d2c41a97b")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { size: 5, seconds: 5 };

    #[test]
    fn a_bucket_empties_and_fills_again_with_time() {
        let mut traffic = Traffic::default();
        let caller = Hash::of(b"caller");
        let mut take =
            |seconds| traffic.take(Route::Member, caller, LIMIT, Duration::from_millis(seconds)).wait;
        for _ in 0..5 {
            assert_eq!(take(0), None);
        }
        assert_eq!(take(0), Some(1.0));
        assert_eq!(take(500), Some(0.5));
        assert_eq!(take(1_000), None);
        assert_eq!(take(1_000), Some(1.0));
    }

    #[test]
    fn a_ban_comes_with_the_last_refusal_of_the_window_and_ends() {
        let mut traffic = Traffic::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        let switches = Switches { ban_after: 3, ban_window: 10, ban_seconds: 60, ..Switches::default() };
        for second in [0, 1, 11] {
            traffic.count_refusal(address, &switches, Duration::from_secs(second));
        }
        assert_eq!(traffic.banned(address, Duration::from_secs(11)), None, "the first two were too long ago");
        traffic.count_refusal(address, &switches, Duration::from_secs(12));
        traffic.count_refusal(address, &switches, Duration::from_secs(13));
        assert_eq!(traffic.banned(address, Duration::from_secs(13)), Some(Duration::from_secs(60)));
        assert_eq!(traffic.banned(IpAddr::from([127, 0, 0, 2]), Duration::from_secs(13)), None);
        assert_eq!(traffic.banned(address, Duration::from_secs(73)), None);
    }
}
