//! Damaged files: whatever is hit, a start says so or has lost nothing, and the backup brings the log back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbook::clock::{Clock, SystemClock};
use doorbook::discord::stand_in::people::Person;
use doorbook::domain::id::DiscordId;
use tempfile::TempDir;

use super::dice::{Dice, times};
use super::life::{Life, Wrong};
use super::say;
use crate::harness::{Ended, House, Process, binary};

const PASSPHRASE: &str = "a passphrase of a good length";

/// A house in which people have lived, and what there is of it on disk, elsewhere.
struct Base {
    house: House,
    life: Life,
    kept: PathBuf,
    /// Every record as it was acknowledged.
    records: BTreeMap<u64, Vec<u8>>,
    /// How many of them are in the backup.
    in_backup: u64,
}

#[derive(Default)]
struct Figures {
    damages: usize,
    refused: BTreeMap<String, usize>,
    unharmed: usize,
    found_by_verify: usize,
    compared: u64,
    brought_back: usize,
    /// In the place of the damaged log, and how many records were read of that.
    salvaged: usize,
    read: u64,
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

fn fine(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

impl Base {
    /// Lives in a house, with a backup in the middle and an escrow of the keys at the end.
    async fn lived_in(is_killed: bool, dice: &Dice) -> Base {
        let clock = SystemClock::new();
        let house = House::for_processes().await;
        let mut life = Life::begin(&house);
        for stay in 0..3 {
            let mut process = Process::serve(&house).await;
            let acknowledged = life.acknowledged;
            while life.acknowledged < acknowledged + 40 {
                life.newcomer(&house);
                let a_while = clock.sleep(Duration::from_millis(200));
                life.goes_on(process.browser(), &house, dice, a_while).await.expect("all is well");
            }
            life.is_remembered(&process).await.expect("all is well");
            if stay == 1 {
                fine(Process::spawn(&house, &["backup", "backup"], &[]).ends().await);
            }
            if stay == 2 {
                let escrow = ["keys", "escrow", "--passphrase-stdin", "escrow"];
                fine(with_passphrase(&house, &house.data_dir(), &escrow).await);
            }
            match is_killed && stay == 2 {
                true => process.kill(),
                false => drop(fine(process.terminate().await)),
            }
        }
        let kept = house.dir.path().join("kept");
        copy(&house.data_dir(), &kept);
        let aside = TempDir::new().expect("a directory");
        copy(&kept, &aside.path().join("data"));
        let records = exported(&house, &aside.path().join("data")).await;
        let backup = fs::read_to_string(house.dir.path().join("backup/log.jsonl")).expect("a backup");
        let in_backup = backup.lines().count() as u64 - 2;
        assert!(in_backup < records.len() as u64, "there is something behind it");
        Base { house, life, kept, records, in_backup }
    }
}

async fn with_passphrase(house: &House, data_dir: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new("/bin/sh");
    let words = args.join(" ");
    command.args(["-c", &format!("echo '{PASSPHRASE}' | {} {words}", binary().display())]);
    let mut env: BTreeMap<String, String> = house.env().into_iter().collect();
    env.insert("DOORBOOK_DATA_DIR".into(), data_dir.display().to_string());
    Process::of(command, house.dir.path(), env, 0).ends().await
}

async fn run(house: &House, data_dir: &Path, args: &[&str]) -> Ended {
    let env = [("DOORBOOK_DATA_DIR", data_dir.to_str().expect("text"))];
    Process::spawn(house, args, &env).ends().await
}

/// Reads every record of a log that nobody has open.
async fn exported(house: &House, data_dir: &Path) -> BTreeMap<u64, Vec<u8>> {
    let text = fine(run(house, data_dir, &["export"]).await).stdout;
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let record = |line: serde_json::Value| {
        Some((line["position"].as_u64()?, STANDARD.decode(line["raw"].as_str()?).expect("base64")))
    };
    lines.filter_map(record).collect()
}

/// Every file, whole.
fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(bytes_of(&path));
        } else if path.is_file() {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}

/// Returns a file that a refused start has changed, and must not have.
///
/// Where keys are missing, that is known only once the log was opened.
fn changed(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
    keys: bool,
) -> Option<String> {
    let is_key = |path: &Path| path.parent().is_some_and(|dir| dir.ends_with("keys"));
    let is_kept = |(path, bytes): &(&PathBuf, &Vec<u8>)| match after.get(*path) {
        Some(now) => now == *bytes || keys && !is_key(path),
        None => keys && !is_key(path),
    };
    let appeared = after.keys().find(|path| !before.contains_key(*path) && !keys);
    let changed = before.iter().find(|file| !is_kept(file)).map(|(path, _)| path);
    changed.or(appeared).map(|path| path.display().to_string())
}

/// Chooses a file: one name for all of a sort.
fn chosen(data_dir: &Path, dice: &Dice) -> PathBuf {
    let sort = match dice.below(100) {
        0..50 => "log/db",
        50..55 => "log",
        55..75 => "keys",
        75..90 => "HEAD",
        _ => "states",
    };
    let path = data_dir.join(sort);
    if !path.is_dir() {
        return path;
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file() && !file.ends_with("db"));
    files.sort();
    match files.is_empty() {
        true => data_dir.join("log/db"),
        false => dice.one_of(&files).clone(),
    }
}

/// Damages a file, and says how.
fn damage(path: &Path, dice: &Dice) -> String {
    let mut bytes = fs::read(path).expect("a file");
    let before = fs::metadata(path).and_then(|found| found.modified()).expect("a time");
    // What sled has only reserved is zeros.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let at = dice.index(written);
    let how = match dice.below(10) {
        0..4 => {
            bytes[at] ^= 1 << dice.below(8);
            "a bit is flipped"
        }
        4..6 => {
            let end = (at + 1 + dice.index(64)).min(bytes.len());
            bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte ^= u8::try_from(1 + dice.below(255)).expect("one"));
            "some bytes are other ones"
        }
        6..8 => {
            let page = at / 4_096 * 4_096;
            let end = (page + 4_096).min(bytes.len());
            bytes[page..end].fill(0);
            "a page is zeros"
        }
        _ => {
            bytes.truncate(at);
            "it is cut short"
        }
    };
    fs::write(path, &bytes).expect("written");
    // A disk that forgets does not say when.
    if dice.percent(50) {
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(before).expect("as it was");
    }
    format!("{how} at {at}")
}

