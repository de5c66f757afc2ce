//! Whatever is decided, in whatever order: the state that replaying the bytes gives is the state that was lived.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use doorbook::domain::command::{AcceptLoss, Command, CreateLog, Facts, SignCheckpoint, SignIn, Which};
use doorbook::domain::decide::{Decision, decide};
use doorbook::domain::event::{
    Cause, Event, FailureCode, MadeBy, Membership, Method, OutageCause, Private, Profile, RevokedBy, Stage,
    Tokens,
};
use doorbook::domain::id::{
    DiscordId, GrantId, Hash, LogId, Position, RecordId, Secret, SessionId, SessionKey, Sub, WriterId,
};
use doorbook::domain::record::{Actor, Context, Owner, Record, SealedBox};
use doorbook::domain::rules::{Rules, Term};
use doorbook::domain::scopes::Scopes;
use doorbook::domain::state::{CONTEXT, FOLD, State, Verdict};
use doorbook::domain::time::Timestamp;
use doorbook::event_log::codec::{
    StoredState, decode_record, encode_record, leaf_hash, read_state, write_state,
};
use doorbook::event_log::serialize_event;
use doorbook::event_log::tree::Frontier;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::START;

/// Who lives in these stories; the last one is not let in.
const PEOPLE: u8 = 4;

/// What somebody may want, or what may happen; `who` is one of the people, an index one of what there is.
#[derive(Clone, Debug)]
enum Step {
    SignIn {
        who: u8,
        browser: Option<Index>,
        role: u8,
    },
    /// Two at once: the one that was decided first comes second.
    SignInOvertaken {
        who: u8,
    },
    FailSignIn,
    See(Index),
    End {
        who: u8,
        which: u8,
        session: Index,
    },
    Claim {
        who: u8,
        attempt: u8,
    },
    Refreshed {
        who: u8,
    },
    RefreshFailed {
        who: u8,
        is_final: bool,
    },
    Revoke {
        who: u8,
        confirmed: bool,
    },
    Confirm {
        who: u8,
    },
    Observe {
        who: u8,
        look: u8,
    },
    ObserveMembership {
        who: u8,
        guild: u8,
        role: u8,
    },
    ChangeRules {
        which: u8,
    },
    Outage {
        cause: bool,
    },
    Recovery,
    MoveClock {
        seconds: i32,
    },
    Restart {
        loses: bool,
    },
    SignCheckpoint,
    DestroyMonth,
    Wait {
        seconds: u32,
    },
    /// The engine kept a record twice.
    Repeat(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..PEOPLE;
    prop_oneof![
        6 => (who.clone(), any::<Option<Index>>(), 0..3_u8)
            .prop_map(|(who, browser, role)| Step::SignIn { who, browser, role }),
        1 => who.clone().prop_map(|who| Step::SignInOvertaken { who }),
        1 => Just(Step::FailSignIn),
        2 => any::<Index>().prop_map(Step::See),
        2 => (who.clone(), 0..4_u8, any::<Index>())
            .prop_map(|(who, which, session)| Step::End { who, which, session }),
        3 => (who.clone(), 1..3_u8).prop_map(|(who, attempt)| Step::Claim { who, attempt }),
        2 => who.clone().prop_map(|who| Step::Refreshed { who }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, is_final)| Step::RefreshFailed { who, is_final }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, confirmed)| Step::Revoke { who, confirmed }),
        2 => who.clone().prop_map(|who| Step::Confirm { who }),
        1 => (who.clone(), 0..3_u8).prop_map(|(who, look)| Step::Observe { who, look }),
        3 => (who, 0..6_u8, 0..3_u8)
            .prop_map(|(who, guild, role)| Step::ObserveMembership { who, guild, role }),
        1 => (0..3_u8).prop_map(|which| Step::ChangeRules { which }),
        1 => any::<bool>().prop_map(|cause| Step::Outage { cause }),
        1 => Just(Step::Recovery),
        1 => (-90_000..90_000_i32).prop_map(|seconds| Step::MoveClock { seconds }),
        1 => (0..8_u8).prop_map(|n| Step::Restart { loses: n == 0 }),
        1 => Just(Step::SignCheckpoint),
        1 => Just(Step::DestroyMonth),
        2 => prop_oneof![0..600_u32, 0..1_000_000_u32].prop_map(|seconds| Step::Wait { seconds }),
        2 => any::<Index>().prop_map(Step::Repeat),
    ]
}

