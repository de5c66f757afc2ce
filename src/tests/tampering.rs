//! A stopped log into which somebody else has reached: what the commands say of it, and that they lose nothing.
//!
//! Each command is a process of its own, so that a panic of the database's would be seen.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorbook::domain::event::Event;
use doorbook::domain::id::RecordId;
use doorbook::domain::record::Record;
use doorbook::event_log::codec::{decode_record, encode_record};
use tempfile::TempDir;

use crate::harness::{Ended, House, MARISOL, Process, QUIETFOX, SLED_SEGMENT, binary};
use crate::snapshot;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "golden", name].iter().collect()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

async fn run(cwd: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new(binary());
    command.args(args);
    let env = BTreeMap::from([("DOORBOOK_DATA_DIR".to_owned(), cwd.join("data").display().to_string())]);
    let ended = Process::of(command, cwd, env, 0).ends().await;
    assert!(!ended.stderr.contains("panicked"), "{args:?}: {}", ended.stderr);
    ended
}

/// A data directory with the golden log in it, closed in order.
async fn golden() -> TempDir {
    let dir = TempDir::new().unwrap();
    let log = fixture("log.jsonl").display().to_string();
    fine(&run(dir.path(), &["import", &log]).await);
    copy(&fixture("keys"), &dir.path().join("data/keys"));
    // A command that may write says first that the log was put back, signs for it and closes it.
    fine(&run(dir.path(), &["sessions", "list"]).await);
    dir
}

#[track_caller]
fn fine(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    &ended.stdout
}

fn open(data: &Path) -> sled::Db {
    sled::Config::new().path(data.join("log")).segment_size(SLED_SEGMENT).open().expect("sled")
}

type Frames = BTreeMap<u64, Vec<u8>>;

/// The records as they stand in the database, which nobody has open.
fn frames(data: &Path) -> Frames {
    let aside = TempDir::new().unwrap();
    copy(&data.join("log"), &aside.path().join("log"));
    let entries = open(aside.path());
    let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
        let (key, frame) = entry.expect("an entry");
        (u64::from_be_bytes(key.as_ref().try_into().expect("a position")), frame.to_vec())
    };
    entries.iter().map(entry).collect()
}

/// Writes other records into the database, as somebody would who knows how.
fn write(data: &Path, before: &Frames, after: &Frames) {
    let db = open(data);
    for position in before.keys().filter(|position| !after.contains_key(position)) {
        db.remove(position.to_be_bytes()).unwrap();
    }
    for (position, frame) in after.iter().filter(|(position, frame)| before.get(position) != Some(frame)) {
        db.insert(position.to_be_bytes(), frame.as_slice()).unwrap();
    }
    db.flush().unwrap();
}

fn edited(frame: &[u8], change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = decode_record(frame).expect("a record");
    change(&mut record);
    encode_record(&record).expect("a frame")
}

/// Another record with the same id and time.
fn harmless(frame: &[u8]) -> Vec<u8> {
    edited(frame, |record| {
        record.events = vec![Event::ServerStopped { clean: true }];
        record.sealed.clear();
    })
}

/// Takes one record out and closes the gap; the last one stands twice then, as storage may keep it.
fn without(mut frames: Frames, gone: u64) -> Frames {
    let last = frames.len() as u64 - 1;
    for position in gone..last {
        let next = frames[&(position + 1)].clone();
        frames.insert(position, next);
    }
    frames
}

fn swapped(mut frames: Frames, one: u64, other: u64) -> Frames {
    let (first, second) = (frames[&one].clone(), frames[&other].clone());
    frames.insert(one, second);
    frames.insert(other, first);
    frames
}

