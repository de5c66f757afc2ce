//! A state with everything in it, written and read, cut and changed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::event::{FailureCode, Fingerprints, MadeBy, Method, OutageCause, RevokedBy, SessionScope};
use crate::domain::id::{
    DiscordId, GrantId, LogId, Position, RecordId, SessionId, SessionKey, Sub, WriterId,
};
use crate::domain::record::{Owner, SealedBox};
use crate::domain::scopes::Scopes;
use crate::domain::state::{
    CONTEXT, Checkpoint, Claim, Fact, FactOf, Grant, Head, KnownRules, LogIdentity, Observed, Outage, Part,
    Revocation, Session, StateBuilder, Unsigned, User,
};
use crate::domain::time::{Month, Timestamp};

const AT: Timestamp = Timestamp(1_767_323_045_000);

fn sealed(owner: Owner, bytes: usize) -> Arc<SealedBox> {
    Arc::new(SealedBox { scheme: 1, owner, nonce: [9; 24], ciphertext: vec![0xC0; bytes].into() })
}

fn grant(id: u8, tokens: Fact) -> Grant {
    Grant {
        id: GrantId([id; 16]),
        application: DiscordId(80_351_110_224_678_912),
        scopes: Scopes::new(["identify", "email"]).expect("scopes"),
        issued_at: AT,
        refreshed_at: Timestamp(AT.0 + 1),
        expires_at: Timestamp(AT.0 + 2),
        tokens,
        fingerprints: Fingerprints { access: Hash([0xA0; 32]), refresh: Hash([0xA1; 32]) },
        claim: Some(Box::new(Claim {
            attempt: 2,
            until: AT,
            writer: WriterId([8; 8]),
            position: Position(5),
        })),
        not_before: Some(AT),
        failed_with: Some(FailureCode::Unknown(999)),
        failures: 3,
        uncertain: true,
    }
}

fn session(id: u8, user: Sub, origin: Option<Fact>) -> Session {
    Session {
        id: SessionId([id; 16]),
        user,
        key: SessionKey([id; 32]),
        method: Method::Discord,
        scope: SessionScope::All,
        admin: false,
        opened_at: AT,
        seen_at: Timestamp(AT.0 + 3),
        expires_at: Timestamp(AT.0 + 5),
        idle_deadline: Timestamp(AT.0 + 4),
        origin,
    }
}

fn built(parts: Vec<Part<'_>>) -> State {
    let mut builder = StateBuilder::new();
    parts.into_iter().for_each(|part| builder.add(part).expect("a part"));
    builder.finish().expect("a state")
}

fn tree(size: u64) -> Frontier {
    let mut frontier = Frontier::new();
    (0..size).for_each(|n| frontier.push(Hash::of(&n.to_be_bytes())));
    frontier
}

fn head(size: u64) -> Part<'static> {
    Part::Head(Cow::Owned(Head { position: size.checked_sub(1).map(Position), ..Head::default() }))
}

/// A state in which nothing is missing, after ten records.
fn sample() -> State {
    let (a, b) = (Sub([0x0A; 16]), Sub([0x0B; 16]));
    let (first, second) = (RecordId([1; 16]), RecordId([2; 16]));
    let fact =
        |record, sealed: &Arc<SealedBox>, index, of| Fact { record, sealed: sealed.clone(), index, of };
    let (of_a, later) = (sealed(Owner::Subject(a), 5), sealed(Owner::Subject(a), 7));
    let from = sealed(Owner::Context(Month(202_601), Some(a)), 3);
    let tokens = fact(first, &of_a, 0, FactOf::GrantIssued);
    let refreshed = fact(second, &later, 0, FactOf::GrantRefreshed);
    let user = User {
        version: 70_000,
        profile: Some(fact(first, &of_a, 1, FactOf::ProfileObserved)),
        profile_at: AT,
        memberships: BTreeMap::from([
            (0, Observed { fact: fact(first, &of_a, 2, FactOf::MembershipObserved), at: AT }),
            (
                300,
                Observed {
                    fact: fact(second, &later, 1, FactOf::MembershipObserved),
                    at: Timestamp(AT.0 + 6),
                },
            ),
        ]),
        grant: Some(grant(1, tokens)),
        revocation: Some(Box::new(Revocation {
            grant: grant(2, refreshed),
            source: RevokedBy::Operator,
            since: AT,
            position: Position(6),
        })),
        sessions: vec![],
    };
    let rules = fact(first, &sealed(Owner::Log, 9), 1, FactOf::RulesChanged);
    let origin = || Some(fact(first, &from, CONTEXT, FactOf::Context));
    let mut here = session(3, a, origin());
    here.scope = SessionScope::Host("wiki.example.org".into());
    here.admin = true;
    built(vec![
        Part::Head(Cow::Owned(Head {
            log: Some(LogIdentity {
                id: LogId([7; 16]),
                origin: "https://login.example.org".into(),
                made_by: MadeBy::Serve,
                public_key: [0xED; 32],
            }),
            position: Some(Position(9)),
            eff: AT,
            writer: Some(WriterId([8; 8])),
            outage: Some(Outage { cause: OutageCause::CloudflareBan, until: Some(AT) }),
            checkpoint: Some(Checkpoint { position: Position(4), size: 4, root: Hash([0xCC; 32]), at: AT }),
            unsigned: Unsigned { records: 5, since: Some(AT) },
            rules: Some(KnownRules { hash: Hash([0x4C; 32]), fact: Some(rules) }),
        })),
        Part::Erased(Sub([0x01; 16])),
        Part::Erased(Sub([0x02; 16])),
        Part::Destroyed(Month(202_512)),
        Part::Recent(second),
        Part::Recent(first),
        Part::User(a, Cow::Owned(user)),
        Part::Session(Cow::Owned(session(4, a, origin()))),
        Part::Session(Cow::Owned(here)),
        Part::User(b, Cow::Owned(User::default())),
        Part::Session(Cow::Owned(session(2, b, None))),
    ])
}

