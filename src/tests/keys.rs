//! Keys over time: changed for others, kept in escrow, given back, and gone for good.

use std::fs;
use std::path::Path;
use std::time::Duration;

use doorbook::app::By;
use doorbook::audit::{EventRow, Filter};
use doorbook::config::Local;
use doorbook::control::{Answers as _, Client};
use doorbook::crypto::{KeyRing, KeySettings};
use doorbook::domain::command::Command;
use doorbook::domain::event::{Event, KeyPurpose, NewSigner};
use doorbook::domain::id::{DiscordId, LogId, Sub};
use doorbook::domain::time::Month;
use doorbook::entropy::SystemEntropy;
use doorbook::event_log::note::{VerifierKey, origin_of, verify};
use doorbook::serve::{self, World};

use crate::guarded::{AUTH, FETCHES, Proxy, RULES, Visitor, WIKI};
use crate::harness::{Ended, House, MARISOL, Plan, Process, QUIETFOX, binary, records};

const WORDS: &str = "correct horse battery staple";
const JANUARY: Month = Month(202_601);

async fn run(house: &House, args: &[&str]) -> Ended {
    Process::spawn(house, args, &[]).ends().await
}

/// Runs a command with a passphrase on its standard input.
async fn with_passphrase(house: &House, words: &str, args: &str) -> Ended {
    let mut command = std::process::Command::new("/bin/sh");
    let line = format!("printf '%s\\n' '{words}' | '{}' keys {args} --passphrase-stdin", binary().display());
    command.args(["-c", &line]);
    Process::of(command, house.dir.path(), house.env().into_iter().collect(), 0).ends().await
}

#[track_caller]
fn fine(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    &ended.stdout
}