/// A directory whose `data` is another's, with these records in it.
fn with_records(clean: &Path, before: &Frames, after: &Frames) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(clean, &dir.path().join("data"));
    write(&dir.path().join("data"), before, after);
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_done_to_the_records_is_found_and_said_and_nothing_is_lost() {
    let golden = golden().await;
    let clean = golden.path().join("data");
    let before = frames(&clean);
    let last = before.len() as u64 - 1;
    let own_id = |frame: &[u8]| edited(frame, |record| record.id = RecordId([0x5A; 16]));
    let missing = |gone: u64| {
        let mut frames = before.clone();
        frames.remove(&gone);
        frames
    };
    let with = |position: u64, frame: Vec<u8>| {
        let mut frames = before.clone();
        frames.insert(position, frame);
        frames
    };
    let rows: Vec<(&str, Frames, i32)> = vec![
        ("nothing was done", before.clone(), 0),
        ("a record was changed", with(400, harmless(&before[&400])), 1),
        ("a bit of a record was flipped", with(400, one_bit(&before[&400])), 1),
        ("a record was taken out", without(before.clone(), 400), 1),
        ("two records were swapped", swapped(before.clone(), 400, 401), 1),
        ("a record took the id of another", with(401, harmless(&before[&400])), 1),
        ("the last record was changed", with(last, harmless(&before[&last])), 1),
        ("a record was cut short", with(400, before[&400][..50].to_vec()), 3),
        ("a record is missing", missing(400), 3),
        ("the last record is missing", missing(last), 3),
        ("the first record was changed", with(0, harmless(&before[&0])), 3),
        ("a record was added, for which nobody has signed", with(last + 1, own_id(&before[&last])), 0),
    ];
    let mut told = String::new();
    for (name, after, code) in rows {
        let dir = with_records(&clean, &before, &after);
        let verified = run(dir.path(), &["audit", "verify"]).await;
        let said = verified.stderr.replace(&dir.path().display().to_string(), "HERE");
        told.push_str(&format!("{name}: exit {code}\n{said}\n"));
        assert_eq!(verified.code, Some(code), "{name}: {said}");
        let asked = run(dir.path(), &["audit", "log", "--format", "jsonl"]).await;
        let said = asked.stderr.lines().filter(|line| line.starts_with("doorbook: ")).count();
        assert!(asked.code == Some(0) || asked.code == Some(3) && said == 1, "{name}: {asked:?}");
        let kept = frames(&dir.path().join("data"));
        let lost = after.iter().find(|(position, frame)| kept.get(position) != Some(frame));
        assert_eq!(lost.map(|(position, _)| position), None, "{name}: every record is as it was");
    }
    snapshot!("tampering", told);

    // The same for a program that asks.
    let mut told = String::new();
    for after in [with(400, harmless(&before[&400])), with(last, harmless(&before[&last]))] {
        let dir = with_records(&clean, &before, &after);
        let verified = run(dir.path(), &["audit", "verify", "--json"]).await;
        assert_eq!(verified.code, Some(1), "{}", verified.stderr);
        told.push_str(&verified.stdout);
    }
    snapshot!("tampering-json", told);
}

