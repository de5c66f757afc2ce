//! Somebody who answers without a log, for tests of those who ask.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::{
    Answers, Asked, Erased, Health, Listed, Named, Rotated, RotatedKey, SessionFilter, SessionRow,
    SessionUser, Trouble, select,
};
use crate::audit::{LogSource, Source};
use crate::domain::event::Requester;
use crate::domain::id::{DiscordId, Position, SessionId, SessionKey, SessionToken, Sub};
use crate::domain::time::{Month, Timestamp};
use crate::event_log::{EventLog, MemoryEngine};

/// Three sessions of two people, and a memory of what was asked.
pub(crate) struct Fake {
    pub(crate) health: Health,
    pub(crate) sessions: Mutex<Vec<Listed>>,
    pub(crate) revoked: Mutex<Vec<(Vec<SessionId>, Option<String>)>>,
    pub(crate) noted: Mutex<Vec<Asked>>,
    pub(crate) rotated: Mutex<Vec<RotatedKey>>,
    pub(crate) due: Mutex<Vec<Month>>,
    pub(crate) log: EventLog,
}

impl Fake {
    pub(crate) fn new() -> Fake {
        let sessions = vec![
            session(1, 80_351_110_224_678_912, "nelly", "Nelly"),
            session(2, 80_351_110_224_678_912, "nelly", "Nelly"),
            session(3, 555_769_466_601_213_960, "bob", "nelly"),
        ];
        Fake {
            health: Health { ready: true, log_available: true },
            sessions: Mutex::new(sessions),
            revoked: Mutex::default(),
            noted: Mutex::default(),
            rotated: Mutex::default(),
            due: Mutex::new(vec![Month(202_410), Month(202_411)]),
            log: EventLog::new(MemoryEngine::new()),
        }
    }

    /// The secret behind the first session.
    pub(crate) fn token() -> SessionToken {
        SessionToken::new([1; 32])
    }
}

fn session(n: u8, id: u64, username: &str, display_name: &str) -> Listed {
    let opened_at = Timestamp(1_767_323_045_000 + i64::from(n) * 3_600_000);
    let row = SessionRow {
        id: SessionId([n; 16]),
        user: Some(SessionUser {
            id: DiscordId(id),
            username: username.to_owned(),
            display_name: display_name.to_owned(),
        }),
        opened_at,
        last_seen_at: Timestamp(opened_at.0 + 60_000),
        expires_at: Timestamp(opened_at.0 + 86_400_000),
        ip: format!("192.0.2.{n}").parse().ok(),
        user_agent: (n != 2).then(|| "Mozilla/5.0 (X11; Linux)".to_owned()),
    };
    let sub = Sub([u8::try_from(id % 251).unwrap(); 16]);
    Listed { row, sub, key: SessionToken::new([n; 32]).key() }
}

impl Answers for Fake {
    fn note_audit(&self, asked: Asked) -> BoxFuture<'_, Result<(), Trouble>> {
        self.noted.lock().unwrap().push(asked);
        Box::pin(async { Ok(()) })
    }

    fn erase(&self, whom: Sub, requested_by: Requester, now: bool) -> BoxFuture<'_, Result<Erased, Trouble>> {
        let erased = Erased { position: Position(4711), sessions_ended: 2, confirmed: Some(!now) };
        let known = whom == Sub([1; 16]) && requested_by == Requester::User;
        Box::pin(
            async move { if known { Ok(erased) } else { Err(Trouble::No("there is no such user".into())) } },
        )
    }

    fn rotate_key(&self, which: RotatedKey) -> BoxFuture<'_, Result<Rotated, Trouble>> {
        self.rotated.lock().unwrap().push(which);
        let rotated = match which {
            RotatedKey::Root => Rotated { position: Position(4712), name: "3".into() },
            RotatedKey::Signer => {
                Rotated { position: Position(4713), name: "login.example/doorbook/4c4c+0a1b2c3d+AQID".into() }
            }
        };
        Box::pin(async { Ok(rotated) })
    }

    fn apply_retention(&self, only_look: bool) -> BoxFuture<'_, Result<Vec<Month>, Trouble>> {
        let mut due = self.due.lock().unwrap();
        let months = if only_look { due.clone() } else { std::mem::take(&mut *due) };
        Box::pin(async { Ok(months) })
    }

    fn source(&self) -> Result<Arc<dyn Source>, Trouble> {
        Ok(Arc::new(LogSource(self.log.clone())))
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, Trouble>> {
        Box::pin(async { Ok(self.health) })
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'_, Result<Vec<SessionRow>, Trouble>> {
        let all = self.sessions.lock().unwrap().clone();
        let named = |listed: &Listed| Some(Named { sub: listed.sub, user: listed.row.user.clone()? });
        let mut people: Vec<Named> = all.iter().filter_map(named).collect();
        people.dedup_by_key(|person| person.sub);
        Box::pin(async move { select(all, || people, &filter) })
    }

    fn revoke(
        &self,
        sessions: Vec<SessionId>,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<u32, Trouble>> {
        if reason.as_deref() == Some("while the log is full") {
            return Box::pin(async { Err(Trouble::LogUnavailable) });
        }
        let mut live = self.sessions.lock().unwrap();
        let before = live.len();
        live.retain(|listed| !sessions.contains(&listed.row.id));
        let ended = u32::try_from(before - live.len()).unwrap();
        self.revoked.lock().unwrap().push((sessions, reason));
        Box::pin(async move { Ok(ended) })
    }
}

/// Sessions enough for an answer that is larger than any one message may be.
pub(crate) fn crowd(count: u32) -> Vec<Listed> {
    (0..count)
        .map(|n| {
            let mut listed = session(1, 1, &"a".repeat(32), &"é".repeat(32));
            listed.row.id.0[..4].copy_from_slice(&n.to_be_bytes());
            listed.row.user_agent = Some("u".repeat(512));
            listed.key = SessionKey([0; 32]);
            listed
        })
        .collect()
}
