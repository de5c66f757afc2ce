//! A kill at every step of a rekey, with every file there is: nothing is lost, and nobody is revived.
//!
//! One rekey is watched from its first sync to its last. What the directory held at each of them is what a kill, or a
//! power cut that kept all of it, would have left; a file that was still being written is cut off as well.

use std::collections::{BTreeMap, BTreeSet};

use super::forget::Forget;
use super::kek;
use super::trial::{JUNE, MASON, NELLY, Trial, block_on};
use super::{KeyRing, NewSigner};
use crate::domain::id::{DiscordId, RecordId, Sub};
use crate::domain::record::{Owner, SealedBox};
use crate::domain::time::Month;
use crate::entropy::SeededEntropy;

const JULY: Month = Month(202_607);
const RECORD: RecordId = RecordId([0x11; 16]);
const THIRD: DiscordId = DiscordId(1_169_698_460_971_323_693);

type Files = BTreeMap<String, Vec<u8>>;

/// Keys with every file that there can be, and what they open.
struct Life {
    trial: Trial,
    ring: KeyRing,
    /// Who may go, who stays, and somebody who came last.
    subs: [Sub; 3],
    next: NewSigner,
    boxes: Vec<SealedBox>,
    before: Files,
}

impl Life {
    fn lead() -> Life {
        let trial = Trial::new();
        let (nelly, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        let (third, next) = block_on(async {
            ring.ensure_month(JULY).await.unwrap();
            (ring.ensure_subject(THIRD).await.unwrap(), ring.prepare_signer().await.unwrap())
        });
        let owners = [
            Owner::Subject(nelly),
            Owner::Context(JULY, Some(nelly)),
            Owner::Context(JUNE, None),
            Owner::Context(JUNE, Some(mason)),
            Owner::Subject(mason),
            Owner::Subject(third),
            Owner::Context(JULY, Some(mason)),
            Owner::Context(JULY, None),
            Owner::Log,
        ];
        let boxes = owners.map(|owner| ring.seal(owner, RECORD, b"a fact").unwrap()).into();
        let before = trial.files();
        let names: Vec<&str> = before.keys().map(String::as_str).collect();
        assert_eq!(names, ["cookie", "kek", "log", "months", "signer", "signer.next", "subjects"]);
        Life { trial, ring, subs: [nelly, mason, third], next, boxes, before }
    }

    /// Asserts that all is there but for what may be gone, and returns what of it is still there.
    #[track_caller]
    fn is_whole(&self, ring: &KeyRing, gone: &Forget, at: &str) -> Forget {
        let [_, mason, third] = self.subs;
        assert_eq!((ring.sub_of(MASON), ring.sub_of(THIRD)), (Some(mason), Some(third)), "{at}");
        assert!(ring.has_month(JULY), "{at}");
        let left = gone.clone().among(ring.known());
        for sealed in &self.boxes {
            let (sub, month) = match sealed.owner {
                Owner::Subject(sub) => (Some(sub), None),
                Owner::Context(month, sub) => (sub, Some(month)),
                Owner::Log => (None, None),
            };
            let key_is_gone = sub.is_some_and(|sub| gone.subs.contains(&sub) && !left.subs.contains(&sub))
                || month.is_some_and(|month| gone.months.contains(&month) && !left.months.contains(&month));
            assert_eq!(ring.unseal(RECORD, sealed).is_ok(), !key_is_gone, "{at}: {:?}", sealed.owner);
        }
        assert_eq!(
            ring.cookie_key().tag_key("p").tag(b"m"),
            self.ring.cookie_key().tag_key("p").tag(b"m"),
            "{at}"
        );
        assert_eq!(ring.signer_public_key(), self.ring.signer_public_key(), "{at}");
        assert_eq!(block_on(ring.prepare_signer()).unwrap(), self.next, "{at}");
        left
    }
}

/// What a kill leaves of a picture: all of it, and less of the file that is being written.
fn left_by_a_kill(picture: &Files) -> Vec<Files> {
    let mut left = vec![picture.clone()];
    for (name, bytes) in picture.iter().filter(|(name, _)| name.ends_with(".new")) {
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let cut = [(name.clone(), bytes[..len].to_vec())];
            left.push(picture.clone().into_iter().chain(cut).collect());
        }
    }
    left
}