/// One sentence that says where, exit code 3, no panic.
fn refused_well(ended: &Ended, hit: &Path, data_dir: &Path) -> Result<(), String> {
    let sentences: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("doorbook: ")).collect();
    let [sentence] = sentences[..] else { return Err("not one sentence".to_owned()) };
    if ended.code != Some(3) || ended.stderr.contains("panicked") {
        return Err(format!("exit code {:?}", ended.code));
    }
    let name = hit.strip_prefix(data_dir).expect("inside");
    let places: &[&str] = match name.iter().next().and_then(|room| room.to_str()) {
        Some("log") => &["/log", "position", "the log is empty"],
        Some("keys") => &["keys/"],
        Some("HEAD") => &["HEAD"],
        _ => &[],
    };
    match places.iter().any(|place| sentence.contains(place)) {
        true => Ok(()),
        false => Err("it does not say where".to_owned()),
    }
}

impl Base {
    async fn one_damage(&mut self, dice: &Dice, figures: &mut Figures) -> Result<(), Wrong> {
        figures.damages += 1;
        let dir = TempDir::new().expect("a directory");
        let data_dir = dir.path().join("data");
        copy(&self.kept, &data_dir);
        let hit = chosen(&data_dir, dice);
        let how = damage(&hit, dice);
        let name = hit.strip_prefix(&data_dir).expect("inside").display().to_string();
        let said = |why: String| {
            super::keep(&data_dir);
            vec![format!("{name}: {how}"), why]
        };
        let before = bytes_of(&data_dir);
        let env = [("DOORBOOK_DATA_DIR", data_dir.to_str().expect("text"))];
        let mut process = Process::spawn(&self.house, &["serve"], &env);
        if let Some(ended) = process.ready_or_ended().await {
            refused_well(&ended, &hit, &data_dir).map_err(|why| said(format!("{why}: {}", ended.stderr)))?;
            if let Some(changed) = changed(&before, &bytes_of(&data_dir), name.starts_with("keys")) {
                return Err(said(format!("a refused start changed {changed}: {}", ended.stderr)));
            }
            let sort = name.split('/').next().unwrap_or_default().to_owned();
            *figures.refused.entry(sort).or_default() += 1;
            if dice.percent(35) || !name.starts_with("log") {
                self.is_brought_back(&data_dir, dice, figures).await.map_err(&said)?;
            }
            return Ok(());
        }
        figures.unharmed += 1;
        let compared = self.life.compared;
        self.life.is_remembered(&process).await.map_err(|wrong| said(format!("{wrong:#?}")))?;
        figures.compared += self.life.compared - compared;
        let verified = run(&self.house, &data_dir, &["audit", "verify"]).await;
        match (verified.code, verified.stderr.contains("panicked")) {
            (Some(0), false) => {}
            (Some(1 | 3), false) => figures.found_by_verify += 1,
            _ => return Err(said(format!("verify: {:?} {}", verified.code, verified.stderr))),
        }
        let ended = process.terminate().await;
        if !matches!(ended.code, Some(0 | 3)) || ended.stderr.contains("panicked") {
            return Err(said(format!("it stops with {:?}: {}", ended.code, ended.stderr)));
        }
        if dice.percent(25) && verified.code == Some(0) {
            let mut process = Process::spawn(&self.house, &["serve"], &env);
            if let Some(ended) = process.ready_or_ended().await {
                return Err(said(format!("the second start is refused: {}", ended.stderr)));
            }
            self.life.is_remembered(&process).await.map_err(|wrong| said(format!("{wrong:#?}")))?;
        }
        Ok(())
    }

