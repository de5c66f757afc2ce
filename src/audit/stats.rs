//! How many, by day or by hour: sign-ins, denials, refreshes, and the addresses that most came from.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use super::{Opener, ReadError, Reader};
use crate::domain::event::{Event, FailureCode};
use crate::domain::id::Position;
use crate::domain::record::Record;
use crate::domain::state::Timeline;
use crate::domain::time::Timestamp;

/// How long one row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A day in UTC.
    Day,
    /// An hour.
    Hour,
}

/// One day or hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// When it begins.
    pub begins: String,
    /// People let in.
    pub sign_ins: u64,
    /// Of those, for the first time.
    pub first: u64,
    /// People turned away by the rules.
    pub denied: u64,
    /// Sign-ins that came to no end.
    pub failed: u64,
    /// Tokens renewed.
    pub refreshed: u64,
    /// Tokens not renewed.
    pub refresh_failed: u64,
    /// Sessions ended before their time.
    pub ended: u64,
}

/// All of them, and where people came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// By day or hour, without those on which nothing happened.
    pub counts: Vec<Count>,
    /// The addresses that most sign-ins, failures and denials came from, the most frequent first.
    pub addresses: Vec<Address>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Which.
    pub ip: IpAddr,
    /// Sign-ins from there.
    pub sign_ins: u64,
    /// Failures and denials from there, as far as they were recorded one by one.
    pub failed: u64,
}

impl Reader {
    /// Counts what happened from `since` until `until`.
    pub async fn stats(
        &self,
        span: Span,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        addresses: usize,
    ) -> Result<Stats, ReadError> {
        let Some(head) = self.head().await? else { return Ok(Stats::default()) };
        let mut time = Timeline::default();
        let mut counts: BTreeMap<i64, Count> = BTreeMap::new();
        let mut from: HashMap<IpAddr, (u64, u64)> = HashMap::new();
        self.each(Position(0), head, |_, record| {
            let counts_once = time.advance(record);
            let at = time.eff();
            if !counts_once || since.is_some_and(|since| at < since) || until.is_some_and(|until| at >= until)
            {
                return;
            }
            let length = match span {
                Span::Day => 86_400_000,
                Span::Hour => 3_600_000,
            };
            let begins = at.0.div_euclid(length) * length;
            let count = counts.entry(begins).or_default();
            count.begins = Timestamp(begins).to_string();
            count.hear(record);
            note_address(record, self.opener(), &mut from);
        })
        .await?;
        let mut top: Vec<Address> =
            from.into_iter().map(|(ip, (sign_ins, failed))| Address { ip, sign_ins, failed }).collect();
        top.sort_by_key(|address| (u64::MAX - address.sign_ins - address.failed, address.ip));
        top.truncate(addresses);
        let something = |count: &Count| *count != Count { begins: count.begins.clone(), ..Count::default() };
        Ok(Stats { counts: counts.into_values().filter(something).collect(), addresses: top })
    }
}

impl Count {
    fn hear(&mut self, record: &Record) {
        for event in &record.events {
            match event {
                Event::SessionOpened { first, .. } => {
                    self.sign_ins += 1;
                    self.first += u64::from(*first);
                }
                Event::SignInDenied { .. } => self.denied += 1,
                Event::SignInFailed { .. } => self.failed += 1,
                Event::SignInRolledUp { counts, .. } => {
                    for (code, count) in counts {
                        let to = if *code == FailureCode::NotAllowed {
                            &mut self.denied
                        } else {
                            &mut self.failed
                        };
                        *to = to.saturating_add(*count);
                    }
                }
                Event::GrantRefreshed { .. } => self.refreshed += 1,
                Event::GrantRefreshFailed { .. } => self.refresh_failed += 1,
                Event::SessionRevoked { sessions, .. } | Event::UserErased { sessions, .. } => {
                    self.ended += sessions.len() as u64;
                }
                _ => {}
            }
        }
    }
}

fn note_address(record: &Record, opener: &Opener, from: &mut HashMap<IpAddr, (u64, u64)>) {
    let sign_ins = record.events.iter().filter(|event| matches!(event, Event::SessionOpened { .. })).count();
    let failures = record
        .events
        .iter()
        .filter(|event| matches!(event, Event::SignInFailed { .. } | Event::SignInDenied { .. }));
    let failed = failures.count();
    if sign_ins + failed == 0 {
        return;
    }
    if let Some(ip) = opener.origin(record).and_then(|origin| origin.ip) {
        let count = from.entry(ip).or_default();
        count.0 += sign_ins as u64;
        count.1 += failed as u64;
    }
}