/// A log as it grows, and the state as it is lived.
struct Life {
    state: State,
    frames: Vec<Vec<u8>>,
    records: Vec<Record>,
    now: Timestamp,
    drawn: u64,
    rules: Rules,
    profiles: HashMap<Sub, Profile>,
    memberships: HashMap<Sub, BTreeMap<u16, Membership>>,
}

impl Life {
    fn begin() -> Life {
        let mut life = Life {
            state: State::default(),
            frames: vec![],
            records: vec![],
            now: START,
            drawn: 0,
            rules: rules(0),
            profiles: HashMap::new(),
            memberships: HashMap::new(),
        };
        life.run(Command::CreateLog(CreateLog {
            log: LogId([7; 16]),
            origin: "http://localhost:3001".into(),
            made_by: MadeBy::Serve,
            public_key: [7; 32],
            version: "0.1.0".into(),
        }));
        life
    }

    fn step(&mut self, step: Step) {
        let command = match step {
            Step::SignIn { who, browser, role } => {
                let replaces = browser.and_then(|session| self.session(session));
                self.sign_in(who, replaces, role)
            }
            Step::SignInOvertaken { who } => return self.overtake(who),
            Step::FailSignIn => {
                Command::FailSignIn { stage: Stage::Callback, code: FailureCode::StateMismatch }
            }
            Step::See(session) => match self.session(session) {
                Some(session) => Command::SeeSession { session },
                None => return,
            },
            Step::End { who, which, session } => {
                let Some(session) = self.session(session) else { return };
                let which = match which {
                    0 => Which::One(session),
                    1 => Which::Others(session),
                    2 => Which::Listed(vec![session, SessionId([0xFF; 16])]),
                    _ => Which::All,
                };
                let reason = Some("asked for".to_owned());
                Command::EndSessions { user: sub(who), which, cause: Cause::Admin, reason }
            }
            Step::Claim { who, attempt } => {
                let until = self.now.plus(Duration::from_secs(60));
                Command::ClaimRefresh { user: sub(who), grant: self.grant(who), attempt, until }
            }
            Step::Refreshed { who } => Command::ConcludeRefresh {
                user: sub(who),
                grant: self.grant(who),
                scopes: Scopes::new(["identify"]).expect("scopes"),
                expires_at: self.now.plus(Duration::from_secs(604_800)),
                tokens: self.tokens(),
            },
            Step::RefreshFailed { who, is_final } => Command::FailRefresh {
                user: sub(who),
                grant: self.grant(who),
                code: if is_final { FailureCode::InvalidGrant } else { FailureCode::ServerError },
                status: Some(400),
                attempt: 1,
                is_final,
                not_before: Some(self.now.plus(Duration::from_secs(30))),
            },
            Step::Revoke { who, confirmed } => Command::Revoke {
                user: sub(who),
                source: RevokedBy::User,
                cause: Cause::UserRevoked,
                confirmed,
                only: None,
            },
            Step::Confirm { who } => {
                Command::ConfirmRevocation { user: sub(who), grant: self.grant(who), attempts: 3 }
            }
            Step::Observe { who, look } => {
                Command::ObserveProfile { user: sub(who), profile: profile(who, look) }
            }
            Step::ObserveMembership { who, guild, role } => {
                Command::ObserveMemberships { user: sub(who), memberships: vec![membership(guild, role)] }
            }
            Step::ChangeRules { which } => {
                self.run(Command::ChangeRules(Arc::new(rules(which))));
                self.rules = rules(which);
                return;
            }
            Step::Outage { cause } => Command::NoteOutage {
                cause: if cause { OutageCause::Unreachable } else { OutageCause::GlobalRateLimit },
                until: Some(self.now.plus(Duration::from_secs(60))),
            },
            Step::Recovery => Command::NoteRecovery,
            Step::MoveClock { seconds } => {
                let from = self.now;
                self.now = Timestamp(self.now.0 + i64::from(seconds) * 1_000);
                Command::StepClock { from, to: self.now }
            }
            Step::Restart { loses } => {
                if loses {
                    self.run(Command::AcceptLoss(AcceptLoss {
                        head_sequence: 9,
                        head_position: self.state.position(),
                        head_leaf: Hash::of(b"leaf"),
                        last_found: None,
                        salvaged: None,
                        created: None,
                        handed: vec![],
                    }));
                }
                let writer = WriterId(self.draw().to_be_bytes());
                let log_size = self.frames.len() as u64;
                Command::StartServer { version: "0.1.0".into(), writer, config: Hash::of(b""), log_size }
            }
            Step::SignCheckpoint => {
                let (size, root) = (self.frames.len() as u64, Hash::of(b"root"));
                Command::SignCheckpoint(SignCheckpoint { size, root, note: String::new(), state: None })
            }
            Step::DestroyMonth => Command::DestroyMonths { months: vec![self.now.month()] },
            Step::Wait { seconds } => {
                self.now = self.now.plus(Duration::from_secs(seconds.into()));
                return;
            }
            Step::Repeat(record) => return self.repeat(record),
        };
        self.run(command);
    }