    /// The documented commands: keys from their escrow, and the log from the backup, once the damaged one is moved away
    /// or with what can still be read of it.
    async fn is_brought_back(
        &mut self,
        data_dir: &Path,
        dice: &Dice,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let Base { house, life, kept, records, in_backup } = self;
        let checked = |what: &str, ended: Ended| match ended.code {
            Some(0) => Ok(ended),
            code => Err(format!("{what}: {code:?} {}{}", ended.stdout, ended.stderr)),
        };
        if bytes_of(&data_dir.join("keys")).into_values().collect::<BTreeSet<_>>()
            != bytes_of(&kept.join("keys")).into_values().collect()
        {
            fs::rename(data_dir.join("keys"), data_dir.join("keys.damaged")).expect("set aside");
            let restore = ["keys", "restore", "--passphrase-stdin", "escrow"];
            checked("keys restore", with_passphrase(house, data_dir, &restore).await)?;
        }
        let salvages = dice.percent(60);
        let restored = if salvages {
            run(house, data_dir, &["restore", "--salvage", "backup"]).await
        } else {
            for name in ["log", "HEAD", "states"] {
                fs::rename(data_dir.join(name), data_dir.with_file_name(name)).expect("moved away");
            }
            run(house, data_dir, &["restore", "backup"]).await
        };
        let restored = checked("restore", restored)?;
        let mut process =
            Process::spawn(house, &["serve"], &[("DOORBOOK_DATA_DIR", data_dir.to_str().expect("text"))]);
        if let Some(ended) = process.ready_or_ended().await {
            return Err(format!("it does not start then: {}", ended.stderr));
        }
        let is_whole = restored.stderr.contains("nobody is signed out");
        if is_whole {
            life.is_remembered(&process).await.map_err(|wrong| format!("{wrong:#?}"))?;
        }
        // Somebody of whom nothing is remembered: so many authorizations of one person Discord does not keep.
        let stranger = DiscordId(800_000_000_000_000_000 + figures.brought_back as u64);
        house.discord().put_person(Person::new(stranger, "stranger"));
        process.signed_in(house, stranger).await;
        let ended = process.terminate().await;
        checked("stop", ended)?;
        checked("verify", run(house, data_dir, &["audit", "verify"]).await)?;
        let now = exported(house, data_dir).await;
        let same = records.iter().take_while(|(at, frame)| now.get(at) == Some(frame)).count() as u64;
        let read = if salvages { read_of(&restored.stderr) } else { 0 };
        if same != *in_backup + read || is_whole && same != records.len() as u64 {
            return Err(format!("{same} records are as they were: {}", restored.stderr));
        }
        figures.brought_back += 1;
        figures.salvaged += usize::from(salvages);
        figures.read += read;
        Ok(())
    }
}

/// How many records a restore says that it has read of the damaged log.
fn read_of(said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("of the damaged log")).expect("it says so");
    line.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes its time; .ci/run has it"]
async fn whatever_file_is_damaged_it_is_said_or_nothing_is_lost_and_the_backup_brings_the_log_back() {
    let (dice, clock, damages) = (Dice::thrown(), SystemClock::new(), times("FIRE_DAMAGES", 20));
    let mut figures = Figures::default();
    let mut bases = [Base::lived_in(false, &dice).await, Base::lived_in(true, &dice).await];
    while figures.damages < damages {
        let base = &mut bases[figures.damages % 2];
        let went = base.one_damage(&dice.of_another(figures.damages), &mut figures).await;
        assert!(went.is_ok(), "FIRE_SEED={}, number {}: {went:#?}", dice.seed(), figures.damages);
        if figures.damages.is_multiple_of(20) || figures.damages == damages {
            let Figures {
                damages,
                refused,
                unharmed,
                found_by_verify,
                compared,
                brought_back,
                salvaged,
                read,
            } = &figures;
            say(&format!(
                "{damages} damages: {refused:?} refused, {unharmed} started ({found_by_verify} found by verify), \
                 {compared} answers compared, 0 lost; {brought_back} brought back from the backup, {salvaged} with the {read} records that could still be read, {} s, FIRE_SEED={}",
                clock.monotonic().as_secs(),
                dice.seed()
            ));
        }
    }
    assert!(figures.unharmed > 0 && !figures.refused.is_empty() && figures.brought_back > 0);
    assert!(damages < 20 || figures.read > 0, "something behind the backup was read");
}
