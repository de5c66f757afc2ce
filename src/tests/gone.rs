//! What is left of somebody who was erased, file by file: boxes that nothing in the data directory opens.
//!
//! That no file has any of it in the clear is another story, in `canary.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use doorbook::crypto::{KeyRing, KeySettings};
use doorbook::domain::id::{RecordId, Sub};
use doorbook::domain::record::{Owner, SealedBox};
use doorbook::entropy::SystemEntropy;
use doorbook::event_log::codec;

use crate::harness::{Ended, House, MARISOL, Process, QUIETFOX, records};

async fn run(house: &House, args: &[&str], data_dir: &Path) -> Ended {
    let env = data_dir.display().to_string();
    Process::spawn(house, args, &[("DOORBOOK_DATA_DIR", &env)]).ends().await
}

#[track_caller]
fn fine(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    &ended.stdout
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn keys(dir: &Path) -> KeyRing {
    let log_id = KeyRing::log_of(dir).unwrap().expect("there are keys");
    let settings = KeySettings { dir: dir.into(), log_id, encrypt_secret: None, cookie_secret: None };
    KeyRing::look(&settings, Arc::new(SystemEntropy)).unwrap()
}

type Boxes = Vec<(RecordId, Arc<SealedBox>)>;

/// Returns the boxes of the log and those of the stored states that only this person's key opens.
fn boxes_of(sub: Sub, data_dir: &Path) -> (Boxes, Boxes) {
    let is_theirs = |(_, sealed): &(RecordId, Arc<SealedBox>)| match sealed.owner {
        Owner::Subject(owner) => owner == sub,
        Owner::Context(_, owner) => owner == Some(sub),
        Owner::Log => false,
    };
    let records = records(data_dir).into_iter();
    let in_log =
        records.flat_map(|(_, record)| record.sealed.into_iter().map(move |sealed| (record.id, sealed)));
    let mut in_states = Vec::new();
    for entry in fs::read_dir(data_dir.join("states")).unwrap() {
        let state = codec::read_state(fs::File::open(entry.unwrap().path()).unwrap()).unwrap().state;
        let of_users = state.users().flat_map(|(_, user)| {
            let grants = user.grant.iter().chain(user.revocation.iter().map(|revocation| &revocation.grant));
            user.profile
                .clone()
                .into_iter()
                .chain(grants.map(|grant| grant.tokens.clone()))
                .collect::<Vec<_>>()
        });
        let of_sessions = state.sessions().filter_map(|session| session.origin.clone());
        in_states.extend(of_users.chain(of_sessions).map(|fact| (fact.record, fact.sealed)));
    }
    (in_log.filter(is_theirs).collect(), in_states.into_iter().filter(is_theirs).collect())
}

fn opened(keys: &KeyRing, boxes: &Boxes) -> usize {
    boxes.iter().filter(|(record, sealed)| keys.unseal(*record, sealed).is_ok()).count()
}

/// Asserts that the files of this data directory open nothing of somebody who was erased.
#[track_caller]
fn nothing_opens(sub: Sub, data_dir: &Path, boxes: &Boxes) {
    let names = fs::read_dir(data_dir.join("keys")).unwrap();
    let names: BTreeSet<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected = ["cookie", "kek", "log", "months", "signer", "subjects"].map(str::to_owned);
    assert_eq!(names, expected.into(), "no older file is left");
    let keys = keys(&data_dir.join("keys"));
    assert_eq!((keys.discord_id_of(sub), opened(&keys, boxes)), (None, 0));
    assert!(keys.sub_of(MARISOL).is_none_or(|other| other != sub));
    assert!(keys.sub_of(QUIETFOX).is_some());
}

/// Asserts that nobody who asks is told anything about somebody who was erased.
async fn nothing_is_told(house: &House, sub: Sub, data_dir: &Path) {
    for args in [
        &["audit", "log", "--format", "jsonl"][..],
        &["audit", "state", "--format", "jsonl"],
        &["audit", "stats", "--format", "jsonl"],
        &["sessions", "list", "--format", "jsonl"],
        &["export"],
    ] {
        let told = run(house, args, data_dir).await;
        let all = fine(&told);
        for word in ["marisol", "Marisol", &MARISOL.to_string()] {
            assert!(!all.contains(word), "{args:?}: {word}");
        }
        let of_them =
            all.lines().filter(|line| line.contains("session.opened") && line.contains(&sub.to_string()));
        assert!(of_them.into_iter().all(|line| !line.contains("127.0.0.1")), "{args:?}");
    }
    let asked = run(house, &["explain", "--user", "marisol.k"], data_dir).await;
    assert_eq!(asked.code, Some(1), "{}", asked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_erased_is_unreadable_in_every_file_and_after_a_restore_of_an_older_backup() {
    let house = House::for_processes().await;
    let ours = house.data_dir();
    let mut process = Process::serve(&house).await;
    let mut marisol = process.signed_in(&house, MARISOL).await;
    process.signed_in(&house, QUIETFOX).await;
    assert_eq!(marisol.fetch("POST", "/api/auth/refresh").await.status, 200);
    fine(&run(&house, &["backup", "backup"], &ours).await);
    // A stop in order stores the state, and the next start goes on from it.
    assert_eq!(process.terminate().await.code, Some(0));
    let mut process = Process::serve(&house).await;
    let then = house.dir.path().join("then");
    copy_dir(&ours.join("keys"), &then);
    let then = keys(&then);
    let sub = then.sub_of(MARISOL).unwrap();

    fine(&run(&house, &["user", "erase", "marisol.k", "--yes", "--output", "certificate.json"], &ours).await);
    assert_eq!(process.terminate().await.code, Some(0));
    let (in_log, in_states) = boxes_of(sub, &ours);
    let boxes: Boxes = in_log.iter().chain(&in_states).cloned().collect();
    assert!(in_log.len() > 4 && in_states.len() >= 3, "{} and {}", in_log.len(), in_states.len());
    assert_eq!(opened(&then, &boxes), boxes.len(), "their own key opens all of them");
    nothing_opens(sub, &ours, &boxes);
    nothing_is_told(&house, sub, &ours).await;

    // The log of before, in which nobody was erased, beside the keys of now.
    let restored = house.dir.path().join("restored");
    copy_dir(&ours.join("keys"), &restored.join("keys"));
    fine(&run(&house, &["restore", "backup"], &restored).await);
    let told = run(&house, &["audit", "log", "--format", "jsonl"], &restored).await;
    assert!(!fine(&told).contains("arisol") && !told.stdout.contains(&MARISOL.to_string()));
    nothing_opens(sub, &restored, &boxes);
    let env = restored.display().to_string();
    let mut process = Process::spawn(&house, &["serve", "--without-keys"], &[("DOORBOOK_DATA_DIR", &env)]);
    process.ready().await;
    assert_eq!(process.terminate().await.code, Some(0));
    let (in_log, in_states) = boxes_of(sub, &restored);
    assert!(in_log.len() > 4 && in_states.is_empty(), "it is erased in this log as well");
    nothing_opens(sub, &restored, &boxes);
    nothing_is_told(&house, sub, &restored).await;
}
