//! What somebody does who means harm, and what a broken Discord does: the real program, looked at from outside.
//!
//! The stories are short, so that they run with all others. Those that are ignored tell the same for as long as
//! `HOSTILE_SECONDS` says, with as many connections as `HOSTILE_CONNECTIONS` says, and print what they measured.
//! No story says how fast an answer must be: it says that there is one, and what the process may have taken by then.

#![expect(
    clippy::print_stdout,
    reason = "the figures are for whoever runs it, and the seed is for the next time"
)]

mod crowds;
mod discord;
mod flood;
mod framing;
mod ledger;
mod life;
mod queues;
mod seen;
mod slow;
mod storm;
mod wire;

use std::time::Duration;

use doorbook::clock::{Clock, ManualClock, SystemClock};
use tokio::task::JoinHandle;

use crate::harness::{House, Plan};

/// Returns a number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

/// Returns how long a story that is ignored goes on.
fn seconds(default: u64) -> Duration {
    Duration::from_secs(number("HOSTILE_SECONDS", default))
}

/// Waits by the clock of the machine: what is looked at is another process.
async fn pause(how_long: Duration) {
    SystemClock::new().sleep(how_long).await;
}

/// A house for processes by a plan, with its configuration written down.
async fn house_for_processes(plan: Plan) -> House {
    let house = House::closed(plan).await;
    house.clock.step_to(SystemClock::new().now());
    let _ = house.config();
    house
}

/// Lets a clock go as the machine's does, until this is dropped.
struct Ticking(JoinHandle<()>);

impl Ticking {
    fn of(clock: &ManualClock) -> Ticking {
        let clock = clock.clone();
        Ticking(tokio::spawn(async move {
            let (machine, mut last) = (SystemClock::new(), Duration::ZERO);
            loop {
                machine.sleep(Duration::from_millis(20)).await;
                let now = machine.monotonic();
                clock.advance(now - last);
                last = now;
            }
        }))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Chance that can be had again: by the seed that a story prints.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    /// Takes the seed from `HOSTILE_SEED`, or from the time of day.
    fn thrown() -> Dice {
        let today = u64::try_from(SystemClock::new().now().0).unwrap_or(1);
        let seed = number("HOSTILE_SEED", today);
        println!("HOSTILE_SEED={seed}");
        Dice(seed)
    }

    /// The next number (splitmix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        let at = usize::try_from(self.below(all.len() as u64)).expect("small");
        all[at].clone()
    }
}