    /// Decides and appends; what makes no sense now changes nothing.
    fn run(&mut self, command: Command) {
        for decision in self.decide(command) {
            assert_eq!(self.append(decision), Verdict::Applied, "on one machine decisions apply");
        }
    }

    fn decide(&self, command: Command) -> Vec<Decision> {
        let user = match &command {
            Command::SignIn(sign_in) => sign_in.user,
            Command::ObserveProfile { user, .. } | Command::ObserveMemberships { user, .. } => Some(*user),
            _ => None,
        };
        let profile = user.and_then(|user| self.profiles.get(&user).cloned());
        let memberships = user.and_then(|user| self.memberships.get(&user).cloned()).unwrap_or_default();
        let facts = Facts { profile, memberships };
        decide(&self.state, &facts, &self.rules, command, self.now).unwrap_or_default()
    }

    fn append(&mut self, decision: Decision) -> Verdict {
        let id = RecordId(u128::from(self.draw()).to_be_bytes());
        let user = decision.subject.map(|subject| subject.sub);
        let (mut events, mut said) = (Vec::new(), Vec::new());
        let mut sealed = vec![Arc::new(self.seal(Owner::Context(self.now.month(), user)))];
        for draft in decision.events {
            let stored = serialize_event(&draft.event, draft.private.as_ref()).expect("bytes");
            if stored.sealed.is_some() && sealed.len() == 1 {
                sealed.push(Arc::new(self.seal(user.map_or(Owner::Log, Owner::Subject))));
            }
            said.extend(draft.private.map(|private| (draft.event.clone(), private)));
            events.push(draft.event);
        }
        let writer = self.state.writer().unwrap_or(WriterId([0; 8]));
        let context = Context { writer, actor: Actor::SYSTEM, request: None, cause: None, route: None };
        let record = Record { id, at: self.now, subject: decision.subject, context, events, sealed };
        let verdict = self.keep(record);
        if let (Verdict::Applied, Some(user)) = (verdict, user) {
            self.learn(user, said);
        }
        verdict
    }

    /// Remembers what is sealed: what a state holds of it cannot be opened here.
    fn learn(&mut self, user: Sub, said: Vec<(Event, Private)>) {
        for (event, private) in said {
            match (event, private) {
                (_, Private::Profile(profile)) => drop(self.profiles.insert(user, profile)),
                (Event::MembershipObserved { slot }, Private::Membership(membership)) => {
                    self.memberships.entry(user).or_default().insert(slot, membership);
                }
                _ => {}
            }
        }
    }

    fn keep(&mut self, record: Record) -> Verdict {
        let position = Position(self.frames.len() as u64);
        self.frames.push(encode_record(&record).expect("a frame"));
        let verdict = self.state.apply(position, &record);
        self.records.push(record);
        verdict
    }

    fn overtake(&mut self, who: u8) {
        let (first, second) = (self.sign_in(who, None, 1), self.sign_in(who, None, 2));
        let (first, second) = (self.decide(first), self.decide(second));
        let let_in = first.iter().any(|decision| {
            decision.events.iter().any(|draft| matches!(draft.event, Event::SessionOpened { .. }))
        });
        for decision in second {
            assert_eq!(self.append(decision), Verdict::Applied);
        }
        let before = self.told();
        for decision in first {
            let verdict = self.append(decision);
            assert_eq!(verdict, if let_in { Verdict::Superseded } else { Verdict::Applied });
        }
        assert_eq!(self.told(), before, "what was overtaken changes nothing");
    }

    fn repeat(&mut self, record: Index) {
        let record = self.records[record.index(self.records.len())].clone();
        let before = self.told();
        assert_eq!(self.keep(record), Verdict::Ignored);
        assert_eq!(self.told(), before, "what stands in the log twice counts once");
    }

