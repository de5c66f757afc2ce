//! A disk that is full, read-only or broken: 503 and nothing changed, or an end with one sentence; then it goes on.

use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};
use fuser::Errno;

use super::dice::{Dice, times};
use super::life::{Life, Wrong};
use super::mounted::{Doing, Fault, Mounted, cannot_be_mounted};
use super::say;
use crate::harness::{Ended, House, Process};
use crate::storage::SmallDisk;

#[derive(Default)]
struct Figures {
    faults: usize,
    /// How often the disk refused something.
    refused: u64,
    went_on: usize,
    ended: usize,
    not_started: usize,
    compared: u64,
}

/// What goes wrong, by lot.
fn fault(dice: &Dice) -> Fault {
    let changing: &[Doing] = &[Doing::Writing, Doing::Syncing, Doing::Naming];
    let (on, error) = *dice.one_of(&[
        (&[Doing::Writing][..], Errno::ENOSPC),
        (&[Doing::Writing, Doing::Naming][..], Errno::ENOSPC),
        (&[Doing::Writing][..], Errno::EIO),
        (&[Doing::Syncing][..], Errno::EIO),
        (&[Doing::Reading][..], Errno::EIO),
        (changing, Errno::EROFS),
        (changing, Errno::EIO),
    ]);
    Fault { on, error, after: dice.below(40), times: *dice.one_of(&[1, 5, u64::MAX]) }
}

/// One sentence and exit code 3, and no panic.
fn ended_well(ended: &Ended) -> Result<(), Wrong> {
    let sentences: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("doorbook: ")).collect();
    match (ended.code, &sentences[..], ended.stderr.contains("panicked")) {
        (Some(3), [_], false) => Ok(()),
        _ => Err(vec![format!("it ends with {:?}: {}", ended.code, ended.stderr)]),
    }
}

async fn one_fault(
    house: &House,
    disk: &Mounted,
    life: &mut Life,
    dice: &Dice,
    figures: &mut Figures,
) -> Result<(), Wrong> {
    let clock = SystemClock::new();
    figures.faults += 1;
    let fault = fault(dice);
    let while_starting = dice.percent(25);
    if while_starting {
        disk.fails(fault);
    }
    let mut process = Process::spawn(house, &["serve"], &[]);
    if let Some(ended) = process.ready_or_ended().await {
        let refused = disk.is_well();
        if refused == 0 {
            return Err(vec![format!("it does not start: {}", ended.stderr)]);
        }
        figures.refused += refused;
        figures.not_started += 1;
        return ended_well(&ended);
    }
    disk.fails(fault);
    let said = |wrong: Wrong| [wrong, vec![format!("{fault:?}")]].concat();
    let moment = Duration::from_millis(100 + dice.below(400));
    life.goes_on(process.browser(), house, dice, clock.sleep(moment)).await.map_err(said)?;
    figures.refused += disk.is_well();
    if process.has_ended() {
        figures.ended += 1;
        let ended = process.ends().await;
        ended_well(&ended).map_err(said)?;
        process = Process::serve(house).await;
    } else {
        figures.went_on += 1;
        if let Some(ended) = process.readyz_says_or_ended(r#"{"log":"ok"}"#).await {
            ended_well(&ended).map_err(said)?;
            process = Process::serve(house).await;
        }
    }
    // It is well again: everybody may do anything, and everything is there. What nobody was told of counts once
    // something later does.
    if dice.percent(30) {
        life.newcomer(house);
    }
    let acknowledged = life.acknowledged;
    while life.acknowledged == acknowledged {
        let a_while = clock.sleep(Duration::from_millis(50));
        life.goes_on(process.browser(), house, dice, a_while).await.map_err(said)?;
    }
    life.is_remembered(&process).await.map_err(said)?;
    if dice.percent(50) {
        process.kill();
    } else {
        let ended = process.terminate().await;
        if ended.code != Some(0) {
            return Err(said(vec![format!("it does not stop in order: {}", ended.stderr)]));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and /dev/fuse, for a disk that fails"]
async fn a_disk_that_refuses_anything_at_any_moment_loses_nothing_and_is_used_again_when_it_is_well() {
    if let Some(why) = cannot_be_mounted() {
        return say(&format!("no failing disk: {why}"));
    }
    let (dice, clock) = (Dice::thrown(), SystemClock::new());
    let mut figures = Figures::default();
    let faults = times("FIRE_FAULTS", 10);
    while figures.faults < faults {
        let house = House::for_processes().await;
        let disk = Mounted::at(&house.data_dir());
        let mut life = Life::begin(&house);
        for _ in 0..20.min(faults - figures.faults) {
            let went = one_fault(&house, &disk, &mut life, &dice, &mut figures).await;
            assert!(went.is_ok(), "FIRE_SEED={}: {went:#?}", dice.seed());
        }
        figures.compared += life.compared;
        let Figures { faults, refused, went_on, ended, not_started, compared } = &figures;
        say(&format!(
            "{faults} faults, {refused} calls refused; it went on after {went_on}, ended with exit code 3 after \
             {ended}, did not start in {not_started}; {compared} answers compared, 0 lost, {} s, FIRE_SEED={}",
            clock.monotonic().as_secs(),
            dice.seed()
        ));
    }
    assert!(figures.refused > 0, "something was refused");
}

/// After a kill there must be room for a copy, and where there is none that is said, and nothing is touched.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small file system"]
async fn a_file_system_without_room_for_the_copy_is_said_with_the_bytes_and_nothing_is_lost() {
    if !rustix::process::geteuid().is_root() {
        return say("no small file system: only root may mount one");
    }
    let (dice, clock) = (Dice::thrown(), SystemClock::new());
    let house = House::for_processes().await;
    let disk = SmallDisk::mount(house.data_dir());
    let mut life = Life::begin(&house);
    let mut process = Process::serve(&house).await;
    let went = life.goes_on(process.browser(), &house, &dice, clock.sleep(Duration::from_millis(300)));
    went.await.expect("a good disk");
    process.kill();
    disk.fill_up_to(16 << 20);
    let ended = Process::spawn(&house, &["serve"], &[]).ends().await;
    ended_well(&ended).expect("one sentence");
    assert!(ended.stderr.contains("bytes are needed, "), "{}", ended.stderr);
    disk.make_room();
    let process = Process::serve(&house).await;
    life.is_remembered(&process).await.expect("nothing is lost");
}