fn one_bit(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let at = frame.len() - 3;
    frame[at] ^= 1;
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_cut_off_and_signed_again_shows_against_a_kept_checkpoint_alone() {
    let house = House::for_processes().await;
    let data = house.data_dir();
    let run = async |args: &[&str]| Process::spawn(&house, args, &[]).ends().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let aside = house.dir.path().join("aside");
    copy(&data, &aside);
    let mut process = Process::serve(&house).await;
    for _ in 0..3 {
        process.signed_in(&house, QUIETFOX).await;
    }
    assert_eq!(process.terminate().await.code, Some(0));
    fs::write(house.dir.path().join("kept.txt"), fine(&run(&["audit", "checkpoint"]).await)).unwrap();

    // Whoever owns the machine puts an older copy of everything back and goes on; all of it is signed.
    fs::remove_dir_all(&data).unwrap();
    copy(&aside, &data);
    for (records, sign_ins) in [("shorter", 0), ("longer", 6)] {
        let mut process = Process::serve(&house).await;
        for _ in 0..sign_ins {
            process.signed_in(&house, MARISOL).await;
        }
        assert_eq!(process.terminate().await.code, Some(0));
        let alone = run(&["audit", "verify"]).await;
        assert!(fine(&alone).contains("not proven   that nothing was cut off its end"), "{}", alone.stdout);
        let held = run(&["audit", "verify", "--checkpoint", "kept.txt"]).await;
        assert_eq!(held.code, Some(1), "{records}: {}{}", held.stdout, held.stderr);
        let said = match records {
            "shorter" => "TAMPERED: the checkpoint that was kept elsewhere signs for ",
            _ => "TAMPERED: the first ",
        };
        assert!(held.stderr.contains(said) && held.stdout.is_empty(), "{records}: {}", held.stderr);
    }

    // And a checkpoint of a log that is not this one says nothing about it.
    let golden = golden().await;
    let other = crate::tampering::run(golden.path(), &["audit", "checkpoint"]).await;
    fs::write(house.dir.path().join("other.txt"), fine(&other)).unwrap();
    let held = run(&["audit", "verify", "--checkpoint", "other.txt"]).await;
    assert_eq!(held.code, Some(1), "{}", held.stderr);
    let said = "the checkpoint that was kept elsewhere is of login.example.org/doorbook/";
    assert!(held.stderr.contains(said) && held.stderr.contains("it is the wrong file"), "{}", held.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_damaged_are_named_by_every_command_and_left_as_they_are() {
    let golden = golden().await;
    let clean = golden.path().join("data");
    let cut = |name: &'static str, length: u64| {
        move |data: &Path| {
            fs::File::options().write(true).open(data.join(name)).unwrap().set_len(length).unwrap();
        }
    };
    type Damage = Box<dyn Fn(&Path)>;
    let rows: Vec<(&str, Damage, &str)> = vec![
        ("a database cut short", Box::new(cut("log/db", 100_000)), "the database is damaged"),
        ("an empty database", Box::new(cut("log/db", 0)), "--accept-loss"),
        ("no database", Box::new(|data| fs::remove_file(data.join("log/db")).unwrap()), "is missing"),
        ("a HEAD cut short", Box::new(cut("HEAD", 4_000)), "HEAD in"),
        ("no HEAD", Box::new(|data| fs::remove_file(data.join("HEAD")).unwrap()), "HEAD is missing in"),
        (
            "a HEAD of noise",
            Box::new(|data| {
                let head = fs::File::options().write(true).open(data.join("HEAD")).unwrap();
                [0, 4_096].iter().for_each(|at| head.write_all_at(&[0xA5; 64], *at).unwrap());
            }),
            "HEAD in",
        ),
    ];
    for (name, damage, said) in rows {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        copy(&clean, &data);
        damage(&data);
        let before = files(&data);
        for args in [
            &["audit", "verify"][..],
            &["audit", "log"],
            &["export"],
            &["user", "export", "person.1"],
            &["sessions", "list"],
        ] {
            let refused = run(dir.path(), args).await;
            let sentences: Vec<&str> = refused.stderr.lines().filter(|line| !line.starts_with('{')).collect();
            assert_eq!(refused.code, Some(3), "{name}, {args:?}: {refused:?}");
            assert!(sentences.len() == 1 && sentences[0].contains(said), "{name}, {args:?}: {refused:?}");
            assert!(refused.stdout.is_empty(), "{name}, {args:?}: {}", refused.stdout);
            assert!(files(&data) == before, "{name}, {args:?}: every byte is as it was");
        }
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_missing_damaged_or_of_another_log_are_named_and_the_log_is_proven_all_the_same() {
    let golden = golden().await;
    let house = House::for_processes().await;
    assert_eq!(Process::serve(&house).await.terminate().await.code, Some(0));
    let keys = golden.path().join("data/keys");
    let kept = golden.path().join("kept");
    fs::rename(&keys, &kept).unwrap();
    type Damage<'a> = Box<dyn Fn() + 'a>;
    let rows: Vec<(&str, Damage<'_>, &str)> = vec![
        ("missing", Box::new(|| ()), "keys/kek is missing"),
        ("of another log", Box::new(|| copy(&house.data_dir().join("keys"), &keys)), "belongs to the log "),
        (
            "damaged",
            Box::new(|| {
                copy(&kept, &keys);
                fs::write(keys.join("subjects"), b"noise").unwrap();
            }),
            "keys/subjects is damaged",
        ),
    ];
    for (name, damage, said) in rows {
        damage();
        let verified = run(golden.path(), &["audit", "verify"]).await;
        assert!(fine(&verified).starts_with("intact: "), "{name}: {}", verified.stdout);
        let log = run(golden.path(), &["audit", "log", "--limit", "20", "--format", "jsonl"]).await;
        assert_eq!(fine(&log).lines().count(), 20, "{name}");
        assert!(!log.stdout.contains("person."), "{name}: {}", log.stdout);
        for looked in [&verified, &log] {
            let why = "names and addresses stay unknown, because the keys cannot be read: ";
            assert!(looked.stderr.contains(why) && looked.stderr.contains(said), "{name}: {}", looked.stderr);
        }
        let nobody = run(golden.path(), &["explain", "--user", "person.1"]).await;
        assert_eq!(nobody.code, Some(1), "{name}: {}", nobody.stderr);
        assert!(nobody.stderr.contains(said), "it says why nobody is known: {}", nobody.stderr);
        let told = run(golden.path(), &["user", "export", "person.1"]).await;
        assert_eq!(told.code, Some(3), "{name}: {}", told.stderr);
        assert!(told.stderr.contains("nothing can be opened without the keys: "), "{name}: {}", told.stderr);
        assert!(told.stderr.contains(said) && told.stdout.is_empty(), "{name}: {}", told.stderr);
        let _ = fs::remove_dir_all(&keys);
    }
    fs::rename(&kept, &keys).unwrap();
    let log = run(golden.path(), &["explain", "--user", "person.1"]).await;
    assert!(fine(&log).contains("person.1") && log.stderr.is_empty(), "{}", log.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_state_that_was_edited_is_dropped_and_changes_no_answer() {
    let house = House::for_processes().await;
    let run = async |args: &[&str]| Process::spawn(&house, args, &[]).ends().await;
    let mut process = Process::serve(&house).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let stored = || fs::read_dir(house.data_dir().join("states")).unwrap().map(|entry| entry.unwrap().path());
    assert!(stored().count() > 0, "a stop stores one");
    let questions: [&[&str]; 2] =
        [&["audit", "state", "--format", "json"], &["audit", "diff", "1", "--format", "json"]];
    let mut before = Vec::new();
    for question in questions {
        before.push(fine(&run(question).await).to_owned());
    }
    for path in stored() {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    for (question, before) in questions.iter().zip(&before) {
        assert_eq!(fine(&run(question).await), before, "{question:?}");
    }
    let verified = run(&["audit", "verify"]).await;
    assert!(fine(&verified).contains("stored state"), "what was signed is made again: {}", verified.stdout);
    let mut process = Process::serve(&house).await;
    let said = process.said("err");
    assert!(said.contains("\"level\":\"WARN\"") && said.contains("stored state"), "{said}");
    let mut back = process.visited_by(marisol.cookies);
    assert_eq!(back.fetch("GET", "/api/auth/user").await.status, 200, "nobody was signed out");
    assert_eq!(process.terminate().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_newer_doorbook_is_proven_copied_and_named_and_nothing_is_lost() {
    let golden = golden().await;
    let clean = golden.path().join("data");
    let before = frames(&clean);
    let last = before.len() as u64;
    // `server.stopped` is kind 2; kind 61 does not exist yet.
    let mut newer = edited(&before[&(last - 1)], |record| {
        record.id = RecordId([0x5A; 16]);
        record.events = vec![Event::ServerStopped { clean: true }];
        record.sealed.clear();
    });
    let at = newer.windows(4).rposition(|bytes| bytes == [1, 2, 1, 1]).expect("one event");
    newer[at + 1] = 61;
    let mut after = before.clone();
    after.insert(last, newer);
    let dir = with_records(&clean, &before, &after);

    let verified = run(dir.path(), &["audit", "verify"]).await;
    let said =
        format!("not read     from position {last} on, this log was written by a newer doorbook (kind 61");
    assert!(fine(&verified).contains(&said), "{}", verified.stdout);
    let exported = run(dir.path(), &["export", "--output", "newer.jsonl"]).await;
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let text = fs::read_to_string(dir.path().join("newer.jsonl")).unwrap();
    assert_eq!(text.lines().count() as u64, last + 3, "header, records, trailer");
    assert!(text.contains("{\"kind\":61,\"version\":1,\"payload\":\"01\"}"), "raw, as it stands");

    for (args, code) in [(&["audit", "log"][..], 3), (&["audit", "state"], 3), (&["sessions", "list"], 3)] {
        let refused = run(dir.path(), args).await;
        assert_eq!(refused.code, Some(code), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("written by a newer doorbook"), "{args:?}: {}", refused.stderr);
    }
    let earlier = run(dir.path(), &["audit", "state", "--at", &(last - 1).to_string()]).await;
    assert_eq!(earlier.code, Some(0), "what stands before it is understood: {}", earlier.stderr);
    assert_eq!(frames(&dir.path().join("data")), after, "every record is as it was");
}
