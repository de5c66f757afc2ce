//! From a state to bytes, entry by entry, hashed on the way.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use bincode::enc::Encode;
use sha2::{Digest as _, Sha256};

use super::wire::{self, FactV1, GrantV1};
use super::{FORMAT, StateError, same_size};
use crate::domain::event::{FailureCode, SessionScope};
use crate::domain::id::{Hash, RecordId};
use crate::domain::record::{Owner, SealedBox};
use crate::domain::state::{
    Checkpoint, FOLD, Fact, FactOf, Grant, Head, KnownRules, Observed, Part, Revocation, Session, State, User,
};
use crate::event_log::codec::canonical::encode_after;
use crate::event_log::codec::record::box_v1;
use crate::event_log::codec::wire::FingerprintsV1;
use crate::event_log::codec::{
    GRANT_ISSUED, GRANT_REFRESHED, MEMBERSHIP_OBSERVED, PROFILE_OBSERVED, RULES_CHANGED,
};
use crate::event_log::tree::Frontier;

/// Writes a state, and the edge of the tree over the same records; returns the SHA-256 of all bytes.
pub fn write_state(state: &State, frontier: &Frontier, to: impl Write) -> Result<Hash, StateError> {
    same_size(state, frontier)?;
    let mut entries = Entries { to: BufWriter::with_capacity(1 << 16, to), hash: Sha256::new(), count: 0 };
    let (size, hashes) = frontier.parts();
    let versions = [&[wire::HEADER][..], &FORMAT.to_be_bytes(), &FOLD.to_be_bytes()].concat();
    let header = wire::HeaderV1 { size, frontier: hashes.into_iter().map(|hash| hash.0).collect() };
    entries.write_after(&versions, &header)?;
    let mut boxes = Boxes::default();
    let (mut users, mut sessions) = (0, 0);
    for part in state.parts() {
        match &part {
            Part::Head(head) => write_head(&mut entries, head)?,
            Part::Erased(sub) => entries.write(wire::ERASED, &wire::IdV1 { id: sub.0 })?,
            Part::Destroyed(month) => entries.write(wire::DESTROYED, &wire::MonthV1 { month: month.0 })?,
            Part::Recent(id) => entries.write(wire::RECENT, &wire::IdV1 { id: id.0 })?,
            Part::User(sub, user) => {
                users += 1;
                // A record is about one user, so nobody else has its boxes.
                boxes = Boxes::default();
                let (version, profile_at) = (user.version, user.profile_at.0);
                entries.write(wire::USER, &wire::UserV1 { sub: sub.0, version, profile_at })?;
                write_user(&mut entries, &mut boxes, user)?;
            }
            Part::Session(session) => {
                sessions += 1;
                write_session(&mut entries, &mut boxes, session)?;
            }
        }
    }
    let end = wire::EndV1 { entries: entries.count, users, sessions };
    entries.write(wire::END, &end)?;
    entries.to.flush().map_err(StateError::Io)?;
    Ok(Hash(entries.hash.finalize().into()))
}