fn lose_keys(house: &House) {
    for entry in fs::read_dir(house.data_dir().join("keys")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The keys as they are on the disk.
fn keys(house: &House) -> KeyRing {
    let dir = house.data_dir().join("keys");
    let log_id = KeyRing::log_of(&dir).unwrap().expect("there are keys");
    let settings = KeySettings { dir, log_id, encrypt_secret: None, cookie_secret: None };
    KeyRing::look(&settings, std::sync::Arc::new(SystemEntropy)).unwrap()
}

/// The log, its public origin and the keys that signed for it one after the other, each from some position on.
fn signers(events: &[(u64, Event)]) -> Vec<(u64, VerifierKey)> {
    let mut log: Option<(String, LogId)> = None;
    let mut signers = Vec::new();
    for (position, event) in events {
        let public = match event {
            Event::LogCreated { log: id, origin, public_key, .. } => {
                log = Some((origin.clone(), *id));
                public_key
            }
            Event::KeyRotated { signer: Some(signer), .. } => &signer.public_key,
            _ => continue,
        };
        let (origin, id) = log.as_ref().expect("a log begins with its creation");
        signers.push((*position, VerifierKey::new(&origin_of(origin, *id), public).unwrap()));
    }
    signers
}

/// Asserts that each checkpoint is signed by the key that the log names at its place, and by no other.
#[track_caller]
fn each_signature_is_of_the_key_that_counts(events: &[(u64, Event)]) {
    let signers = signers(events);
    let mut checked = vec![0; signers.len()];
    for (position, event) in events {
        let Event::CheckpointSigned { note, .. } = event else { continue };
        let counts = signers.iter().rposition(|(from, _)| from <= position).expect("somebody signs");
        for (at, (_, key)) in signers.iter().enumerate() {
            assert_eq!(verify(note.as_bytes(), key).is_ok(), at == counts, "{position}: {note}");
        }
        checked[counts] += 1;
    }
    assert!(checked.last().is_some_and(|count| *count > 0), "the last key has signed: {checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_keys_are_changed_under_a_running_server_while_people_sign_in() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let first = process.signed_in(&house, MARISOL).await;
    let old = keys(&house).signer_public_key();
    let rotating = async {
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.extend(fine(&run(&house, &["keys", "rotate", "--yes"]).await).lines().map(str::to_owned));
        }
        lines
    };
    let signing_in = async {
        for n in 0..20 {
            process.signed_in(&house, if n % 2 == 0 { MARISOL } else { QUIETFOX }).await;
        }
    };
    let (lines, ()) = futures_util::future::join(rotating, signing_in).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("root key     ")).count(), 3, "{lines:?}");
    let generations = ["2", "3", "4"].map(|n| format!("root key     {n}, recorded at position "));
    for (line, generation) in lines.iter().filter(|line| line.starts_with("root")).zip(&generations) {
        assert!(line.starts_with(generation), "{line}");
    }
    assert_eq!(process.terminate().await.code, Some(0));

    let events = house.events();
    let rotated: Vec<_> = events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::KeyRotated { purpose, key_id, signer } => Some((*purpose, *key_id, signer.is_some())),
            _ => None,
        })
        .collect();
    let signers = signers(&events);
    let expected: Vec<_> = (2..=4)
        .zip(&signers[1..])
        .flat_map(|(generation, (_, key))| {
            let id = u32::from_be_bytes(key.id());
            [(KeyPurpose::Kek, generation, false), (KeyPurpose::Signer, id, true)]
        })
        .collect();
    assert_eq!(rotated, expected);
    assert!(lines.iter().any(|line| line.contains(&signers[3].1.to_string())), "others get the new key");
    each_signature_is_of_the_key_that_counts(&events);
    assert_eq!(keys(&house).signer_public_key(), signers[3].1.public());
    assert_ne!(keys(&house).signer_public_key(), old);
    assert!(!house.data_dir().join("keys/signer.next").exists());

    // The same without a server, one at a time.
    fine(&run(&house, &["keys", "rotate", "--kek", "--yes"]).await);
    let signer = fine(&run(&house, &["keys", "rotate", "--signer", "--yes"]).await).to_owned();
    assert!(signer.starts_with("signing key  localhost:3001/doorbook/"), "{signer}");
    let process = Process::serve(&house).await;
    let mut back = process.visited_by(first.cookies);
    let user = back.fetch("GET", "/api/auth/user").await;
    assert_eq!(user.json()["username"], "marisol.k", "what was sealed before opens: {user}");
    let sessions = back.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 11);
    assert_eq!(sessions["sessions"][10]["ip"], "127.0.0.1", "{sessions}");
    fine(&run(&house, &["audit", "verify"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_steps_leaves_the_key_that_the_log_names() {
    for is_named in [false, true] {
        let mut house = House::open().await;
        house.signed_in(MARISOL).await;
        let app = house.doorbook().app.clone();
        let (log, old) = (app.state().log().cloned().unwrap(), app.keys().signer_public_key());
        let next = app.keys().prepare_signer().await.unwrap();
        if is_named {
            let key = VerifierKey::new(&origin_of(&log.origin, log.id), &next.public).unwrap();
            let signer = Some(NewSigner { public_key: next.public, signature: next.signature });
            let key_id = u32::from_be_bytes(key.id());
            let rotate = Command::RotateKey { purpose: KeyPurpose::Signer, key_id, signer };
            app.execute(rotate, &By::SYSTEM).await.unwrap();
            assert_eq!(app.keys().signer_public_key(), old, "the ring has not been told");
        }
        let (dir, then) = (house.data_dir().join("keys"), house.dir.path().join("then"));
        copy_dir(&dir, &then);
        drop(app);
        // It signs at its end, and does so with the key that the log names.
        house.stop().await;
        each_signature_is_of_the_key_that_counts(&house.events());
        // As a kill left the key files.
        lose_keys(&house);
        copy_dir(&then, &dir);
        assert!(dir.join("signer.next").exists());
        house.start().await.unwrap();
        let signs = house.doorbook().app.keys().signer_public_key();
        assert_eq!(signs, if is_named { next.public } else { old });
        assert!(!dir.join("signer.next").exists());
        house.signed_in(QUIETFOX).await;
        house.stop().await;
        each_signature_is_of_the_key_that_counts(&house.events());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_names_another_key_than_there_is_says_so_and_is_not_served() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    let (dir, then) = (house.data_dir().join("keys"), house.dir.path().join("then"));
    copy_dir(&dir, &then);
    house.doorbook().app.rotate_signer(&By::SYSTEM).await.unwrap();
    house.stop().await;
    let events = house.events();
    lose_keys(&house);
    copy_dir(&then, &dir);
    let refused = run(&house, &["serve"]).await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let said = "keys/ has another signing key than the one this log names";
    assert!(refused.stderr.contains(said) && refused.stderr.contains("signed by"), "{}", refused.stderr);
    assert_eq!(house.events(), events, "and nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_before_another_key_signed_goes_on_with_the_word_of_the_old_key() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    fine(&with_passphrase(&house, WORDS, "escrow before.escrow").await);
    fine(&run(&house, &["backup", "before"]).await);
    // Twice: one key handed over to the next, and that to the one of today.
    for _ in 0..2 {
        fine(&run(&house, &["keys", "rotate", "--signer", "--yes"]).await);
    }
    fine(&with_passphrase(&house, WORDS, "escrow after.escrow").await);
    assert_eq!(process.terminate().await.code, Some(0));
    fine(&run(&house, &["backup", "after"]).await);
    let kept = fine(&run(&house, &["audit", "checkpoint"]).await).to_owned();
    fs::write(house.dir.path().join("kept"), kept).unwrap();
    let (ours, first) = (signers(&house.events()), signers(&house.events())[0].1.clone());

    // The keys of today, as they are and out of an escrow.
    for (name, escrow) in [("copied", None), ("given-back", Some("after.escrow"))] {
        let data_dir = house.dir.path().join(name).display().to_string();
        match escrow {
            None => copy_dir(&house.data_dir().join("keys"), &Path::new(&data_dir).join("keys")),
            Some(file) => {
                let restore = format!("restore {file} --data-dir '{data_dir}'");
                fine(&with_passphrase(&house, WORDS, &restore).await);
            }
        }
        fine(&run(&house, &["restore", "before", "--data-dir", &data_dir]).await);
        let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_DATA_DIR", &data_dir)]);
        process.ready().await;
        process.signed_in(&house, MARISOL).await;
        assert_eq!(process.terminate().await.code, Some(0));
        let events: Vec<(u64, Event)> = records(Path::new(&data_dir))
            .into_iter()
            .flat_map(|(position, record)| record.events.into_iter().map(move |event| (position, event)))
            .collect();
        each_signature_is_of_the_key_that_counts(&events);
        let theirs: Vec<_> = signers(&events).into_iter().map(|(_, key)| key).collect();
        assert_eq!(theirs, ours.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>());
        assert_eq!(theirs[0], first);
        let restored =
            events.iter().position(|(_, event)| matches!(event, Event::LogRestored { .. })).unwrap();
        let handed = &events[restored + 1..restored + 3];
        assert!(handed.iter().all(|(_, event)| matches!(event, Event::KeyRotated { signer: Some(_), .. })));
        let verified = run(&house, &["audit", "verify", "--data-dir", &data_dir]).await;
        assert!(fine(&verified).starts_with("intact"), "{}", verified.stdout);
        // What the log had lost is not hidden by it: the checkpoint of the newer log is larger, or another one.
        let verified =
            run(&house, &["audit", "verify", "--data-dir", &data_dir, "--checkpoint", "kept"]).await;
        assert_eq!(verified.code, Some(1), "{}", verified.stdout);
    }

    // A newer log and older keys, or a key that has left no word: nobody may sign.
    for (name, backup, escrow) in
        [("older-keys", "after", "before.escrow"), ("no-word", "before", "after.escrow")]
    {
        let data_dir = house.dir.path().join(name).display().to_string();
        fine(&with_passphrase(&house, WORDS, &format!("restore {escrow} --data-dir '{data_dir}'")).await);
        let _ = fs::remove_file(Path::new(&data_dir).join("keys/signer.past"));
        fine(&run(&house, &["restore", backup, "--data-dir", &data_dir]).await);
        for args in [&["serve"][..], &["serve", "--without-keys"], &["sessions", "list"]] {
            let refused = run(&house, &[args, &["--data-dir", &data_dir]].concat()).await;
            assert_eq!(refused.code, Some(3), "{}", refused.stderr);
            for said in ["keys/ has another signing key than the one this log names", "doorbook keys restore"]
            {
                assert!(refused.stderr.contains(said), "{}", refused.stderr);
            }
        }
        // It can be read all the same, and its keys open it.
        let log = run(&house, &["audit", "log", "--data-dir", &data_dir]).await;
        assert!(fine(&log).contains("Marisol"), "{}", log.stdout);
        assert!(
            fine(&run(&house, &["audit", "verify", "--data-dir", &data_dir]).await).starts_with("intact")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_the_record_of_another_key_goes_on_with_it_where_the_loss_is_accepted() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    house.stop().await;
    let (log, then) = (house.data_dir().join("log"), house.dir.path().join("then"));
    copy_files(&log, &then);
    house.start().await.unwrap();
    let rotated = house.doorbook().app.rotate_signer(&By::SYSTEM).await.unwrap();
    house.stop().await;
    fs::remove_dir_all(&log).unwrap();
    copy_files(&then, &log);
    assert!(house.start().await.is_err(), "acknowledged records are gone");
    house.plan().accepted.loss = true;
    house.start().await.unwrap();
    house.signed_in(QUIETFOX).await;
    house.stop().await;
    let events = house.events();
    let lost = events.iter().position(|(_, event)| matches!(event, Event::LogLossAccepted { .. })).unwrap();
    let Event::KeyRotated { signer: Some(signer), .. } = &events[lost + 1].1 else { panic!("{events:?}") };
    assert_eq!(signer.public_key, rotated.key.public());
    each_signature_is_of_the_key_that_counts(&events);
}

/// Copies a directory, without those in it.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_lost_come_back_from_an_escrow_and_the_same_people_get_in() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.until_it_says("never put in escrow").await;
    let marisol = process.signed_in(&house, MARISOL).await;
    let made = with_passphrase(&house, WORDS, "escrow keys.escrow").await;
    assert!(fine(&made).starts_with("the keys of 1 user are in "), "{}", made.stdout);
    let sub = keys(&house).sub_of(MARISOL).unwrap();
    let running = with_passphrase(&house, WORDS, "restore keys.escrow").await;
    assert_eq!(running.code, Some(3), "somebody has the log open: {}", running.stderr);
    assert_eq!(process.terminate().await.code, Some(0));

    lose_keys(&house);
    let without = run(&house, &["serve"]).await;
    assert_eq!(without.code, Some(3), "{}", without.stderr);
    let wrong = with_passphrase(&house, "another passphrase", "restore keys.escrow").await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    assert_eq!(fs::read_dir(house.data_dir().join("keys")).unwrap().count(), 0);
    fine(&with_passphrase(&house, WORDS, "restore keys.escrow").await);

    let mut process = Process::serve(&house).await;
    let mut back = process.visited_by(marisol.cookies);
    assert_eq!(back.fetch("GET", "/api/auth/user").await.json()["username"], "marisol.k");
    let mut again = process.signed_in(&house, MARISOL).await;
    let sessions = again.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "they are the same: {sessions}");
    assert_eq!(keys(&house).sub_of(MARISOL), Some(sub));
    let said = process.said("err");
    assert!(!said.contains("escrow"), "it has all keys of today: {said}");
    process.signed_in(&house, QUIETFOX).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let mut process = Process::serve(&house).await;
    // Somebody came who is not in it.
    process.until_it_says("the last escrow is stale").await;
    assert_eq!(process.terminate().await.code, Some(0));

    let other = with_passphrase(&house, WORDS, "restore keys.escrow").await;
    assert_eq!(other.code, Some(2), "other keys are never replaced: {}", other.stderr);
    assert!(keys(&house).sub_of(QUIETFOX).is_some());

    // Keys do not go beside a log that is not theirs.
    let strange = House::for_processes().await;
    assert_eq!(Process::serve(&strange).await.terminate().await.code, Some(0));
    lose_keys(&strange);
    let file = house.dir.path().join("keys.escrow").display().to_string();
    let refused = with_passphrase(&strange, WORDS, &format!("restore {file}")).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("the escrow is of the keys of log"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(strange.data_dir().join("keys")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escrow_from_before_an_erasure_revives_nobody() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    let quiet = process.signed_in(&house, QUIETFOX).await;
    fine(&with_passphrase(&house, WORDS, "escrow keys.escrow").await);
    let sub = keys(&house).sub_of(MARISOL).unwrap();
    let (dir, then) = (house.data_dir().join("keys"), house.dir.path().join("then"));
    copy_dir(&dir, &then);
    fine(&run(&house, &["user", "erase", "marisol.k", "--yes", "--output", "certificate.json"]).await);
    assert_eq!(keys(&house).sub_of(MARISOL), None);
    fine(&run(&house, &["backup", "backup"]).await);
    assert_eq!(process.terminate().await.code, Some(0));

    // Whoever only reads starts nothing: it is done when the keys come back.
    let gone = "is gone now: 1 user, 0 months.";
    lose_keys(&house);
    let restored = with_passphrase(&house, WORDS, "restore keys.escrow").await;
    fine(&restored);
    assert!(restored.stderr.contains(gone), "{}", restored.stderr);
    assert_eq!((keys(&house).sub_of(MARISOL), keys(&house).subject_count()), (None, 1));
    nothing_is_read_of_marisol(&house, sub).await;

    // So it is where the log comes after them.
    let data_dir = house.dir.path().join("elsewhere");
    let restore = format!("restore keys.escrow --data-dir '{}'", data_dir.display());
    let restored = with_passphrase(&house, WORDS, &restore).await;
    fine(&restored);
    assert!(!restored.stderr.contains(gone), "there is no log yet: {}", restored.stderr);
    let data_dir = data_dir.to_str().unwrap();
    let restored = run(&house, &["restore", "backup", "--data-dir", data_dir]).await;
    fine(&restored);
    assert!(restored.stderr.contains(gone), "{}", restored.stderr);

    // As somebody would who copies files.
    lose_keys(&house);
    copy_dir(&then, &dir);
    assert_eq!(keys(&house).sub_of(MARISOL), Some(sub), "for now");
    let mut process = Process::serve(&house).await;
    assert_eq!(keys(&house).sub_of(MARISOL), None, "the start has forgotten them again");
    let said = process.said("err");
    assert!(said.contains("were here again, and are gone now"), "{said}");
    assert!(said.contains("the last escrow is stale"), "{said}");
    let mut back = process.visited_by(quiet.cookies);
    assert_eq!(back.fetch("GET", "/api/auth/user").await.json()["username"], "quietfox");
    nothing_is_read_of_marisol(&house, sub).await;

    let mut again = process.signed_in(&house, MARISOL).await;
    let sessions = again.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "they are somebody new: {sessions}");
    assert_ne!(keys(&house).sub_of(MARISOL), Some(sub));
    assert_eq!(process.terminate().await.code, Some(0));

    // A command that opens the log by itself revives nobody either.
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    fine(&with_passphrase(&house, WORDS, "escrow keys.escrow").await);
    fine(&run(&house, &["user", "erase", "marisol.k", "--yes", "--output", "certificate.json"]).await);
    assert_eq!(process.terminate().await.code, Some(0));
    lose_keys(&house);
    fine(&with_passphrase(&house, WORDS, "restore keys.escrow").await);
    fine(&run(&house, &["sessions", "list"]).await);
    assert_eq!(keys(&house).subject_count(), 0);
}

async fn nothing_is_read_of_marisol(house: &House, sub: Sub) {
    let log = run(house, &["audit", "log", "--format", "jsonl"]).await;
    let (mut of_them, all) = (0, fine(&log));
    for row in all.lines().filter(|line| line.contains(&sub.to_string())) {
        of_them += 1;
        assert!(!row.contains("marisol") && !row.contains("Marisol"), "{row}");
        assert!(!row.contains(&MARISOL.to_string()), "{row}");
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        if row["actor"]["kind"] == "user" {
            assert_eq!(row["ip"], serde_json::Value::Null, "{row}");
        }
    }
    assert!(of_them > 3, "what happened stays: {all}");
}

/// What the log says of a person, read with the keys that are there.
async fn rows_of(local: &Local, world: World, user: DiscordId) -> Vec<EventRow> {
    let reading = serve::read(local, world).await.unwrap();
    assert!(reading.without_keys.is_none());
    let sub = reading.reader.opener().sub_of(user).unwrap();
    let head = reading.reader.head().await.unwrap().unwrap();
    let filter = Filter { users: Some([sub].into()), ..Filter::default() };
    let mut rows = Vec::new();
    reading.reader.rows(filter, head, |row| rows.push(row)).await.unwrap();
    rows.retain(|row| !row.derived);
    reading.close().await.unwrap();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_month_that_is_past_fade_and_the_profile_stays() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    house.stop().await;
    let local = house.config().local;
    let before = rows_of(&local, house.world(), MARISOL).await;
    let with_address = before.iter().filter(|row| row.ip.is_some()).count();
    assert!(with_address > 1, "{before:?}");

    house.clock.advance(Duration::from_secs(365 * 86_400));
    let answers = serve::open_local(local.clone(), house.world()).await.unwrap();
    assert_eq!(answers.apply_retention(false).await.unwrap(), [], "a year is kept, and a month");
    house.clock.advance(Duration::from_secs(70 * 86_400));
    for (only_look, months) in [(true, vec![JANUARY]), (false, vec![JANUARY]), (true, vec![])] {
        assert_eq!(answers.apply_retention(only_look).await.unwrap(), months);
    }
    answers.close().await.unwrap();
    let ended = |(_, event): &(u64, Event)| {
        matches!(event, Event::KeyDestroyed { purpose: KeyPurpose::Month, key_id: 202_601 })
    };
    assert_eq!(house.events().iter().filter(|event| ended(event)).count(), 1);

    let after = rows_of(&local, house.world(), MARISOL).await;
    assert_eq!(after.len(), before.len(), "everything that happened is still there");
    for (row, then) in after.iter().zip(&before) {
        assert_eq!((row.ip, &row.user, &row.kind), (None, &then.user, &then.kind));
    }
    assert!(after.iter().any(|row| row.user.as_ref().is_some_and(|user| user.username.is_some())));

    // They come back as who they were, and a server ends months by itself.
    house.start().await.unwrap();
    let mut again = house.signed_in(MARISOL).await;
    assert_eq!(again.fetch("GET", "/api/auth/user").await.json()["username"], "marisol.k");
    let now = house.doorbook().app.state().eff().month();
    let client = Client::connect(&house.data_dir(), std::sync::Arc::new(house.clock.clone())).await.unwrap();
    let client = client.expect("a server runs");
    assert_eq!(client.apply_retention(true).await.unwrap(), []);
    house.clock.advance(Duration::from_secs(430 * 86_400));
    house.until(|state| state.destroyed().any(|month| month == now)).await;
    // It is recorded first; whoever asks now waits until the key is gone as well.
    client.apply_retention(false).await.unwrap();
    assert!(!house.doorbook().app.keys().has_month(now));
    assert_eq!(client.apply_retention(true).await.unwrap(), []);
}

/// Goes on until an address has that in it, and returns the address without going there.
async fn as_far_as(visitor: &mut Visitor<'_>, from: &str, part: &str) -> String {
    let mut url = from.to_owned();
    for _ in 0..20 {
        if url.contains(part) {
            return url;
        }
        url = visitor.step(&url).await.1.expect("it goes on");
    }
    panic!("it does not come to {part}: {:?}", visitor.trail);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_another_cookie_secret_app_cookies_and_attempts_are_worthless_and_sessions_go_on() {
    let secret = |name: &str| ("COOKIE_SECRET", format!("{name}-cookie-secret-0123456789abcdef"));
    let plan = Plan { env: vec![secret("one")], file: RULES.into(), origin: AUTH, ..Plan::default() };
    let mut house = House::with(plan).await;
    let (page, login) = (format!("{WIKI}/"), format!("{AUTH}/api/auth/discord/login"));

    // Marisol is at the wiki; Quietfox is on the way back from Discord.
    let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
    assert!(marisol.go(&page).await.is_app);
    let at_the_wiki = marisol.jar.clone();
    let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
    let callback = as_far_as(&mut quietfox, &login, "?code=").await;
    let on_the_way = quietfox.jar.clone();
    let session = house.doorbook().app.sessions()[0].id;

    // That the first secret brings everything back shows that it is the secret, and not the restart.
    for (name, counts) in [("other", false), ("one", true)] {
        house.stop().await;
        house.plan().env = vec![secret(name)];
        house.start().await.expect("doorbook starts again");
        let sessions = house.doorbook().app.sessions();
        assert!(sessions.len() == 1 && sessions[0].id == session, "{name}: {sessions:?}");

        let mut marisol = Visitor::new(&house, Proxy::Forward, MARISOL);
        marisol.jar = at_the_wiki.clone();
        let (told, is_app) = marisol.by_proxy("GET", &page, FETCHES).await;
        assert_eq!(is_app, counts, "{name}: {told}");
        // The session is the same: it gives a new cookie, and Discord is not asked.
        let landed = marisol.go(&page).await;
        assert!(landed.is_app, "{name}: {landed:#?}");
        assert!(!marisol.went_through().contains(&"discord".to_owned()), "{name}: {:?}", marisol.trail);

        let mut quietfox = Visitor::new(&house, Proxy::Forward, QUIETFOX);
        quietfox.jar = on_the_way.clone();
        let (landed, _) = quietfox.step(&callback).await;
        assert_eq!(landed.answer.status, if counts { 303 } else { 400 }, "{name}: {landed:#?}");
        assert_eq!(landed.answer.body.contains("400 state_mismatch"), !counts, "{name}: {landed:#?}");
    }
    house.stop().await;
    let ended = house.events().into_iter().filter(|(_, event)| matches!(event, Event::SessionRevoked { .. }));
    assert_eq!(ended.count(), 0);
}
