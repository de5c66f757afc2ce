//! Writes the golden log: a thousand records of the town, with everything that can happen to one, and its keys.
//!
//! It is a fixture, so it is written once and never again: `WRITE_FIXTURES=1 cargo test --lib -- --ignored
//! write_the_golden_log`. What the commands say about it is in `snapshots/golden-*`.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::audit::Survey;
use crate::crypto::Forget;
use crate::domain::event::{KeyPurpose, NewSigner, Requester};
use crate::domain::id::Position;
use crate::event_log::note::{VerifierKey, origin_of};

const RECORDS: u64 = 1_000;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "golden", name].iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes the golden log where there is none"]
async fn write_the_golden_log() {
    // A run of all ignored tests must not make up for what is missing.
    if std::env::var_os("WRITE_FIXTURES").is_none() || fixture("log.jsonl").exists() {
        return;
    }
    let mut town = Town::founded().await;
    town.live_until(300).await;
    town.restart().await;
    town.live_until(500).await;
    another_signs(&town).await;
    town.live_until(600).await;
    somebody_is_erased(&town, 4).await;
    town.live_until(800).await;
    town.restart().await;
    let past = town.app.apply_retention(Duration::from_secs(86_400), &By::SYSTEM).await.unwrap();
    assert!(!past.is_empty(), "a month is over");
    // The end of the server, and the signature for it, are the last two.
    town.live_until(RECORDS - 12).await;
    while town.app.frontier().size() < RECORDS - 2 {
        town.fail().await;
    }
    let reader = town.reader();
    town.app.close().await.unwrap();
    drop(reader);

    fs::create_dir_all(fixture("keys")).unwrap();
    for entry in fs::read_dir(town.data_dir().join("keys")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), fixture("keys").join(entry.file_name())).unwrap();
    }
    town.restart_to_read().await;
    let reader = town.reader();
    let last = Position(RECORDS - 1);
    let survey: Survey = reader.survey(last, |_| ()).await.unwrap();
    let mut text = Vec::new();
    reader.export(&survey, last, &mut text, |_| ()).await.unwrap();
    fs::write(fixture("log.jsonl"), text).unwrap();
}

async fn another_signs(town: &Town) {
    town.app.sign_checkpoint().await.unwrap();
    let next = town.app.keys().prepare_signer().await.unwrap();
    let log = town.app.state().log().cloned().unwrap();
    let key = VerifierKey::new(&origin_of(&log.origin, log.id), &next.public).unwrap();
    let signer = Some(NewSigner { public_key: next.public, signature: next.signature });
    let key_id = u32::from_be_bytes(key.id());
    let command = Command::RotateKey { purpose: KeyPurpose::Signer, key_id, signer };
    town.app.execute(command, &By { actor: Actor::OPERATOR, ..By::SYSTEM }).await.unwrap();
    town.app.keys().signer_is(next.public).await.unwrap();
}

async fn somebody_is_erased(town: &Town, who: u64) {
    town.sign_in(who).await;
    town.revoke(who).await;
    let user = town.sub(who).unwrap();
    let erase = Command::Erase { user, requested_by: Requester::User, confirmed: Some(true) };
    town.app.execute(erase, &By { actor: Actor::OPERATOR, ..By::SYSTEM }).await.unwrap();
    town.app.keys().forget(Forget::sub(user)).await.unwrap();
}