fn written(state: &State, size: u64) -> (Vec<u8>, Hash) {
    let mut bytes = Vec::new();
    let hash = write_state(state, &tree(size), &mut bytes).expect("bytes");
    (bytes, hash)
}

/// The entries of a file, each with its length.
fn entries(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let (entry, rest) = bytes.split_at(4 + u32::from_be_bytes(*length) as usize);
        all.push(entry.to_vec());
        bytes = rest;
    }
    all
}

fn kinds(bytes: &[u8]) -> Vec<u8> {
    entries(bytes).iter().map(|entry| entry[4]).collect()
}

fn refused(bytes: &[u8]) -> StateError {
    read_state(bytes).expect_err("it is no stored state")
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let empty = built(vec![head(0)]);
    for (state, size) in [(sample(), 10), (State::default(), 0), (empty, 0), (built(vec![head(7)]), 7)] {
        let (bytes, hash) = written(&state, size);
        assert_eq!(hash, Hash::of(&bytes));
        let read = read_state(&*bytes).expect("a state");
        assert_eq!(written(&read.state, size).0, bytes);
        assert_eq!(read, StoredState { state, frontier: tree(size), size, hash });
    }
}

#[test]
fn facts_share_a_box_as_they_did() {
    let (bytes, _) = written(&sample(), 10);
    let read = read_state(&*bytes).expect("a state").state;
    let user = read.user(Sub([0x0A; 16])).expect("there").clone();
    let (profile, grant) = (user.profile.expect("seen"), user.grant.expect("issued"));
    assert!(Arc::ptr_eq(&profile.sealed, &grant.tokens.sealed));
    let origins: Vec<_> = read.sessions().filter_map(|session| session.origin.clone()).collect();
    assert!(Arc::ptr_eq(&origins[0].sealed, &origins[1].sealed));
    assert_eq!(kinds(&bytes).iter().filter(|kind| **kind == wire::BOX).count(), 3);
}

/// Whoever changes these bytes raises the fold, or the format, and then takes the new ones.
#[test]
fn todays_bytes_of_a_state() {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let (bytes, hash) = written(&sample(), 10);
        let shown: Vec<String> = entries(&bytes).iter().map(hex::encode).collect();
        let shown = format!("format {FORMAT}, fold {FOLD}, sha256 {hash}\n{}\n", shown.join("\n"));
        insta::assert_snapshot!("bytes-state", shown);
    });
}

#[test]
fn a_cut_is_seen_wherever_it_is() {
    let (bytes, _) = written(&sample(), 10);
    for end in 0..bytes.len() {
        assert!(matches!(refused(&bytes[..end]), StateError::Cut), "cut at {end}");
    }
    assert!(matches!(refused(&[&bytes[..], &[0]].concat()), StateError::LeftOver));
    let entries = entries(&bytes);
    for gone in 0..entries.len() {
        let mut rest = entries.clone();
        rest.remove(gone);
        refused(&rest.concat());
        rest.insert(gone, entries[gone].clone());
        rest.insert(gone, entries[gone].clone());
        refused(&rest.concat());
    }
}

#[test]
fn a_changed_byte_is_another_hash_or_no_state() {
    let (bytes, hash) = written(&sample(), 10);
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xFF] {
            let mut other = bytes.clone();
            other[at] ^= change;
            if let Ok(read) = read_state(&*other) {
                assert_ne!(read.hash, hash, "byte {at} with {change:#x}");
                assert_eq!(read.hash, Hash::of(&other));
            }
        }
    }
}

#[test]
fn a_length_is_refused_before_memory_is_asked_for() {
    let (bytes, _) = written(&sample(), 10);
    for length in [u32::MAX, 1 << 30, 65_536] {
        let hostile = [&length.to_be_bytes()[..], &bytes[4..]].concat();
        assert!(matches!(refused(&hostile), StateError::TooLong { bytes } if bytes == length));
    }
    assert!(matches!(refused(&[0; 4]), StateError::Misplaced { kind: 0 }));
    // A count within an entry that no entry could hold.
    let header = [&[wire::HEADER][..], &FORMAT.to_be_bytes(), &FOLD.to_be_bytes()].concat();
    let body = [&header[..], &[10, 0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F]].concat();
    let hostile = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    assert!(matches!(refused(&hostile), StateError::Decode(DecodeError::Malformed { .. })));
}

