//! Who has a key, in memory: the two maps that are read on every request and never wait for the disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use crate::domain::drawn::DrawnMap;
use crate::domain::id::{DiscordId, Sub};
use crate::domain::time::Month;

use super::block::part;
use super::forget::Forget;
use super::key_file::Entry;
use super::secret_key::SecretKey;

/// The users and months that have a key.
#[derive(Debug, Default)]
pub(super) struct Known {
    subjects: RwLock<Subjects>,
    months: RwLock<HashMap<Month, SecretKey>>,
}

#[derive(Debug, Default)]
struct Subjects {
    by_id: HashMap<DiscordId, Sub>,
    by_sub: DrawnMap<Sub, (DiscordId, SecretKey)>,
}

impl Known {
    /// Takes in what the files hold; where an entry repeats another one, its index.
    pub(super) fn read(subjects: &[Entry], months: &[Entry]) -> Result<Known, (Which, u64)> {
        let known = Known::default();
        for (index, entry) in (0..).zip(subjects) {
            let (id, sub) = subject_of(entry);
            if known.sub_of(id).is_some() || known.discord_id_of(sub).is_some() {
                return Err((Which::Subjects, index));
            }
            known.add_subject(entry);
        }
        for (index, entry) in (0..).zip(months) {
            if known.month_key(month_of(entry)).is_some() {
                return Err((Which::Months, index));
            }
            known.add_month(entry);
        }
        Ok(known)
    }

    pub(super) fn sub_of(&self, id: DiscordId) -> Option<Sub> {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).copied()
    }

    pub(super) fn discord_id_of(&self, sub: Sub) -> Option<DiscordId> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        subjects.by_sub.get(&sub).map(|(id, _)| *id)
    }

    pub(super) fn subject_key(&self, sub: Sub) -> Option<SecretKey> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        subjects.by_sub.get(&sub).map(|(_, key)| key.clone())
    }

    pub(super) fn month_key(&self, month: Month) -> Option<SecretKey> {
        self.months.read().unwrap_or_else(PoisonError::into_inner).get(&month).cloned()
    }

    pub(super) fn subject_count(&self) -> usize {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).by_sub.len()
    }

    pub(super) fn add_subject(&self, entry: &Entry) {
        let (id, sub) = subject_of(entry);
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        subjects.by_id.insert(id, sub);
        subjects.by_sub.insert(sub, (id, entry.key.clone()));
    }

    pub(super) fn add_month(&self, entry: &Entry) {
        let mut months = self.months.write().unwrap_or_else(PoisonError::into_inner);
        months.insert(month_of(entry), entry.key.clone());
    }

    /// Returns the entries of all users but some, in one order whenever it is asked.
    pub(super) fn subject_entries(&self, without: &BTreeSet<Sub>) -> Vec<Entry> {
        let subjects = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = subjects
            .by_sub
            .iter()
            .filter(|(sub, _)| !without.contains(*sub))
            .map(|(sub, (id, key))| subject_entry(*id, *sub, key.clone()))
            .collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        entries
    }

    /// Returns the entries of all months but some, in order.
    pub(super) fn month_entries(&self, without: &BTreeSet<Month>) -> Vec<Entry> {
        let months = self.months.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = months
            .iter()
            .filter(|(month, _)| !without.contains(*month))
            .map(|(month, key)| month_entry(*month, key.clone()))
            .collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        entries
    }

    /// Returns the users who have a key.
    pub(super) fn subs(&self) -> BTreeSet<Sub> {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).by_sub.keys().copied().collect()
    }

    /// Returns the months that have a key.
    pub(super) fn months(&self) -> BTreeSet<Month> {
        self.months.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Drops users and months, and wipes their keys.
    pub(super) fn forget(&self, gone: &Forget) {
        let mut subjects = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        for sub in &gone.subs {
            if let Some((id, _)) = subjects.by_sub.remove(sub) {
                subjects.by_id.remove(&id);
            }
        }
        drop(subjects);
        let mut months = self.months.write().unwrap_or_else(PoisonError::into_inner);
        months.retain(|month, _| !gone.months.contains(month));
    }
}

/// One of the two files that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Subjects,
    Months,
}

/// Returns the entry of a user, named `Discord id u64be | sub`.
pub(super) fn subject_entry(id: DiscordId, sub: Sub, key: SecretKey) -> Entry {
    let mut name = [0; 24];
    name[..8].copy_from_slice(&id.0.to_be_bytes());
    name[8..].copy_from_slice(&sub.0);
    Entry { name, key }
}

fn subject_of(entry: &Entry) -> (DiscordId, Sub) {
    (DiscordId(u64::from_be_bytes(part(&entry.name, 0))), Sub(part(&entry.name, 8)))
}

/// Returns the entry of a month, named `yyyymm u32be | zeros`.
pub(super) fn month_entry(month: Month, key: SecretKey) -> Entry {
    let mut name = [0; 24];
    name[..4].copy_from_slice(&month.0.to_be_bytes());
    Entry { name, key }
}

fn month_of(entry: &Entry) -> Month {
    Month(u32::from_be_bytes(part(&entry.name, 0)))
}
