//! One call for all who wait for the same thing.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Calls under way, by what they are about.
pub(super) struct Flights<K, V> {
    aloft: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights { aloft: Arc::default() }
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Copy + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[cfg(test)]
    async fn join<F>(&self, key: K, tasks: &TaskTracker, call: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut landed = self.begin(key, tasks, call);
        landed.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Begins the call about `key` unless it is under way; it goes on when those who wait go away.
    ///
    /// The sender is dropped without a value only where the call's task died.
    pub(super) fn begin<F>(
        &self,
        key: K,
        tasks: &TaskTracker,
        call: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut aloft = self.aloft.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = aloft.get(&key) {
            return under_way.clone();
        }
        let (land, landed) = watch::channel(None);
        aloft.insert(key, landed.clone());
        let landing = Landing { key, aloft: self.aloft.clone() };
        let call = call();
        tasks.spawn(async move {
            let value = call.await;
            // Nobody may join any more once the outcome can be seen.
            drop(landing);
            land.send_replace(Some(value));
        });
        landed
    }

    /// Returns whether the call about `key` is under way.
    pub(super) fn is_aloft(&self, key: K) -> bool {
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key)
    }
}

/// Takes the entry away even where the call panics.
struct Landing<K: Eq + Hash, V> {
    key: K,
    aloft: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn two_hundred_share_one_call_and_the_next_makes_its_own() {
        let (flights, tasks, calls) = (Flights::default(), TaskTracker::new(), AtomicU32::new(0));
        let call = || {
            let nth = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                nth
            }
        };
        let all = futures_util::future::join_all((0..200).map(|_| flights.join(1, &tasks, call))).await;
        assert!(all.iter().all(|value| *value == Some(0)), "{all:?}");
        assert_eq!(flights.join(1, &tasks, call).await, Some(1));
        assert!(!flights.is_aloft(1));
    }

    #[tokio::test]
    async fn a_call_goes_on_when_the_one_who_waits_goes_away() {
        let (flights, tasks) = (Flights::<u8, u8>::default(), TaskTracker::new());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let mut wait = Box::pin(flights.join(1, &tasks, || async move {
            gone.await.expect("told to go");
            7
        }));
        assert!(futures_util::poll!(&mut wait).is_pending());
        drop(wait);
        let landed = flights.begin(1, &tasks, || async { 9 });
        go.send(()).expect("the call is still under way");
        tasks.close();
        tasks.wait().await;
        assert_eq!(*landed.borrow(), Some(7));
    }
}
