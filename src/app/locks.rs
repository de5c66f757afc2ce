//! One at a time for each key, many keys side by side.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// A lock for each key; keys that nobody holds or waits for take no memory.
#[derive(Debug)]
pub struct KeyedLocks<K> {
    held: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
}

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        KeyedLocks { held: Arc::default() }
    }
}

impl<K: Eq + Hash + Copy> KeyedLocks<K> {
    /// Waits until nobody else holds the lock of `key`.
    pub async fn lock(&self, key: K) -> Held<K> {
        let lock = self.held.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        // The entry is removed when its last holder leaves; dropping `Held` does it, and also where the wait is given up.
        let mut held = Held { key, guard: None, held: self.held.clone() };
        held.guard = Some(lock.lock_owned().await);
        held
    }
}

/// The lock of one key, until it is dropped.
#[derive(Debug)]
pub struct Held<K: Eq + Hash> {
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
    held: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        self.guard = None;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // One count is the map's; a waiter has cloned its own while it held this same mutex.
        if held.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            held.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_held_once_and_forgotten_afterwards() {
        let locks = KeyedLocks::default();
        let first = locks.lock(1).await;
        let other = locks.lock(2).await;
        let waiting = {
            let held = locks.held.clone();
            let locks = KeyedLocks { held };
            tokio::spawn(async move { locks.lock(1).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.expect("the waiter gets it");
        drop((second, other));
        assert!(locks.held.lock().expect("not poisoned").is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let locks = KeyedLocks::default();
        let first = locks.lock(1).await;
        {
            let mut wait = Box::pin(locks.lock(1));
            assert!(futures_util::poll!(&mut wait).is_pending());
        }
        drop(first);
        assert!(locks.held.lock().expect("not poisoned").is_empty());
    }
}
