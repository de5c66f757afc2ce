//! How much strangers may write: the first few failures and denials one by one, the rest as counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::domain::command::Command;
use crate::domain::event::FailureCode;
use crate::domain::time::Timestamp;

/// Recorded one by one for each address and hour.
const PER_ADDRESS: u32 = 5;
/// Recorded one by one in an hour, all addresses together.
const IN_ALL: u32 = 200;
/// Addresses remembered in an hour; beyond it everything is only counted.
const REMEMBERED: usize = 65_536;
const HOUR_MS: i64 = 3_600_000;

/// Counts the failures and denials of an hour.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    hour: Mutex<Hour>,
}

#[derive(Debug, Default)]
struct Hour {
    number: i64,
    recorded: u32,
    by_address: HashMap<Option<IpAddr>, u32>,
    counts: BTreeMap<FailureCode, u64>,
    counted_addresses: HashSet<Option<IpAddr>>,
}

/// What to do with one failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// Write it down.
    OneByOne,
    /// It has been counted.
    Counted,
}

impl Strangers {
    /// Decides whether a failure from `address` is written down by itself, and what of the hour before
    /// is to be written down as counts.
    pub(super) fn note(
        &self,
        address: Option<IpAddr>,
        code: FailureCode,
        now: Timestamp,
    ) -> (Recording, Option<Command>) {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let over = hour.turn(now);
        let address = address.map(network);
        let known = hour.by_address.contains_key(&address) || hour.by_address.len() < REMEMBERED;
        let so_far = hour.by_address.get(&address).copied().unwrap_or(0);
        if known && so_far < PER_ADDRESS && hour.recorded < IN_ALL {
            hour.by_address.insert(address, so_far + 1);
            hour.recorded += 1;
            return (Recording::OneByOne, over);
        }
        *hour.counts.entry(code).or_default() += 1;
        if hour.counted_addresses.len() < REMEMBERED {
            hour.counted_addresses.insert(address);
        }
        (Recording::Counted, over)
    }

    /// Returns what of an hour that is over is to be written down.
    pub(super) fn turn(&self, now: Timestamp) -> Option<Command> {
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).turn(now)
    }

    /// Returns what has been counted so far, at the end of the process.
    pub(super) fn drain(&self, now: Timestamp) -> Option<Command> {
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).roll_up(now)
    }
}

impl Hour {
    fn turn(&mut self, now: Timestamp) -> Option<Command> {
        let number = now.0.div_euclid(HOUR_MS);
        if number == self.number {
            return None;
        }
        let over = self.roll_up(Timestamp((self.number + 1) * HOUR_MS));
        *self = Hour { number, ..Hour::default() };
        over
    }

    fn roll_up(&mut self, to: Timestamp) -> Option<Command> {
        let counts: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        let distinct_addresses = std::mem::take(&mut self.counted_addresses).len() as u64;
        (!counts.is_empty()).then(|| Command::RollUp {
            from: Timestamp(self.number * HOUR_MS),
            to,
            counts,
            distinct_addresses,
        })
    }
}

/// Returns what counts as one address: an IPv4 address, or the /64 that an IPv6 address is in.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_767_322_800_000);

    fn note(strangers: &Strangers, address: &str, at: Timestamp) -> (Recording, Option<Command>) {
        strangers.note(Some(address.parse().expect("an address")), FailureCode::StateMismatch, at)
    }

    #[test]
    fn five_an_address_are_written_and_the_rest_is_counted() {
        let strangers = Strangers::default();
        for _ in 0..5 {
            assert_eq!(note(&strangers, "192.0.2.1", START), (Recording::OneByOne, None));
        }
        for _ in 0..1_000 {
            assert_eq!(note(&strangers, "192.0.2.1", START).0, Recording::Counted);
        }
        assert_eq!(note(&strangers, "192.0.2.2", START).0, Recording::OneByOne);
        let next = START.plus(std::time::Duration::from_secs(3_600));
        let rolled = note(&strangers, "192.0.2.1", next).1;
        assert_eq!(
            rolled,
            Some(Command::RollUp {
                from: START,
                to: next,
                counts: vec![(FailureCode::StateMismatch, 1_000)],
                distinct_addresses: 1,
            })
        );
        assert_eq!(strangers.turn(next), None);
    }

    #[test]
    fn a_slash_64_is_one_address_and_all_together_write_200() {
        let strangers = Strangers::default();
        for host in 0..6 {
            note(&strangers, &format!("2001:db8::{host:x}"), START);
        }
        assert_eq!(note(&strangers, "2001:db8::ff", START).0, Recording::Counted);
        let written = (0..1_000)
            .filter(|n| {
                note(&strangers, &format!("10.0.{}.{}", n / 250, n % 250), START).0 == Recording::OneByOne
            })
            .count();
        assert_eq!(written, 195);
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(
            network("::ffff:192.0.2.1".parse().expect("ip")),
            "192.0.2.1".parse::<IpAddr>().expect("ip")
        );
    }
}
