//! What is held on a person, and what is left of them once they are erased.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbook::app::{By, OpenError};
use doorbook::audit::{Certificate, CertificateError, LogSource, Opener, Reader};
use doorbook::crypto::{KeyRing, KeySettings};
use doorbook::disk::Synced;
use doorbook::domain::event::{Event, Requester};
use doorbook::domain::id::{Position, Sub};
use doorbook::domain::record::{Actor, Record};
use doorbook::entropy::SystemEntropy;
use doorbook::event_log::codec;
use doorbook::event_log::note::VerifierKey;
use doorbook::grants::EraseError;
use doorbook::serve::ServeError;
use ed25519_dalek::SigningKey;

use crate::harness::{House, MARISOL, Plan, Process, QUIETFOX};
use crate::storage::Disobedient;

const OPERATOR: By = By { actor: Actor::OPERATOR, request: None, cause: None, route: None, origin: None };

fn sub_of(house: &House, id: doorbook::domain::id::DiscordId) -> Sub {
    house.doorbook().app.keys().sub_of(id).expect("they have signed in")
}

fn reader(house: &House) -> Reader {
    let app = &house.doorbook().app;
    Reader::new(Arc::new(LogSource(app.log().clone())), Opener::new(Some(app.keys().clone())))
}

/// Returns every record with a box of that user.
async fn records_about(reader: &Reader, sub: Sub) -> Vec<Record> {
    let head = reader.head().await.unwrap().expect("a log");
    let mut all = Vec::new();
    reader
        .each(Position(0), head, |_, record| {
            let actor = record.context.actor.sub == Some(sub);
            if actor || record.subject.is_some_and(|subject| subject.sub == sub) {
                all.push(record.clone());
            }
        })
        .await
        .unwrap();
    all
}

