//! How often one address may start a login or come back from one.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::app::network;
use crate::clock::{Clock, Ticks};

const PER_MINUTE: NonZeroU32 = nonzero(60);
const BURST: NonZeroU32 = nonzero(300);

const fn nonzero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// From how many addresses on those that have been quiet are forgotten.
const TIDY_ABOVE: usize = 4_096;

/// A burst of 300, then 60 a minute, for each address.
pub(super) struct AddressLimit {
    clock: Ticks,
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, Ticks, NoOpMiddleware<Duration>>,
    /// The second in which the quiet ones were last forgotten.
    tidied: AtomicU64,
}

impl AddressLimit {
    /// Returns a limit that nobody has used up.
    pub(super) fn new(clock: Arc<dyn Clock>) -> AddressLimit {
        let clock = Ticks(clock);
        let quota = Quota::per_minute(PER_MINUTE).allow_burst(BURST);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        AddressLimit { clock, limiter, tidied: AtomicU64::new(0) }
    }

    /// Counts one; on `Err`, the seconds to wait.
    pub(super) fn count(&self, ip: Option<IpAddr>) -> Result<(), u64> {
        // Without an address all share one place, so that hiding it is no way around.
        let ip = ip.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.tidy();
        self.limiter.check_key(&network(ip)).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
        })
    }

    /// Forgets, once a second at most, the addresses that have their whole burst back.
    fn tidy(&self) {
        if self.limiter.len() <= TIDY_ABOVE {
            return;
        }
        let second = self.clock.now().as_secs();
        if self.tidied.swap(second, Ordering::Relaxed) != second {
            self.limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    fn limit() -> (ManualClock, AddressLimit) {
        let clock = ManualClock::new(Timestamp(0));
        (clock.clone(), AddressLimit::new(Arc::new(clock)))
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_burst_of_300_then_one_a_second() {
        let (clock, limit) = limit();
        for n in 0..300 {
            assert_eq!(limit.count(ip("192.0.2.1")), Ok(()), "{n}");
        }
        assert_eq!(limit.count(ip("192.0.2.1")), Err(1));
        assert_eq!(limit.count(ip("192.0.2.2")), Ok(()));
        clock.advance(Duration::from_secs(60));
        for n in 0..60 {
            assert_eq!(limit.count(ip("192.0.2.1")), Ok(()), "{n}");
        }
        assert_eq!(limit.count(ip("192.0.2.1")), Err(1));
    }

    #[test]
    fn a_household_of_ipv6_counts_as_one_and_a_mapped_address_as_ipv4() {
        let (_, limit) = limit();
        for n in 0..300 {
            assert_eq!(limit.count(ip(&format!("2001:db8:0:1::{n:x}"))), Ok(()));
            assert_eq!(limit.count(ip("192.0.2.1")), Ok(()));
        }
        assert_eq!(limit.count(ip("2001:db8:0:1:ffff::1")), Err(1));
        assert_eq!(limit.count(ip("2001:db8:0:2::1")), Ok(()));
        assert_eq!(limit.count(ip("::ffff:192.0.2.1")), Err(1));
    }

    #[test]
    fn quiet_addresses_are_forgotten() {
        let (clock, limit) = limit();
        for n in 0..20_000_u32 {
            if n % 1_000 == 0 {
                clock.advance(Duration::from_secs(2));
            }
            assert_eq!(limit.count(Some(IpAddr::from(n.to_be_bytes()))), Ok(()));
        }
        assert!(limit.limiter.len() <= TIDY_ABOVE + 1_000, "{}", limit.limiter.len());
    }
}