    /// Returns the state as text, but for how far it goes.
    fn told(&self) -> String {
        let state = format!("{:?}", self.state);
        state.split_once("eff: ").expect("a time").1.to_owned()
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn seal(&mut self, owner: Owner) -> SealedBox {
        let ciphertext = self.draw().to_be_bytes().into();
        SealedBox { scheme: 1, owner, nonce: [9; 24], ciphertext }
    }

    fn tokens(&mut self) -> Tokens {
        let mut token = || Secret::new(format!("token {}", self.draw()));
        Tokens { access: token(), refresh: token() }
    }

    /// One of the sessions, live or not.
    fn session(&self, index: Index) -> Option<SessionId> {
        let mut all: Vec<SessionId> = self.state.sessions().map(|session| session.id).collect();
        all.sort();
        (!all.is_empty()).then(|| *index.get(&all))
    }

    /// The grant that is pending or live, or one that never was.
    fn grant(&self, who: u8) -> GrantId {
        let user = self.state.user(sub(who));
        let pending = user.and_then(|user| user.revocation.as_ref()).map(|revocation| revocation.grant.id);
        let live = user.and_then(|user| user.grant.as_ref()).map(|grant| grant.id);
        pending.or(live).unwrap_or(GrantId([0xFF; 16]))
    }

    fn sign_in(&mut self, who: u8, replaces: Option<SessionId>, role: u8) -> Command {
        let id = u128::from(self.draw()).to_be_bytes();
        Command::SignIn(Box::new(SignIn {
            user: Some(sub(who)),
            profile: profile(who, 0),
            memberships: (0..role).map(|guild| membership(guild, role)).collect(),
            grant: GrantId(id),
            application: DiscordId(1),
            scopes: Scopes::new(["identify", "email"]).expect("scopes"),
            expires_at: self.now.plus(Duration::from_secs(604_800)),
            tokens: self.tokens(),
            session: SessionId(id),
            key: SessionKey(Hash::of(&id).0),
            method: Method::Discord,
            replaces,
        }))
    }
}

fn sub(who: u8) -> Sub {
    Sub([who; 16])
}

fn discord(who: u8) -> DiscordId {
    DiscordId(u64::from(who) + 80_351_110_224_678_912)
}

/// Some let in everybody but the last one, some say the same in another order, some ask for a guild.
fn rules(which: u8) -> Rules {
    let mut allow: Vec<Term> = (0..PEOPLE - 1).map(|who| Term::User(discord(who))).collect();
    match which {
        0 => {}
        1 => allow.reverse(),
        _ => allow.push(Term::Role { guild: DiscordId(0), role: DiscordId(2) }),
    }
    Rules { allow: Some(allow), ..Rules::default() }
}

fn membership(guild: u8, role: u8) -> Membership {
    let roles = vec![DiscordId(role.into()), DiscordId(9)];
    Membership { member: role > 0, roles, ..Membership::none(DiscordId(guild.into())) }
}

fn profile(who: u8, look: u8) -> Profile {
    Profile {
        id: discord(who),
        username: format!("person.{who}"),
        global_name: (look > 0).then(|| format!("Look {look}")),
        discriminator: "0".into(),
        avatar: None,
        locale: None,
        email: None,
        email_verified: None,
    }
}

/// Folds frames on top of a state.
fn replay(mut state: State, frames: &[Vec<u8>], from: usize) -> State {
    for (at, frame) in frames.iter().enumerate().skip(from) {
        state.apply(Position(at as u64), &decode_record(frame).expect("a record"));
    }
    state
}

fn frontier(frames: &[Vec<u8>]) -> Frontier {
    let mut frontier = Frontier::new();
    frames.iter().for_each(|frame| frontier.push(leaf_hash(frame)));
    frontier
}

fn stored(state: &State, frontier: &Frontier) -> (Vec<u8>, Hash) {
    let mut bytes = Vec::new();
    let hash = write_state(state, frontier, &mut bytes).expect("bytes");
    (bytes, hash)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_replayed_state_is_the_lived_state(steps in vec(step(), 1..120), cut in any::<Index>()) {
        let mut life = Life::begin();
        for step in steps {
            life.step(step);
        }
        let replayed = replay(State::default(), &life.frames, 0);
        prop_assert_eq!(&replayed, &life.state);
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", life.state));

        let cut = cut.index(life.frames.len() + 1);
        let kept = replay(State::default(), &life.frames[..cut], 0);
        prop_assert_eq!(replay(kept, &life.frames, cut), replayed);
    }

    #[test]
    fn a_stored_state_and_the_tail_are_the_lived_state(steps in vec(step(), 1..120), cut in any::<Index>()) {
        let mut life = Life::begin();
        for step in steps {
            life.step(step);
        }
        let cut = cut.index(life.frames.len() + 1);
        let (begun, frontier) = (replay(State::default(), &life.frames[..cut], 0), frontier(&life.frames[..cut]));
        let (bytes, hash) = stored(&begun, &frontier);
        let read = read_state(&*bytes).expect("a stored state");
        prop_assert_eq!(read.hash, hash);
        prop_assert_eq!(&read, &StoredState { state: begun, frontier, size: cut as u64, hash });

        // Three ways to the same state give the same bytes, so that one hash can stand for it.
        let resumed = replay(read.state, &life.frames, cut);
        prop_assert_eq!(&resumed, &life.state);
        let whole = self::frontier(&life.frames);
        let lived = stored(&life.state, &whole);
        prop_assert_eq!(&stored(&resumed, &whole), &lived);
        prop_assert_eq!(&stored(&replay(State::default(), &life.frames, 0), &whole), &lived);
    }
}

#[test]
fn these_lives_are_worth_replaying() {
    let mut life = Life::begin();
    let steps = [
        Step::SignIn { who: 0, browser: None, role: 2 },
        Step::Claim { who: 0, attempt: 1 },
        Step::Refreshed { who: 0 },
        Step::SignInOvertaken { who: 1 },
        Step::Revoke { who: 0, confirmed: false },
        Step::SignIn { who: 3, browser: None, role: 0 },
        Step::ObserveMembership { who: 0, guild: 5, role: 1 },
        Step::ChangeRules { which: 2 },
        Step::SignIn { who: 3, browser: None, role: 2 },
    ];
    steps.into_iter().for_each(|step| life.step(step));
    assert!(life.state.user(sub(0)).is_some_and(|user| user.revocation.is_some()));
    assert_eq!(life.state.sessions_of(sub(1)).count(), 1);
    assert_eq!(life.state.sessions_of(sub(3)).count(), 1, "other rules let in somebody else");
    assert_eq!(life.state.user(sub(0)).map(|user| user.memberships.len()), Some(3));
    assert!(life.state.rules().is_some_and(|known| known.fact.is_some()));
    assert!(life.records.iter().any(|r| r.events.iter().any(|e| matches!(e, Event::SignInDenied { .. }))));
    let boxes: Vec<_> = life.state.sessions().filter_map(|session| session.origin.as_ref()).collect();
    assert!(boxes.iter().all(|origin| origin.index == CONTEXT) && !boxes.is_empty());
}

/// If the root is another, other records were decided on: take both hashes anew. If only the second is, the
/// fold gives another state for the same records, and stored states must not be believed: raise `FOLD` first.
#[test]
fn the_same_records_give_the_same_state_while_the_fold_is_the_same() {
    let mut life = Life::begin();
    let signed_in = |who| Step::SignIn { who, browser: None, role: who };
    for step in [
        Step::Restart { loses: false },
        signed_in(0),
        signed_in(1),
        signed_in(2),
        signed_in(3),
        Step::SignInOvertaken { who: 1 },
        Step::FailSignIn,
        Step::Wait { seconds: 500_000 },
        Step::Claim { who: 0, attempt: 1 },
        Step::Refreshed { who: 0 },
        Step::Claim { who: 1, attempt: 1 },
        Step::RefreshFailed { who: 1, is_final: false },
        Step::Observe { who: 2, look: 1 },
        Step::ObserveMembership { who: 2, guild: 1, role: 1 },
        Step::ChangeRules { which: 1 },
        Step::Revoke { who: 0, confirmed: false },
        signed_in(0),
        Step::Revoke { who: 1, confirmed: false },
        Step::Outage { cause: true },
        Step::SignCheckpoint,
        Step::DestroyMonth,
        Step::MoveClock { seconds: -600 },
        Step::Claim { who: 2, attempt: 2 },
    ] {
        life.step(step);
    }
    let session = life.state.sessions_of(sub(2)).next().expect("signed in").id;
    life.run(Command::SeeSession { session });
    life.keep(life.records[3].clone());
    let whole = frontier(&life.frames);
    let (_, hash) = stored(&life.state, &whole);
    let (records, state) = (whole.root().to_string(), hash.to_string());
    assert_eq!(
        (FOLD, &*records, &*state),
        (
            1,
            "ab2666e2e8cf509d5c948210d795be8823aade5f42d4eff6ed1421aaa9194bf4",
            "73b28babf6cd14a4db4e2c4b436d108486ddf9409bc1a6bf66d9304137426263"
        )
    );
}