#[test]
fn another_format_and_another_fold_are_named() {
    let (bytes, _) = written(&sample(), 10);
    let mut other = bytes.clone();
    other[6] = 2;
    assert!(matches!(refused(&other), StateError::OtherFormat { format: 2 }));
    let mut other = bytes.clone();
    other[10] += 1;
    assert!(matches!(refused(&other), StateError::OtherFold { fold } if fold == FOLD + 1));
    let mut other = bytes;
    other[4] = wire::HEAD;
    assert!(matches!(refused(&other), StateError::NoHeader));
}

#[test]
fn entries_that_fit_nowhere_are_refused() {
    let (bytes, _) = written(&sample(), 10);
    let entries = entries(&bytes);
    let moved = |from: usize, to: usize| {
        let mut moved = entries.clone();
        let entry = moved.remove(from);
        moved.insert(to, entry);
        moved.concat()
    };
    for (from, entry) in entries.iter().enumerate() {
        // What belongs to a user may be given to another, and records may have come in another order.
        if (wire::RECENT..=wire::BOX).contains(&entry[4]) || entry[4] == wire::MEMBERSHIP {
            continue;
        }
        for to in (0..entries.len()).filter(|to| *to != from) {
            refused(&moved(from, to));
        }
    }
    let at = |kind: u8| entries.iter().position(|entry| entry[4] == kind).expect("there");
    for (kind, other) in [
        (wire::PROFILE, wire::GRANT),
        (wire::GRANT, wire::REVOCATION),
        (wire::REVOCATION, wire::MEMBERSHIP),
        (wire::MEMBERSHIP, wire::SESSION),
    ] {
        let refused = refused(&moved(at(kind), at(other)));
        assert!(matches!(refused, StateError::Misplaced { kind: found } if found == kind), "{refused}");
    }
    let unknown = [&entries[0][..], &[0, 0, 0, 1, 16]].concat();
    assert!(matches!(refused(&unknown), StateError::Misplaced { kind: 16 }));
    let without_boxes: Vec<_> = entries.into_iter().filter(|entry| entry[4] != wire::BOX).collect();
    assert!(matches!(refused(&without_boxes.concat()), StateError::NoSuchBox { number: 0 }));
}

#[test]
fn a_state_stands_beside_a_tree_of_its_own_size() {
    for size in [0, 9, 11] {
        let refused = write_state(&sample(), &tree(size), std::io::sink());
        assert!(matches!(refused, Err(StateError::Sizes { state: 10, tree }) if tree == size));
    }
    let (bytes, _) = written(&sample(), 10);
    let (longer, _) = written(&built(vec![head(11)]), 11);
    let header = &entries(&longer)[0];
    let mixed = [&header[..], &bytes[entries(&bytes)[0].len()..]].concat();
    assert!(matches!(refused(&mixed), StateError::Sizes { state: 10, tree: 11 }));
}

#[test]
fn the_largest_facts_that_a_log_can_hold_can_be_stored() {
    let sub = Sub([1; 16]);
    let fact = |n: u8, of| {
        let sealed = sealed(Owner::Subject(sub), 65_400);
        Fact { record: RecordId([n; 16]), sealed, index: 0, of }
    };
    let mut user = User { profile: Some(fact(1, FactOf::ProfileObserved)), ..User::default() };
    let mut live = grant(1, fact(2, FactOf::GrantIssued));
    live.scopes = Scopes::new([&*"x".repeat(65_200)]).expect("scopes");
    let ended = Grant { tokens: fact(3, FactOf::GrantRefreshed), ..live.clone() };
    let (source, since, position) = (RevokedBy::User, AT, Position(0));
    user.revocation = Some(Box::new(Revocation { grant: ended, source, since, position }));
    user.grant = Some(live);
    let observed = Observed { fact: fact(5, FactOf::MembershipObserved), at: AT };
    user.memberships = BTreeMap::from([(0, observed.clone()), (u16::MAX, observed)]);
    let mut session = session(1, sub, Some(fact(4, FactOf::Context)));
    session.scope = SessionScope::Host("x".repeat(65_300).into());
    let text = Fact {
        record: RecordId([6; 16]),
        sealed: sealed(Owner::Log, 65_400),
        index: u16::MAX - 1,
        of: FactOf::RulesChanged,
    };
    let rules = Some(KnownRules { hash: Hash([0x4C; 32]), fact: Some(text) });
    let head = Head { position: Some(Position(0)), rules, ..Head::default() };
    let parts = vec![
        Part::Head(Cow::Owned(head)),
        Part::User(sub, Cow::Owned(user)),
        Part::Session(Cow::Owned(session)),
    ];
    let state = built(parts);
    let (bytes, _) = written(&state, 1);
    assert_eq!(read_state(&*bytes).expect("a state").state, state);
}
