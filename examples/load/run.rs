//! Many connections at once: each as fast as it is answered, or all together on a timetable.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{Failure, cpu};

/// What a round gave.
pub(crate) struct Measured {
    /// Microseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) elapsed: Duration,
    /// Processor time of the server.
    pub(crate) processor: Duration,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.latency.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn processor_micros(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / (self.latency.len().max(1)) as f64
    }
}

/// Returns the round in the middle by throughput.
pub(crate) fn median(mut rounds: Vec<Measured>) -> Option<Measured> {
    rounds.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle)
}

/// Returns all rounds as one: on a timetable they are alike, and only the rare slow piece tells them apart.
pub(crate) fn together(rounds: Vec<Measured>) -> Result<Option<Measured>, Failure> {
    let mut rounds = rounds.into_iter();
    let Some(mut all) = rounds.next() else { return Ok(None) };
    for round in rounds {
        all.latency.add(round.latency)?;
        all.elapsed += round.elapsed;
        all.processor += round.processor;
    }
    Ok(Some(all))
}

/// How a round is driven.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lasts: Duration,
    /// Requests a second on a timetable; without it each connection goes on when it is answered.
    pub(crate) rate: Option<u64>,
}

/// Whoever does one piece of work after the other, on connections of their own.
pub(crate) trait Worker: Send + 'static {
    /// Does one piece, checks it, and says whether there was any left to do.
    fn step(&mut self) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// Drives a server with all workers at once.
///
/// On a timetable, latency counts from when a piece was due and not from when it was begun: a server that stalls
/// is charged with everybody who would have come meanwhile. It is not charged with our own alarm clock, which wakes
/// a worker that had nothing to do up to a millisecond late.
pub(crate) async fn drive<W: Worker>(process: u32, pace: Pace, workers: Vec<W>) -> Result<Measured, Failure> {
    let before = cpu::time(process);
    let began = now();
    let turn = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for mut worker in workers {
        let turn = turn.clone();
        running.spawn(async move {
            let mut latency = histogram()?;
            loop {
                let due = match pace.rate {
                    None => now(),
                    Some(rate) => {
                        let nth = turn.fetch_add(1, Ordering::Relaxed);
                        let due =
                            began + Duration::from_nanos(nth.saturating_mul(1_000_000_000) / rate.max(1));
                        if now() < due {
                            tokio::time::sleep_until(due.into()).await;
                            now()
                        } else {
                            due
                        }
                    }
                };
                if began.elapsed() >= pace.lasts || due.duration_since(began) >= pace.lasts {
                    return Ok::<_, Failure>(latency);
                }
                if !worker.step().await? {
                    return Ok(latency);
                }
                latency.saturating_record(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        });
    }
    let mut latency = histogram()?;
    while let Some(done) = running.join_next().await {
        latency.add(done??)?;
    }
    let elapsed = began.elapsed();
    Ok(Measured { latency, elapsed, processor: cpu::time(process).saturating_sub(before) })
}

/// Returns the time of the machine: here it is what is measured.
#[expect(clippy::disallowed_methods, reason = "this program measures, and nobody moves time for it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}
