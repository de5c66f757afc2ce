//! `kill -9` at any moment, a restart, and a comparison with every answer that was acknowledged.

use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};

use super::dice::{Dice, times};
use super::life::{Life, Wrong};
use super::say;
use crate::harness::{House, Process};

/// A house is lived in for so many kills; then its log is verified, and there is another.
const KILLS_A_LIFE: usize = 25;

/// What a story found.
#[derive(Default)]
struct Figures {
    kills: usize,
    while_starting: usize,
    acknowledged: u64,
    compared: u64,
    wrong: Wrong,
}

/// Lives in a house through so many kills.
async fn a_life(kills: usize, dice: &Dice, figures: &mut Figures) {
    let clock = SystemClock::new();
    let house = House::for_processes().await;
    let mut life = Life::begin(&house);
    // How long a start takes, as far as is known.
    let mut start = 200;
    for _ in 0..kills {
        figures.kills += 1;
        let mut process = Process::spawn(&house, &["serve"], &[]);
        if figures.kills > 1 && dice.percent(25) {
            figures.while_starting += 1;
            clock.sleep(Duration::from_millis(dice.below(start))).await;
            process.kill();
            continue;
        }
        let began = clock.monotonic();
        process.ready().await;
        start = u64::try_from((clock.monotonic() - began).as_millis()).expect("it was quick");
        figures.wrong.extend(life.is_remembered(&process).await.err().into_iter().flatten());
        if dice.percent(40) {
            life.newcomer(&house);
        }
        let moment = Duration::from_micros(dice.below(500_000));
        let went = life
            .goes_on(process.browser(), &house, dice, async {
                clock.sleep(moment).await;
                process.kill();
            })
            .await;
        figures.wrong.extend(went.err().into_iter().flatten());
    }
    let mut process = Process::serve(&house).await;
    figures.wrong.extend(life.is_remembered(&process).await.err().into_iter().flatten());
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let verified = Process::spawn(&house, &["audit", "verify"], &[]).ends().await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    figures.acknowledged += life.acknowledged;
    figures.compared += life.compared;
}

async fn kills(count: usize) {
    let (dice, clock) = (Dice::thrown(), SystemClock::new());
    let mut figures = Figures::default();
    while figures.kills < count && figures.wrong.is_empty() {
        a_life(KILLS_A_LIFE.min(count - figures.kills), &dice, &mut figures).await;
        let Figures { kills, while_starting, acknowledged, compared, wrong } = &figures;
        say(&format!(
            "{kills} kills ({while_starting} while it started), {acknowledged} things acknowledged, {compared} \
             answers compared, {} lost or wrong, {} s, FIRE_SEED={}",
            wrong.len(),
            clock.monotonic().as_secs(),
            dice.seed()
        ));
    }
    assert!(figures.wrong.is_empty(), "FIRE_SEED={}: {:#?}", dice.seed(), figures.wrong);
    assert!(figures.compared > 0, "there was something to compare");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_is_there_after_a_kill_at_any_moment_and_nothing_is_half_there() {
    kills(times("FIRE_KILLS", 6)).await;
}
