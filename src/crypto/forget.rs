//! Which keys are to be destroyed, and the question that destroys them.

use std::collections::BTreeSet;

use crate::domain::id::Sub;
use crate::domain::time::Month;

use super::error::KeyError;
use super::key_ring::KeyRing;
use super::known::Known;

/// The users and months whose keys are to be gone; any number of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// Users who are erased.
    pub subs: BTreeSet<Sub>,
    /// Months that are past what is kept.
    pub months: BTreeSet<Month>,
}

impl Forget {
    /// Names one user.
    pub fn sub(sub: Sub) -> Forget {
        Forget { subs: BTreeSet::from([sub]), ..Forget::default() }
    }

    /// Names one month.
    pub fn month(month: Month) -> Forget {
        Forget { months: BTreeSet::from([month]), ..Forget::default() }
    }

    /// Says whether nobody and nothing is named.
    pub fn is_empty(&self) -> bool {
        self.subs.is_empty() && self.months.is_empty()
    }

    /// Keeps those that have a key.
    pub(super) fn among(mut self, known: &Known) -> Forget {
        self.subs.retain(|sub| known.discord_id_of(*sub).is_some());
        self.months.retain(|month| known.month_key(*month).is_some());
        self
    }

    /// Takes in what another one names.
    pub(super) fn join(&mut self, other: Forget) {
        self.subs.extend(other.subs);
        self.months.extend(other.months);
    }
}

impl KeyRing {
    /// Destroys the keys of users and months, and returns those that had one.
    ///
    /// When it returns, the root key is another one, and no older copy of the other files opens their boxes or
    /// says who they were. Until then everything goes on with all keys; new users and months wait. Who and
    /// what has no key is no error and costs nothing, so it can be asked at every start with everything that
    /// the log says is gone: that is how an erasure survives keys that were restored from before it.
    ///
    /// After an error nothing is lost, and the entries may or may not be gone at the next start: ask again.
    /// If the files were being rewritten already, new keys are refused until they are whole, and each
    /// question, for whatever it is, tries that first. Whoever stops waiting stops nothing.
    pub async fn forget(&self, gone: Forget) -> Result<Forget, KeyError> {
        let gone = gone.among(self.known());
        if gone.is_empty() {
            return Ok(gone);
        }
        self.keeper()?.forget(gone.clone()).await?;
        Ok(gone)
    }

    /// Gives the key files a new root key and returns its generation; no key in them changes.
    ///
    /// Generations only rise, and [`forget`](Self::forget) makes one as well.
    pub async fn rotate_root(&self) -> Result<u32, KeyError> {
        self.keeper()?.rotate_root().await
    }

    /// Returns the users who have a key.
    pub fn subs(&self) -> BTreeSet<Sub> {
        self.known().subs()
    }