struct Entries<W: Write> {
    to: BufWriter<W>,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Entries<W> {
    fn write<T: Encode>(&mut self, kind: u8, entry: &T) -> Result<(), StateError> {
        self.write_after(&[kind], entry)
    }

    fn write_after<T: Encode>(&mut self, kind: &[u8], entry: &T) -> Result<(), StateError> {
        let body = encode_after("an entry of a stored state", kind, entry)?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        for bytes in [&length[..], &body] {
            self.hash.update(bytes);
            self.to.write_all(bytes).map_err(StateError::Io)?;
        }
        self.count += 1;
        Ok(())
    }
}

/// The boxes of one user that have been written, and the number of each.
#[derive(Default)]
struct Boxes {
    written: HashMap<(RecordId, Owner), (u32, Arc<SealedBox>)>,
    next: u32,
}

impl Boxes {
    /// Writes the box of a fact unless that was done, and returns what names the fact.
    fn fact<W: Write>(&mut self, entries: &mut Entries<W>, fact: &Fact) -> Result<FactV1, StateError> {
        let Fact { record, sealed, index, of } = fact;
        let key = (*record, sealed.owner);
        let known = self.written.get(&key).filter(|(_, known)| Arc::ptr_eq(known, sealed) || known == sealed);
        let number = match known {
            Some((number, _)) => *number,
            None => {
                let entry = wire::UserBoxV1 { record: record.0, sealed: box_v1(sealed) };
                entries.write(wire::BOX, &entry)?;
                let number = self.next;
                self.next = self.next.wrapping_add(1);
                self.written.insert(key, (number, Arc::clone(sealed)));
                number
            }
        };
        let of = match of {
            FactOf::Context => 0,
            FactOf::GrantIssued => GRANT_ISSUED,
            FactOf::GrantRefreshed => GRANT_REFRESHED,
            FactOf::ProfileObserved => PROFILE_OBSERVED,
            FactOf::MembershipObserved => MEMBERSHIP_OBSERVED,
            FactOf::RulesChanged => RULES_CHANGED,
        };
        Ok(FactV1 { number, index: *index, of })
    }
}

fn write_head<W: Write>(entries: &mut Entries<W>, head: &Head) -> Result<(), StateError> {
    if let Some(log) = &head.log {
        let (made_by, public_key) = (log.made_by.code(), log.public_key);
        entries.write(wire::LOG, &wire::LogV1 { log: log.id.0, origin: &log.origin, made_by, public_key })?;
    }
    if let Some(KnownRules { hash, fact }) = &head.rules {
        let text = fact.as_ref().map(|fact| (fact.record.0, box_v1(&fact.sealed), fact.index));
        entries.write(wire::RULES, &wire::RulesV1 { hash: hash.0, text })?;
    }
    let head = wire::HeadV1 {
        position: head.position.map(|position| position.0),
        eff: head.eff.0,
        writer: head.writer.map(|writer| writer.0),
        outage: head.outage.map(|outage| (outage.cause.code(), outage.until.map(|until| until.0))),
        checkpoint: head.checkpoint.map(|signed| {
            let Checkpoint { position, size, root, at } = signed;
            (position.0, size, root.0, at.0)
        }),
        unsigned: (head.unsigned.records, head.unsigned.since.map(|since| since.0)),
    };
    entries.write(wire::HEAD, &head)
}

fn write_user<W: Write>(entries: &mut Entries<W>, boxes: &mut Boxes, user: &User) -> Result<(), StateError> {
    if let Some(profile) = &user.profile {
        let fact = boxes.fact(entries, profile)?;
        entries.write(wire::PROFILE, &fact)?;
    }
    if let Some(grant) = &user.grant {
        let grant = grant_v1(entries, boxes, grant)?;
        entries.write(wire::GRANT, &grant)?;
    }
    if let Some(Revocation { grant, source, since, position }) = user.revocation.as_deref() {
        let grant = grant_v1(entries, boxes, grant)?;
        let (source, since, position) = (source.code(), since.0, position.0);
        entries.write(wire::REVOCATION, &wire::RevocationV1 { grant, source, since, position })?;
    }
    for (slot, Observed { fact, at }) in &user.memberships {
        let fact = boxes.fact(entries, fact)?;
        entries.write(wire::MEMBERSHIP, &wire::MembershipV1 { slot: *slot, at: at.0, fact })?;
    }
    Ok(())
}

fn grant_v1<'a, W: Write>(
    entries: &mut Entries<W>,
    boxes: &mut Boxes,
    grant: &'a Grant,
) -> Result<GrantV1<'a>, StateError> {
    Ok(GrantV1 {
        id: grant.id.0,
        application: grant.application.0,
        scopes: grant.scopes.names().collect(),
        issued_at: grant.issued_at.0,
        refreshed_at: grant.refreshed_at.0,
        expires_at: grant.expires_at.0,
        tokens: boxes.fact(entries, &grant.tokens)?,
        fingerprints: FingerprintsV1 {
            access: grant.fingerprints.access.0,
            refresh: grant.fingerprints.refresh.0,
        },
        claim: grant
            .claim
            .as_ref()
            .map(|claim| (claim.attempt, claim.until.0, claim.writer.0, claim.position.0)),
        not_before: grant.not_before.map(|moment| moment.0),
        failed_with: grant.failed_with.map(FailureCode::code),
        failures: grant.failures,
        uncertain: grant.uncertain,
    })
}

fn write_session<W: Write>(
    entries: &mut Entries<W>,
    boxes: &mut Boxes,
    session: &Session,
) -> Result<(), StateError> {
    let origin = session.origin.as_ref().map(|fact| boxes.fact(entries, fact)).transpose()?;
    let session = wire::SessionV1 {
        id: session.id.0,
        key: session.key.0,
        method: session.method.code(),
        host: match &session.scope {
            SessionScope::All => None,
            SessionScope::Host(host) => Some(host),
        },
        admin: session.admin,
        opened_at: session.opened_at.0,
        seen_at: session.seen_at.0,
        expires_at: session.expires_at.0,
        idle_deadline: session.idle_deadline.0,
        origin,
    };
    entries.write(wire::SESSION, &session)
}