/// Returns whether these keys open anything of what is sealed in the records.
fn opens_anything(keys: &KeyRing, records: &[Record]) -> bool {
    records.iter().any(|record| record.sealed.iter().any(|sealed| keys.unseal(record.id, sealed).is_ok()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn look(dir: PathBuf, house: &House) -> KeyRing {
    let log_id = house.doorbook().app.keys().log_id();
    let settings = KeySettings { dir, log_id, encrypt_secret: None, cookie_secret: None };
    KeyRing::look(&settings, Arc::new(SystemEntropy)).expect("keys")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_signed_out_at_once_and_nothing_of_them_can_be_read_again() {
    let house = House::open().await;
    let mut marisol = house.signed_in(MARISOL).await;
    let mut other = house.signed_in(QUIETFOX).await;
    let sub = sub_of(&house, MARISOL);
    let reader = reader(&house);
    let before = records_about(&reader, sub).await;
    assert!(opens_anything(house.doorbook().app.keys(), &before), "it could be read until now");
    let old_keys = house.dir.path().join("old-keys");
    copy(&house.data_dir().join("keys"), &old_keys);

    let erased =
        house.doorbook().grants().erase(sub, Requester::User, false, &OPERATOR).await.expect("erased");
    assert_eq!((erased.sessions_ended, erased.confirmed), (1, Some(true)));
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 401);
    assert_eq!(other.fetch("GET", "/api/auth/user").await.status, 200, "nobody else notices");
    let app = &house.doorbook().app;
    assert!(!opens_anything(app.keys(), &records_about(&reader, sub).await));
    assert!(!opens_anything(&look(house.data_dir().join("keys"), &house), &before));
    // The files of before are noise without their own root key, and with it they are what the certificate warns of.
    assert!(opens_anything(&look(old_keys.clone(), &house), &before));
    fs::copy(house.data_dir().join("keys/kek"), old_keys.join("kek")).unwrap();
    let log_id = app.keys().log_id();
    let settings = KeySettings { dir: old_keys, log_id, encrypt_secret: None, cookie_secret: None };
    assert!(KeyRing::look(&settings, Arc::new(SystemEntropy)).is_err());

    // They may come back, as somebody whom nobody has ever seen.
    let mut again = house.signed_in(MARISOL).await;
    assert_eq!(again.fetch("GET", "/api/auth/user").await.status, 200);
    assert_ne!(sub_of(&house, MARISOL), sub);
    let twice = house.doorbook().grants().erase(sub, Requester::User, false, &OPERATOR).await;
    assert!(matches!(twice, Err(EraseError::NoSuchUser)), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_proves_the_erasure_to_somebody_who_has_nothing_else() {
    let house = House::open().await;
    house.signed_in(MARISOL).await;
    let sub = sub_of(&house, MARISOL);
    let erased =
        house.doorbook().grants().erase(sub, Requester::User, false, &OPERATOR).await.expect("erased");
    let reader = reader(&house);
    assert!(reader.certificate(erased.position).await.unwrap().is_none(), "nobody has signed yet");
    house.doorbook().app.sign_checkpoint().await.expect("signed");
    let certificate = reader.certificate(erased.position).await.unwrap().expect("signed for");
    let text = serde_json::to_string(&certificate).unwrap();
    let proven = Certificate::read(&text).unwrap().verify(None).unwrap();
    let key = reader.verifier_keys().await.unwrap().pop().unwrap();
    assert_eq!((proven.position, &proven.key), (erased.position, &key));
    assert!(
        proven.says.contains(&sub.to_string()) && proven.says.contains("as they asked"),
        "{}",
        proven.says
    );
    for name in ["Marisol", "marisol", &MARISOL.to_string()] {
        assert!(!text.contains(name), "{name} is not in it");
    }
    assert!(certificate.verify(Some(&key)).is_ok());
    // Another record with the same proof, another key, another text.
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (member, value) in
        [("record", "AQABAAAA"), ("key", "x+00000000+AA=="), ("proof", "c2sp.org/tlog-proof@v1\n")]
    {
        let mut changed = record.clone();
        changed[member] = value.into();
        let verdict =
            Certificate::read(&changed.to_string()).and_then(|certificate| certificate.verify(None));
        assert!(verdict.is_err(), "{member}");
    }
    assert!(matches!(Certificate::read("{}"), Err(CertificateError::NotOne)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_discords_word_nobody_is_erased_unless_that_is_wanted() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    let sub = sub_of(&house, MARISOL);
    house.discord_goes_down().await;
    let grants = house.doorbook().grants().clone();
    let erasing = grants.erase(sub, Requester::Operator, false, &OPERATOR);
    let refused = house.as_time_passes(std::time::Duration::from_secs(5), erasing).await;
    assert!(matches!(refused, Err(EraseError::NotConfirmed)), "{refused:?}");
    let app = house.doorbook().app.clone();
    assert!(
        app.state().user(sub).is_some_and(|user| user.sessions.is_empty()),
        "the sessions have ended all the same"
    );
    let erasing = grants.erase(sub, Requester::Operator, true, &OPERATOR);
    let erased = house.as_time_passes(std::time::Duration::from_secs(5), erasing).await.expect("erased");
    assert_eq!(erased.confirmed, Some(false), "and the record says so");
    assert!(app.state().is_erased(sub));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_between_the_record_and_the_keys_is_said_and_asking_again_destroys_them() {
    let disk = Arc::new(Disobedient { fails_on: Some(Synced::Keys), ..Disobedient::default() });
    let house = House::with(Plan { disk: disk.clone(), ..Plan::default() }).await;
    house.signed_in(MARISOL).await;
    let sub = sub_of(&house, MARISOL);
    let reader = reader(&house);
    let before = records_about(&reader, sub).await;
    let (app, grants) = (&house.doorbook().app, house.doorbook().grants());

    disk.fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let failed = grants.erase(sub, Requester::User, false, &OPERATOR).await;
        assert!(matches!(failed, Err(EraseError::Keys(_))), "{failed:?}");
        assert!(app.state().is_erased(sub) && app.keys().has_subject(sub));
    }
    disk.fails.store(false, Ordering::SeqCst);
    let again = grants.erase(sub, Requester::User, false, &OPERATOR).await;
    assert!(matches!(again, Err(EraseError::NoSuchUser)), "{again:?}");
    assert!(!app.keys().has_subject(sub) && !opens_anything(app.keys(), &before));
    assert!(!opens_anything(&look(house.data_dir().join("keys"), &house), &before));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_before_an_erasure_revive_nobody() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    house.signed_in(QUIETFOX).await;
    let sub = sub_of(&house, MARISOL);
    let old_keys = house.dir.path().join("old-keys");
    copy(&house.data_dir().join("keys"), &old_keys);
    let before = records_about(&reader(&house), sub).await;
    house.doorbook().grants().erase(sub, Requester::User, false, &OPERATOR).await.expect("erased");
    house.stop().await;
    // As if an older escrow had been put back.
    copy(&old_keys, &house.data_dir().join("keys"));
    house.start().await.expect("it starts");
    let keys = house.doorbook().app.keys();
    assert!(keys.discord_id_of(sub).is_none() && !opens_anything(keys, &before));
    assert!(!opens_anything(&look(house.data_dir().join("keys"), &house), &before), "in the files as well");
    assert!(keys.sub_of(QUIETFOX).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_before_an_erasure_revive_nobody_where_the_start_is_refused() {
    let mut house = House::open().await;
    house.signed_in(MARISOL).await;
    let sub = sub_of(&house, MARISOL);
    let old_keys = house.dir.path().join("old-keys");
    copy(&house.data_dir().join("keys"), &old_keys);
    house.signed_in(QUIETFOX).await;
    house.doorbook().grants().erase(sub, Requester::User, false, &OPERATOR).await.expect("erased");
    let log_id = house.doorbook().app.keys().log_id();
    house.stop().await;
    copy(&old_keys, &house.data_dir().join("keys"));
    let refused = house.start().await.unwrap_err();
    assert!(matches!(refused, ServeError::Open(OpenError::SubjectsMissing { missing: 1 })), "{refused}");
    let dir = house.data_dir().join("keys");
    let settings = KeySettings { dir, log_id, encrypt_secret: None, cookie_secret: None };
    let keys = KeyRing::look(&settings, Arc::new(SystemEntropy)).expect("keys");
    assert!(!keys.has_subject(sub), "whoever only reads opens nothing of theirs either");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_any_more_is_signed_out_where_the_operator_goes_on_without_it() {
    let mut house = House::open().await;
    let other = house.signed_in(QUIETFOX).await;
    let old_keys = house.dir.path().join("old-keys");
    copy(&house.data_dir().join("keys"), &old_keys);
    let marisol = house.signed_in(MARISOL).await;
    let sub = sub_of(&house, MARISOL);
    house.stop().await;
    copy(&old_keys, &house.data_dir().join("keys"));
    let refused = house.start().await.unwrap_err();
    assert!(
        matches!(refused, ServeError::Open(OpenError::SubjectsMissing { missing: 1 })),
        "without the flag nobody is erased: {refused}"
    );
    house.plan().accepted.missing_keys = true;
    house.start().await.expect("it starts");
    assert_eq!(marisol.at(&house).fetch("GET", "/api/auth/user").await.status, 401);
    assert_eq!(other.at(&house).fetch("GET", "/api/auth/user").await.status, 200, "nobody else notices");
    assert!(house.doorbook().app.state().is_erased(sub));
    house.plan().accepted.missing_keys = false;
    house.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_tell_and_erase_through_the_running_server() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    let told = Process::spawn(&house, &["user", "export", "marisol.k"], &[]).ends().await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let held: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(held["profile"]["email"], "marisol@example.test");
    assert_eq!(held["sessions"][0]["ip"], "127.0.0.1");
    let stored = fs::read_to_string(house.dir.path().join("stand-in.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    for token in find_tokens(&stored) {
        assert!(!told.stdout.contains(&token), "no token is ever shown");
    }

    let refused = Process::spawn(&house, &["user", "erase", "marisol.k"], &[]).ends().await;
    assert_eq!(refused.code, Some(2), "without a terminal it needs --yes: {}", refused.stderr);
    let erased = Process::spawn(&house, &["user", "erase", "marisol.k", "--yes"], &[]).ends().await;
    assert_eq!(erased.code, Some(0), "{}", erased.stderr);
    let certificate = house.dir.path().join("certificate.json");
    fs::write(&certificate, &erased.stdout).unwrap();
    let file = certificate.display().to_string();
    let proven = Process::spawn(&house, &["audit", "verify", "--certificate", &file], &[]).ends().await;
    assert_eq!(proven.code, Some(0), "{}", proven.stderr);
    let keys = Process::spawn(&house, &["audit", "checkpoint", "--key"], &[]).ends().await.stdout;
    let key = keys.lines().last().expect("a key");
    let claim = format!(
        "proven, if this is the key of the log: {key}\n  says         the person with the pseudonym "
    );
    assert!(proven.stdout.starts_with(&claim), "{}", proven.stdout);
    assert!(proven.stdout.contains("doorbook audit checkpoint --key"), "{}", proven.stdout);
    let with_key = ["audit", "verify", "--certificate", &file, "--key"];
    let proven = Process::spawn(&house, &[&with_key[..], &[key]].concat(), &[]).ends().await;
    assert!(proven.stdout.starts_with("proven: the person with the pseudonym "), "{}", proven.stdout);
    // Somebody else's log can say the same; its key is another one.
    let (name, other) = (key.split('+').next().unwrap(), SigningKey::from_bytes(&[9; 32]).verifying_key());
    let other = VerifierKey::new(name, &other.to_bytes()).unwrap().to_string();
    let refused = Process::spawn(&house, &[&with_key[..], &[&other]].concat(), &[]).ends().await;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("NOT PROVEN: its key is not the one"), "{}", refused.stderr);
    let gone = Process::spawn(&house, &["explain", "--user", "marisol.k"], &[]).ends().await;
    assert_eq!(gone.code, Some(1), "{}", gone.stdout);
    let mut process = process;
    process.terminate().await;
    let events = house.events();
    let exported = events.iter().filter(|(_, event)| matches!(event, Event::AuditExported(_))).count();
    assert_eq!(exported, 1, "that somebody looked is written down, once");
    let kinds: Vec<u16> = events.iter().map(|(_, event)| codec::kind_of(event)).collect();
    assert!(kinds.contains(&45), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_written_erases_nobody_and_one_that_was_lost_is_written_again() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    let erase = ["user", "erase", "marisol.k", "--yes"];
    let nowhere = [&erase[..], &["--output", "no/such/directory/certificate.json"]].concat();
    let refused = Process::spawn(&house, &nowhere, &[]).ends().await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let told = Process::spawn(&house, &["user", "export", "marisol.k"], &[]).ends().await;
    assert_eq!(told.code, Some(0), "they are still there: {}", told.stderr);

    let erased = Process::spawn(&house, &erase, &[]).ends().await;
    assert_eq!(erased.code, Some(0), "{}", erased.stderr);
    let (_, sub) = erased.stderr.trim().split_once("their pseudonym is ").expect("a pseudonym");
    let first: serde_json::Value = serde_json::from_str(&erased.stdout).expect("a certificate");
    // With a running server, and then without one.
    for name in ["again.json", "once-more.json"] {
        let again = ["user", "erase", sub, "--yes", "--output", name];
        let again = Process::spawn(&house, &again, &[]).ends().await;
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stderr.contains("they were erased before, at position "), "{}", again.stderr);
        let text = fs::read_to_string(house.dir.path().join(name)).expect("the certificate");
        let second: serde_json::Value = serde_json::from_str(&text).expect("a certificate");
        assert_eq!((&first["record"], &first["key"]), (&second["record"], &second["key"]));
        Certificate::read(&text).unwrap().verify(None).expect("it holds");
        if name == "again.json" {
            process.terminate().await;
        }
    }
    let erasures = house.events().into_iter().filter(|(_, event)| matches!(event, Event::UserErased { .. }));
    assert_eq!(erasures.count(), 1, "nobody is erased twice");
    let left = fs::read_dir(house.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let unfinished = left.filter(|name| name.to_string_lossy().ends_with(".new")).count();
    assert_eq!(unfinished, 0, "nothing is left of what was not written");
}

/// Returns every text in the stand-in's memory that is as long as a token.
fn find_tokens(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) if text.len() >= 28 => vec![text.clone()],
        serde_json::Value::Array(all) => all.iter().flat_map(find_tokens).collect(),
        serde_json::Value::Object(all) => all
            .iter()
            .flat_map(|(name, value)| [find_tokens(&name.as_str().into()), find_tokens(value)].concat())
            .collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_whose_key_is_gone_is_missed_and_the_operator_may_go_on_without_it() {
    let mut house = House::open().await;
    let marisol = house.signed_in(MARISOL).await;
    house.stop().await;
    let months = house.data_dir().join("keys/months");
    // As if the disk had not kept its only entry.
    let whole = fs::read(&months).expect("a file");
    fs::write(&months, &whole[..254]).expect("written");
    let refused = house.start().await.unwrap_err();
    assert!(matches!(refused, ServeError::Open(OpenError::MonthMissing { .. })), "{refused}");
    assert_eq!(fs::read(&months).expect("a file").len(), 254, "nothing is cut off");
    house.plan().accepted.missing_keys = true;
    house.start().await.expect("it starts");
    assert_eq!(marisol.at(&house).fetch("GET", "/api/auth/user").await.status, 200, "nobody is signed out");
    house.plan().accepted.missing_keys = false;
    house.restart().await;
}