    /// Returns the months that have a key, the oldest first.
    pub fn months(&self) -> BTreeSet<Month> {
        self.known().months()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;
    use crate::crypto::files::{MONTHS, SUBJECTS};
    use crate::crypto::kek;
    use crate::crypto::trial::{JUNE, MASON, NELLY, Trial, block_on};
    use crate::crypto::{OpenError, SealError};
    use crate::disk::Synced;
    use crate::domain::id::{DiscordId, RecordId};
    use crate::domain::record::Owner;

    const JULY: Month = Month(202_607);
    const RECORD: RecordId = RecordId([0x11; 16]);
    /// `kek`, five files and `kek` again, each with its directory.
    const SYNCS: usize = 14;

    /// Two users and two months.
    fn lived_in(trial: &Trial) -> (KeyRing, Sub, Sub) {
        let (nelly, mason) = trial.lived_in();
        let ring = trial.open().unwrap();
        block_on(ring.ensure_month(JULY)).unwrap();
        (ring, nelly, mason)
    }

    /// Each file with the root key that its first block names.
    fn generations(trial: &Trial) -> Vec<u32> {
        let files = trial.files().into_values();
        files.map(|bytes| u32::from_be_bytes(*bytes[10..].first_chunk().unwrap())).collect()
    }

    async fn asked<F: Future>(mut future: Pin<&mut F>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
    }

    /// What can be asked for with these two: one, the other, or both.
    fn kinds(nelly: Sub) -> [Forget; 3] {
        let both = Forget { months: BTreeSet::from([JUNE]), ..Forget::sub(nelly) };
        [Forget::sub(nelly), Forget::month(JUNE), both]
    }

    #[test]
    fn who_is_forgotten_is_unknown_and_their_boxes_stay_closed() {
        let trial = Trial::new();
        let (ring, nelly, mason) = lived_in(&trial);
        let owners = [
            Owner::Subject(nelly),
            Owner::Context(JULY, Some(nelly)),
            Owner::Context(JUNE, None),
            Owner::Context(JUNE, Some(mason)),
            Owner::Subject(mason),
            Owner::Context(JULY, Some(mason)),
            Owner::Context(JULY, None),
            Owner::Log,
        ];
        let boxes = owners.map(|owner| ring.seal(owner, RECORD, b"a fact").unwrap());
        let gone = kinds(nelly)[2].clone();
        assert_eq!(block_on(ring.forget(gone.clone())).unwrap(), gone);
        let reopened = trial.open().unwrap();
        for ring in [&ring, &reopened] {
            for sealed in &boxes[..4] {
                assert_eq!(ring.unseal(RECORD, sealed), Err(OpenError::NoKey), "{:?}", sealed.owner);
                assert_eq!(ring.seal(sealed.owner, RECORD, b"a fact"), Err(SealError::NoKey));
            }
            for sealed in &boxes[4..] {
                assert_eq!(*ring.unseal(RECORD, sealed).unwrap(), b"a fact", "{:?}", sealed.owner);
            }
            assert_eq!((ring.sub_of(NELLY), ring.discord_id_of(nelly)), (None, None));
            assert_eq!(ring.subs(), BTreeSet::from([mason]));
            assert_eq!(ring.months(), BTreeSet::from([JULY]));
        }
    }

    #[test]
    fn who_comes_back_is_somebody_new() {
        let trial = Trial::new();
        let (ring, nelly, mason) = lived_in(&trial);
        let sealed = ring.seal(Owner::Subject(nelly), RECORD, b"a fact").unwrap();
        let ring = block_on(async {
            ring.forget(kinds(nelly)[2].clone()).await.unwrap();
            ring.ensure_month(JUNE).await.unwrap();
            let again = ring.ensure_subject(NELLY).await.unwrap();
            assert_ne!(again, nelly);
            drop(ring);
            let ring = trial.open().unwrap();
            assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(again), Some(mason)));
            assert!(ring.has_month(JUNE));
            ring
        });
        assert_eq!(ring.unseal(RECORD, &sealed), Err(OpenError::NoKey));
    }

    #[test]
    fn a_kill_anywhere_loses_nobody_else_and_revives_nobody() {
        for kind in 0..3 {
            let mut was_gone = false;
            for crash in 0..SYNCS {
                let trial = Trial::new();
                let (ring, nelly, mason) = lived_in(&trial);
                let gone = kinds(nelly)[kind].clone();
                let old = trial.files();
                trial.disk.fail_after(crash);
                let error = block_on(ring.forget(gone.clone())).unwrap_err();
                assert!(matches!(error, KeyError::Io { action: "sync", .. }), "{kind} {crash}: {error}");
                drop(ring);
                let left = trial.files();
                KeyRing::check(&trial.settings).unwrap();
                assert_eq!(trial.files(), left);

                // The next start ends it or finds it undone, and who was gone at an earlier kill is gone.
                trial.disk.repair();
                let ring = trial.open().unwrap();
                assert_eq!(ring.sub_of(MASON), Some(mason), "{kind} {crash}");
                assert!(ring.has_month(JULY), "{kind} {crash}");
                assert!(gone.subs.contains(&nelly) || ring.sub_of(NELLY) == Some(nelly), "{kind} {crash}");
                assert!(gone.months.contains(&JUNE) || ring.has_month(JUNE), "{kind} {crash}");
                let rest = gone.clone().among(ring.known());
                let is_gone = rest != gone;
                assert!(is_gone || !was_gone, "{kind} {crash}");
                assert!(crash > 2 || !is_gone, "{kind} {crash}: no file was rewritten yet");
                let rewritten = if kind == 2 { 6 } else { 4 };
                assert!(crash < rewritten || rest.is_empty(), "{kind} {crash}: what loses is written first");
                was_gone = is_gone;

                // Whoever was interrupted asks again, and once more.
                assert_eq!(block_on(ring.forget(gone.clone())).unwrap(), rest, "{kind} {crash}");
                assert_eq!(block_on(ring.forget(gone.clone())).unwrap(), Forget::default());
                assert!(gone.clone().among(ring.known()).is_empty());
                drop(ring);
                let ring = trial.open().unwrap();
                assert!(gone.clone().among(ring.known()).is_empty(), "{kind} {crash}");
                assert_eq!((ring.sub_of(MASON), ring.has_month(JULY)), (Some(mason), true));
                let now = generations(&trial);
                assert!(now.iter().all(|generation| *generation == now[0]), "{kind} {crash}: {now:?}");

                // No file that ever was gives anybody back.
                for (name, bytes) in old.into_iter().chain(left).filter(|(name, _)| name != kek::NAME) {
                    let name = name.trim_end_matches(".new");
                    let bytes_now = fs::read(trial.path(name)).unwrap();
                    if name == kek::NAME || bytes == bytes_now {
                        continue;
                    }
                    fs::write(trial.path(name), bytes).unwrap();
                    let revived = trial.open().map(|ring| gone.clone().among(ring.known()));
                    assert!(
                        revived.as_ref().map_or(true, Forget::is_empty),
                        "{kind} {crash}: {name} {revived:?}"
                    );
                    fs::write(trial.path(name), bytes_now).unwrap();
                }
            }
            assert!(was_gone);
        }
    }

    #[test]
    fn a_ring_whose_disk_failed_anywhere_goes_on_and_the_next_question_ends_it() {
        for crash in 0..SYNCS {
            let trial = Trial::new();
            let (ring, nelly, mason) = lived_in(&trial);
            let gone = kinds(nelly)[2].clone();
            let sealed = ring.seal(Owner::Subject(nelly), RECORD, b"a fact").unwrap();
            trial.disk.fail_after(crash);
            block_on(async {
                assert!(ring.forget(gone.clone()).await.is_err());
                // Nothing is forgotten that may come back, and nobody is made who may be lost.
                assert_eq!(*ring.unseal(RECORD, &sealed).unwrap(), b"a fact", "{crash}");
                assert_eq!(ring.ensure_subject(MASON).await.unwrap(), mason);
                assert!(ring.ensure_subject(DiscordId(7)).await.is_err());
                assert!(ring.ensure_month(Month(202_608)).await.is_err());
                assert_eq!(ring.sub_of(DiscordId(7)), None);
                trial.disk.repair();
                // Somebody new comes first in one half of the cases, the one who asks again in the other.
                if crash % 2 == 0 {
                    let seventh = ring.ensure_subject(DiscordId(7)).await.unwrap();
                    assert_eq!(ring.has_subject(nelly), crash < 2, "{crash}: undone, or ended in passing");
                    ring.forget(gone.clone()).await.unwrap();
                    assert_eq!(ring.sub_of(DiscordId(7)), Some(seventh));
                } else {
                    ring.forget(gone.clone()).await.unwrap();
                }
                assert_eq!(ring.unseal(RECORD, &sealed), Err(OpenError::NoKey), "{crash}");
                let eighth = ring.ensure_subject(DiscordId(8)).await.unwrap();
                ring.ensure_month(Month(202_608)).await.unwrap();
                drop(ring);
                let ring = trial.open().unwrap();
                assert_eq!(ring.sub_of(DiscordId(8)), Some(eighth));
                assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (None, Some(mason)));
                assert_eq!(ring.months(), BTreeSet::from([JULY, Month(202_608)]));
            });
        }
    }

    #[test]
    fn another_who_is_to_go_while_a_rekey_is_open_goes_by_one_of_their_own() {
        let trial = Trial::new();
        let (ring, nelly, mason) = lived_in(&trial);
        trial.disk.fail_after(SYNCS - 1);
        assert!(block_on(ring.forget(Forget::sub(nelly))).is_err());
        trial.disk.repair();
        let before = trial.files();
        block_on(ring.forget(Forget::sub(mason))).unwrap();
        assert!(ring.subs().is_empty());
        drop(ring);
        fs::write(trial.path(SUBJECTS), &before[SUBJECTS]).unwrap();
        let error = trial.open().unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }), "his key was still in that file: {error}");
    }

    #[tokio::test]
    async fn appends_wait_while_a_rekey_rewrites_and_readers_do_not() {
        let trial = Trial::new();
        let (nelly, mason) = {
            let ring = trial.create().unwrap();
            (ring.ensure_subject(NELLY).await.unwrap(), ring.ensure_subject(MASON).await.unwrap())
        };
        let ring = trial.open().unwrap();
        let before = trial.disk.calls().len();
        trial.disk.close_gate();
        let mut gone = Box::pin(ring.forget(Forget::sub(nelly)));
        assert!(!asked(gone.as_mut()).await);
        trial.disk.wait_for_calls(before + 1);
        let mut month = Box::pin(ring.ensure_month(JUNE));
        let mut seventh = Box::pin(ring.ensure_subject(DiscordId(7)));
        assert!(!asked(month.as_mut()).await && !asked(seventh.as_mut()).await);
        // Until it is over, everything is as before for whoever reads, and nobody waits.
        assert_eq!((ring.sub_of(NELLY), ring.ensure_subject(NELLY).await.unwrap()), (Some(nelly), nelly));
        for owner in [Owner::Subject(nelly), Owner::Subject(mason)] {
            let sealed = ring.seal(owner, RECORD, b"a fact").unwrap();
            assert!(ring.unseal(RECORD, &sealed).is_ok());
        }
        trial.disk.open_gate();
        gone.await.unwrap();
        assert_eq!(ring.sub_of(NELLY), None);
        month.await.unwrap();
        let seventh = seventh.await.unwrap();
        let calls = &trial.disk.calls()[before..];
        assert_eq!(calls.len(), SYNCS + 2);
        assert!(
            calls[SYNCS..].iter().all(|call| call.what == Synced::Keys),
            "both after the rekey: {calls:?}"
        );
        drop(ring);
        let ring = trial.open().unwrap();
        assert_eq!((ring.sub_of(DiscordId(7)), ring.has_month(JUNE)), (Some(seventh), true));
    }

    #[tokio::test]
    async fn all_who_are_to_go_at_one_time_share_a_rekey() {
        let trial = Trial::new();
        let ring = trial.create().unwrap();
        let mut subs = Vec::new();
        for id in 1..=3 {
            subs.push(ring.ensure_subject(DiscordId(id)).await.unwrap());
        }
        let before = trial.disk.calls().len();
        trial.disk.close_gate();
        let mut first = pin!(ring.forget(Forget::sub(subs[0])));
        assert!(!asked(first.as_mut()).await);
        trial.disk.wait_for_calls(before + 1);
        let mut second = pin!(ring.forget(Forget::sub(subs[1])));
        let mut third = pin!(ring.forget(Forget::sub(subs[2])));
        let mut root = pin!(ring.rotate_root());
        assert!(!asked(second.as_mut()).await && !asked(third.as_mut()).await && !asked(root.as_mut()).await);
        trial.disk.open_gate();
        for gone in [first.await, second.await, third.await] {
            assert_eq!(gone.unwrap().subs.len(), 1);
        }
        root.await.unwrap();
        assert_eq!(trial.disk.calls().len(), before + 2 * SYNCS);
        assert_eq!(ring.subject_count(), 0);
    }

    #[test]
    fn what_has_no_key_is_no_error_and_writes_nothing() {
        let trial = Trial::new();
        let (ring, nelly, _) = lived_in(&trial);
        let (files, syncs) = (trial.files(), trial.disk.calls().len());
        let unknown = Forget { subs: BTreeSet::from([Sub([9; 16])]), ..Forget::month(Month(190_001)) };
        assert_eq!(block_on(ring.forget(unknown.clone())).unwrap(), Forget::default());
        assert_eq!(block_on(ring.forget(Forget::default())).unwrap(), Forget::default());
        assert_eq!((trial.files(), trial.disk.calls().len()), (files, syncs));
        let some = Forget { subs: BTreeSet::from([nelly, Sub([9; 16])]), ..unknown };
        assert_eq!(block_on(ring.forget(some)).unwrap(), Forget::sub(nelly));
    }

    #[test]
    fn a_new_root_key_changes_no_other_key() {
        let mut trial = Trial::new();
        trial.settings.encrypt_secret = Some(crate::domain::id::Secret::new("1".repeat(32)));
        let (ring, nelly, mason) = lived_in(&trial);
        let sealed = ring.seal(Owner::Context(JUNE, Some(nelly)), RECORD, b"a fact").unwrap();
        let (public, tag) = (ring.signer_public_key(), ring.cookie_key().tag_key("p").tag(b"m"));
        let old = trial.files();
        assert_eq!([2, 3].map(|_| block_on(ring.rotate_root()).unwrap()), [2, 3]);
        drop(ring);
        assert_eq!(generations(&trial), [3; 6]);
        let ring = trial.open().unwrap();
        assert_eq!((ring.sub_of(NELLY), ring.sub_of(MASON)), (Some(nelly), Some(mason)));
        assert_eq!(*ring.unseal(RECORD, &sealed).unwrap(), b"a fact");
        assert_eq!((ring.signer_public_key(), ring.cookie_key().tag_key("p").tag(b"m")), (public, tag));
        drop(ring);
        for name in [SUBJECTS, MONTHS] {
            let now = fs::read(trial.path(name)).unwrap();
            fs::write(trial.path(name), &old[name]).unwrap();
            assert!(matches!(trial.open(), Err(KeyError::Damaged { .. })), "{name}");
            fs::write(trial.path(name), now).unwrap();
        }
    }
}