/// Every version of every file but `kek`, whole or cut off, under the name that it would have.
fn versions<'a>(pictures: impl IntoIterator<Item = &'a Files>) -> BTreeSet<(String, Vec<u8>)> {
    let all = pictures.into_iter().flatten();
    let named = all.map(|(name, bytes)| (name.trim_end_matches(".new").to_owned(), bytes.clone()));
    named.filter(|(name, _)| name != kek::NAME).collect()
}

#[track_caller]
fn a_kill_at_every_step(what: &str, gone: impl FnOnce(Sub) -> Forget) {
    let life = Life::lead();
    let gone = gone(life.subs[0]);
    life.trial.disk.take_pictures();
    block_on(async {
        match gone.is_empty() {
            true => drop(life.ring.rotate_root().await.unwrap()),
            false => drop(life.ring.forget(gone.clone()).await.unwrap()),
        }
    });
    let mut pictures = life.trial.disk.pictures();
    // `kek`, the other six files and `kek` again, each with its directory; and what is there in the end.
    assert_eq!(pictures.len(), 16, "{what}");
    let written: BTreeSet<&str> =
        pictures.iter().flat_map(Files::keys).filter_map(|name| name.strip_suffix(".new")).collect();
    assert!(life.before.keys().all(|name| written.contains(name.as_str())), "{what}: {written:?}");
    pictures.push(life.trial.files());
    let versions = versions(pictures.iter().chain([&life.before]));

    let mut left_before = gone.clone();
    for (step, picture) in pictures.iter().enumerate() {
        let mut left_here = gone.clone();
        for (cut, files) in left_by_a_kill(picture).into_iter().enumerate() {
            let at = format!("{what}, step {step}, cut {cut}");
            let mut other = life.trial.elsewhere();
            // Else it would draw the very keys again that were drawn in the life before.
            other.entropy = SeededEntropy::new(&at).into();
            other.put(&files);
            KeyRing::check(&other.settings).unwrap_or_else(|error| panic!("{at}: {error}"));
            let ring = other.open().unwrap_or_else(|error| panic!("{at}: {error}"));
            let left = life.is_whole(&ring, &gone, &at);
            assert!(left.subs.is_subset(&left_before.subs), "{at}: somebody is back");
            assert!(left.months.is_subset(&left_before.months), "{at}: a month is back");
            left_here = left.clone();

            // Whoever was interrupted asks again; then it is over for good.
            assert_eq!(block_on(ring.forget(gone.clone())).unwrap(), left, "{at}");
            assert!(life.is_whole(&ring, &gone, &at).is_empty(), "{at}");
            drop(ring);
            let ended = other.files();
            let ring = other.open().unwrap();
            assert!(life.is_whole(&ring, &gone, &at).is_empty(), "{at}");
            drop(ring);
            assert!(ended.keys().eq(life.before.keys()), "{at}: {:?}", ended.keys());
            if gone.is_empty() || cut > 0 {
                continue;
            }
            // No file that ever was gives anybody back, beside the root key of now.
            for (name, bytes) in versions.iter().filter(|(name, bytes)| ended.get(name) != Some(bytes)) {
                let mut files = ended.clone();
                files.insert(name.clone(), bytes.clone());
                other.put(&files);
                let revived = other.open().map(|ring| gone.clone().among(ring.known()));
                assert!(revived.as_ref().map_or(true, Forget::is_empty), "{at}: {name} {revived:?}");
            }
        }
        left_before = left_here;
    }
    assert!(left_before.is_empty(), "{what}: in the end they are gone without being asked for again");
}

#[test]
fn a_kill_at_every_step_of_an_erasure_loses_nothing_and_revives_nobody() {
    a_kill_at_every_step("a user", Forget::sub);
}

#[test]
fn a_kill_at_every_step_of_an_ageing_loses_nothing_and_revives_nothing() {
    a_kill_at_every_step("a month", |_| Forget::month(JUNE));
}

#[test]
fn a_kill_at_every_step_of_both_at_once_loses_nothing_and_revives_nobody() {
    a_kill_at_every_step("both", |nelly| Forget { months: BTreeSet::from([JUNE]), ..Forget::sub(nelly) });
}

#[test]
fn a_kill_at_every_step_of_a_rotation_loses_nothing() {
    a_kill_at_every_step("the root key", |_| Forget::default());
}

#[test]
fn who_goes_is_somebody_whose_boxes_opened() {
    let life = Life::lead();
    let [nelly, ..] = life.subs;
    assert!(life.is_whole(&life.ring, &Forget::default(), "before").is_empty());
    assert_eq!(life.ring.sub_of(NELLY), Some(nelly));
}
