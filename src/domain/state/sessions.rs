//! The sessions of a state, each found by its public id and by the key of its cookie.
//!
//! There may be a million of them: so each stands in memory once, and both ways to it take a pointer.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Session;
use crate::domain::drawn::BuildDrawn;
use crate::domain::id::{SessionId, SessionKey};

/// Sessions, live or not; no two have one id or one key.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    by_id: HashSet<ById, BuildDrawn>,
    by_key: HashSet<ByKey, BuildDrawn>,
}

impl Sessions {
    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id).map(|ById(session)| &**session)
    }

    pub(super) fn by_key(&self, key: &SessionKey) -> Option<&Session> {
        self.by_key.get(key).map(|ByKey(session)| &**session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.iter().map(|ById(session)| &**session)
    }

    /// Takes a session in whose id and key are those of no other.
    pub(super) fn insert(&mut self, session: Session) {
        self.put(Arc::new(session));
    }

    /// Changes a session; its id and key stay.
    pub(super) fn change(&mut self, id: SessionId, change: impl FnOnce(&mut Session)) {
        // Shared by both ways to it, and so changed while it is in neither.
        if let Some(mut session) = self.remove(id) {
            change(Arc::make_mut(&mut session));
            self.put(session);
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Arc<Session>> {
        let ById(session) = self.by_id.take(&id)?;
        self.by_key.remove(&session.key);
        Some(session)
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.by_key.clear();
    }

    fn put(&mut self, session: Arc<Session>) {
        self.by_key.insert(ByKey(session.clone()));
        self.by_id.insert(ById(session));
    }
}

impl PartialEq for Sessions {
    fn eq(&self, other: &Sessions) -> bool {
        self.by_id.len() == other.by_id.len()
            && self.iter().all(|session| other.get(session.id) == Some(session))
    }
}

impl fmt::Debug for Sessions {
    /// Writes them in the order of their ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.iter().map(|session| (session.id, session)).collect();
        sorted.sort_unstable_by_key(|(id, _)| *id);
        f.debug_map().entries(sorted).finish()
    }
}

/// A session where its id finds it.
#[derive(Clone)]
struct ById(Arc<Session>);

/// A session where its key finds it.
#[derive(Clone)]
struct ByKey(Arc<Session>);

macro_rules! found_by {
    ($way:ident, $name:ident: $of:ty) => {
        impl Borrow<$of> for $way {
            fn borrow(&self) -> &$of {
                &self.0.$name
            }
        }

        impl Hash for $way {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.$name.hash(state);
            }
        }

        impl PartialEq for $way {
            fn eq(&self, other: &$way) -> bool {
                self.0.$name == other.0.$name
            }
        }

        impl Eq for $way {}
    };
}

found_by!(ById, id: SessionId);
found_by!(ByKey, key: SessionKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Method, SessionScope};
    use crate::domain::id::Sub;
    use crate::domain::time::Timestamp;

    fn session(n: u8) -> Session {
        Session {
            id: SessionId([n; 16]),
            user: Sub([2; 16]),
            key: SessionKey([n; 32]),
            method: Method::Discord,
            scope: SessionScope::All,
            admin: false,
            opened_at: Timestamp(0),
            seen_at: Timestamp(0),
            expires_at: Timestamp(7),
            idle_deadline: Timestamp(7),
            origin: None,
        }
    }

    #[test]
    fn a_session_is_one_and_the_same_by_id_and_by_key() {
        let mut sessions = Sessions::default();
        (1..=3).for_each(|n| sessions.insert(session(n)));
        sessions.change(SessionId([2; 16]), |session| session.seen_at = Timestamp(5));
        let changed = Session { seen_at: Timestamp(5), ..session(2) };
        assert_eq!(sessions.get(SessionId([2; 16])), Some(&changed));
        assert_eq!(sessions.by_key(&SessionKey([2; 32])), Some(&changed));
        assert_eq!(sessions.remove(SessionId([2; 16])).as_deref(), Some(&changed));
        assert_eq!((sessions.get(SessionId([2; 16])), sessions.by_key(&SessionKey([2; 32]))), (None, None));
        assert_eq!(sessions.iter().count(), 2);
    }

    #[test]
    fn what_is_changed_here_stays_in_a_copy_as_it_was() {
        let mut sessions = Sessions::default();
        sessions.insert(session(1));
        let copy = sessions.clone();
        assert_eq!(sessions, copy);
        sessions.change(SessionId([1; 16]), |session| session.admin = true);
        assert_eq!(copy.get(SessionId([1; 16])), Some(&session(1)));
        assert_ne!(sessions, copy);
    }
}
