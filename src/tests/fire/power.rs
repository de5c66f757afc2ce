//! Power cuts: a disk that forgets what was not synced, under the real program.
//!
//! The power goes at a change or a sync of the disk, chosen by lot: while doorbook starts, while people come and go,
//! while it stops. What the disk has kept is all that the next start gets.

use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};

use super::dice::{Dice, times};
use super::life::{Life, Wrong};
use super::mounted::{Lie, Mounted, cannot_be_mounted};
use super::platter::Left;
use super::say;
use crate::harness::{House, Process};

/// A house is lived in for so many cuts; then its log is verified, and there is another.
const CUTS_A_LIFE: usize = 20;

#[derive(Default)]
struct Figures {
    cuts: usize,
    starting: usize,
    stopping: usize,
    acknowledged: u64,
    compared: u64,
    wrong: Wrong,
}

/// A house whose data directory is such a disk.
struct Home {
    life: Life,
    disk: Mounted,
    house: House,
}

impl Home {
    async fn new() -> Home {
        let house = House::for_processes().await;
        let disk = Mounted::at(&house.data_dir());
        Home { life: Life::begin(&house), disk, house }
    }

    /// Starts doorbook; none where the power went first.
    async fn start(&self) -> Result<Option<Process>, Wrong> {
        let mut process = Process::spawn(&self.house, &["serve"], &[]);
        let ended = tokio::select! {
            biased;
            () = self.disk.until_cut() => return Ok(None),
            ended = process.ready_or_ended() => ended,
        };
        match ended {
            None => Ok(Some(process)),
            // It may notice before we do.
            Some(_) if self.disk.is_cut() => Ok(None),
            Some(ended) => {
                super::keep(&self.house.data_dir());
                Err(vec![format!("it does not start: {}", ended.stderr)])
            }
        }
    }

    async fn one_cut(&mut self, dice: &Dice, figures: &mut Figures) -> Result<(), Wrong> {
        let clock = SystemClock::new();
        figures.cuts += 1;
        if dice.percent(30) {
            self.disk.cut_after(dice.below(120));
        }
        let Some(mut process) = self.start().await? else {
            figures.starting += 1;
            return Ok(());
        };
        let Home { life, disk, house } = self;
        life.is_remembered(&process).await?;
        if dice.percent(40) {
            life.newcomer(house);
        }
        let stops = dice.percent(15);
        disk.cut_after(if stops { u64::MAX >> 1 } else { dice.below(150) });
        let for_long = Duration::from_millis(if stops { 150 } else { 3_000 });
        let went = life
            .goes_on(process.browser(), house, dice, async {
                tokio::select! { () = disk.until_cut() => process.kill(), () = clock.sleep(for_long) => {} }
            })
            .await;
        if stops {
            figures.stopping += 1;
            disk.cut_after(dice.below(60));
            tokio::select! { () = disk.until_cut() => {}, ended = process.terminate() => drop(ended) }
        }
        disk.cut();
        process.kill();
        let said = process.said("err");
        if said.contains("panicked") {
            return Err(vec![said]);
        }
        went
    }
}

async fn a_life(cuts: usize, dice: &Dice, figures: &mut Figures) -> Result<(), Wrong> {
    let mut home = Home::new().await;
    for _ in 0..cuts {
        home.one_cut(dice, figures).await?;
        let left = *dice.one_of(&[Left::Nothing, Left::Some(10), Left::Some(50), Left::Some(90)]);
        home.disk.power_returns(left, dice);
    }
    let mut process = home.start().await?.expect("there is power");
    home.life.is_remembered(&process).await?;
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let verified = Process::spawn(&home.house, &["audit", "verify"], &[]).ends().await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    figures.acknowledged += home.life.acknowledged;
    figures.compared += home.life.compared;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and /dev/fuse, for a disk that forgets"]
async fn whatever_was_acknowledged_is_there_after_a_power_cut_at_any_moment() {
    if let Some(why) = cannot_be_mounted() {
        return say(&format!("no power cuts: {why}"));
    }
    let (dice, clock, cuts) = (Dice::thrown(), SystemClock::new(), times("FIRE_CUTS", 20));
    let mut figures = Figures::default();
    while figures.cuts < cuts {
        let lived = a_life(CUTS_A_LIFE.min(cuts - figures.cuts), &dice, &mut figures).await;
        figures.wrong.extend(lived.err().into_iter().flatten());
        let Figures { cuts, starting, stopping, acknowledged, compared, wrong } = &figures;
        say(&format!(
            "{cuts} power cuts ({starting} while it started, {stopping} while it stopped), {acknowledged} things \
             acknowledged, {compared} answers compared, {} lost or wrong, {} s, FIRE_SEED={}",
            wrong.len(),
            clock.monotonic().as_secs(),
            dice.seed()
        ));
        assert!(wrong.is_empty(), "FIRE_SEED={}: {wrong:#?}", dice.seed());
    }
    assert!(figures.acknowledged > 0 && figures.compared > 0, "there was something to lose");
}

/// Signs people in on a disk that lies, lets the power go, and returns what is found to be wrong.
async fn with_a_lie(lie: Lie, dice: &Dice) -> Wrong {
    let clock = SystemClock::new();
    let mut home = Home::new().await;
    home.disk.lies(lie);
    let Ok(Some(mut process)) = home.start().await else { panic!("nothing is lost yet") };
    while home.life.open() == 0 {
        let Home { life, house, disk: _ } = &mut home;
        let went = life.goes_on(process.browser(), house, dice, clock.sleep(Duration::from_millis(100)));
        went.await.expect("nothing is lost yet");
    }
    home.disk.cut();
    process.kill();
    home.disk.power_returns(Left::Nothing, dice);
    match home.start().await {
        Ok(process) => {
            let process = process.expect("there is power");
            home.life.is_remembered(&process).await.err().unwrap_or_default()
        }
        Err(refused) => refused,
    }
}

/// The test of the test: where a sync that doorbook asks for keeps nothing, that is found.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and /dev/fuse, for a disk that forgets"]
async fn a_sync_that_keeps_nothing_is_found_by_the_next_power_cut() {
    if let Some(why) = cannot_be_mounted() {
        return say(&format!("no power cuts: {why}"));
    }
    let dice = Dice::thrown();
    assert_eq!(with_a_lie(|_| false, &dice).await, Wrong::new(), "an honest disk");
    let lies: [(&str, Lie); 5] = [
        ("every sync", |_| true),
        ("the database", |path| path == "log/db"),
        ("HEAD", |path| path == "HEAD" || path == "HEAD.new"),
        ("a key file", |path| path.starts_with("keys/")),
        ("a directory", |path| path.is_empty() || path == "log" || path == "keys"),
    ];
    for (what, lie) in lies {
        let wrong = with_a_lie(lie, &dice).await;
        say(&format!("{what} is not synced: {} wrong, such as {:?}", wrong.len(), wrong.first()));
        assert!(!wrong.is_empty(), "nobody notices that {what} is not synced");
    }
}
