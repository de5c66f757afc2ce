//! The parts that everything is made of, one at a time: `cargo bench`.
//!
//! What they come to together, in a server and beside what the machine could do, is measured by the program in
//! `examples/load`.
#![expect(clippy::expect_used, reason = "a bench whose fixture is broken has nothing to measure")]

#[path = "../examples/load/town.rs"]
#[allow(dead_code, reason = "the load program lives a longer life in it")]
mod town;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use doorbook::app::App;
use doorbook::clock::{Clock as _, SystemClock};
use doorbook::crypto::CookieKey;
use doorbook::domain::access::{self, Person, Wanted};
use doorbook::domain::command::{Command, Facts};
use doorbook::domain::decide::decide;
use doorbook::domain::event::{Event, Origin};
use doorbook::domain::host::{Host, HostPattern};
use doorbook::domain::id::{Position, RecordId, Sub};
use doorbook::domain::path::{RequestPath, RulePath};
use doorbook::domain::record::{Owner, Record};
use doorbook::domain::rules::{Grants, Rule, Rules, Term};
use doorbook::domain::state::State;
use doorbook::event_log::codec::{decode_record, encode_record, leaf_hash};
use doorbook::event_log::tree::Frontier;
use doorbook::http::session::{deserialize_session, serialize_session};

use self::town::{Town, discord_id, session_id, session_token};

/// What can go wrong, with its cause.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the town takes from the load program.
mod servers {
    pub(crate) const ORIGIN: &str = "http://localhost:3001";
    pub(crate) const FIRST_PERSON: u64 = 700_000_000_000_000_000;
}

const PEOPLE: u64 = 1_000;
const RECORDS: usize = 8_000;

/// A log with people in it, and its frames.
struct Fixture {
    runtime: tokio::runtime::Runtime,
    app: Arc<App>,
    user: Sub,
    frames: Vec<Vec<u8>>,
    _dir: tempfile::TempDir,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| fixture().expect("a town"));

fn fixture() -> Result<Fixture, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = tempfile::tempdir()?;
    let (app, user, frames) = runtime.block_on(async {
        let town = Town::open(&dir.path().join("data"), RECORDS as u64).await?;
        town.sign_everybody_in(PEOPLE, 1).await?;
        town.live_until(PEOPLE, RECORDS as u64).await?;
        let mut follow = town.app.log().follow(Position(0));
        let mut frames = Vec::new();
        while frames.len() < RECORDS {
            frames.extend(follow.next().await?.into_iter().map(|(_, frame)| frame.to_vec()));
        }
        Ok::<_, Failure>((town.app.clone(), town.user(1)?, frames))
    })?;
    Ok(Fixture { runtime, app, user, frames, _dir: dir })
}

/// Returns a record of somebody who signs in again, as bytes.
fn returning() -> &'static [u8] {
    let opens = |frame: &&Vec<u8>| {
        let record = decode_record(frame).expect("a record");
        record.events.iter().any(|event| matches!(event, Event::SessionOpened { first: false, .. }))
    };
    FIXTURE.frames.iter().rfind(opens).expect("somebody signs in again")
}

fn main() {
    LazyLock::force(&FIXTURE);
    divan::main();
}

#[divan::bench]
fn codec_encode_record(bencher: Bencher<'_, '_>) {
    let record = decode_record(returning()).expect("a record");
    bencher.counter(BytesCount::new(returning().len())).bench(|| encode_record(black_box(&record)));
}

#[divan::bench]
fn codec_decode_record(bencher: Bencher<'_, '_>) {
    let frame = returning();
    bencher.counter(BytesCount::new(frame.len())).bench(|| decode_record(black_box(frame)));
}

#[divan::bench]
fn seal(bencher: Bencher<'_, '_>) {
    let (keys, owner) = (FIXTURE.app.keys(), Owner::Subject(FIXTURE.user));
    bencher.bench(|| keys.seal(owner, RecordId([7; 16]), black_box(&[0x5A; 160])));
}

#[divan::bench]
fn open(bencher: Bencher<'_, '_>) {
    let (keys, record) = (FIXTURE.app.keys(), RecordId([7; 16]));
    let sealed = keys.seal(Owner::Subject(FIXTURE.user), record, &[0x5A; 160]).expect("a box");
    bencher.bench(|| keys.unseal(record, black_box(&sealed)));
}

#[divan::bench]
fn tree_leaf(bencher: Bencher<'_, '_>) {
    let frame = returning();
    bencher.counter(BytesCount::new(frame.len())).bench(|| leaf_hash(black_box(frame)));
}

#[divan::bench]
fn tree_push(bencher: Bencher<'_, '_>) {
    let (leaf, mut frontier) = (leaf_hash(returning()), Frontier::new());
    bencher.bench_local(move || frontier.push(black_box(leaf)));
}

#[divan::bench]
fn apply_8000_records(bencher: Bencher<'_, '_>) {
    let records: Vec<Record> =
        FIXTURE.frames.iter().take(RECORDS).map(|frame| decode_record(frame).expect("a record")).collect();
    bencher.with_inputs(State::default).bench_values(|mut state| {
        for (position, record) in (0..).map(Position).zip(&records) {
            state.apply(position, record);
        }
        state
    });
}

#[divan::bench]
fn decide_seen(bencher: Bencher<'_, '_>) {
    let now = SystemClock::new().now().plus(Duration::from_secs(86_400));
    let (state, rules, facts) = (FIXTURE.app.state(), Rules::default(), Facts::default());
    let command = Command::SeeSession { session: session_id(1) };
    bencher.bench_local(|| decide(&state, &facts, &rules, black_box(command.clone()), now));
}

#[divan::bench]
fn session_check(bencher: Bencher<'_, '_>) {
    let _entered = FIXTURE.runtime.enter();
    let (cookie, origin) = (session_token(1).to_cookie(), Origin::default());
    bencher.bench(|| deserialize_session(black_box(&cookie), &FIXTURE.app, &origin).expect("a session"));
}

#[divan::bench]
fn cookie_of_session(bencher: Bencher<'_, '_>) {
    let token = session_token(1);
    bencher.bench(|| serialize_session(black_box(&token)));
}

#[divan::bench]
fn cookie_sealed_and_opened(bencher: Bencher<'_, '_>) {
    let key: &CookieKey = FIXTURE.app.keys().cookie_key();
    bencher.bench(|| {
        let sealed = key.seal("bench", b"name", black_box(&[0x5A; 200]));
        key.open("bench", b"name", &sealed).expect("what was sealed")
    });
}

#[divan::bench(args = [1, 10, 100])]
fn rule_match(bencher: Bencher<'_, '_>, rules: usize) {
    let rules = Rules { rules: (0..rules).map(rule).collect(), ..Rules::default() };
    let host = Host::parse(&format!("app{}.example.org", rules.rules.len() - 1)).expect("a host");
    let path = RequestPath::parse("/wiki/page").expect("a path");
    let wanted = Wanted { host: &host, path: &path, method: "GET", address: None, is_preflight: false };
    let person = Person { id: discord_id(1), profile: None, memberships: &[] };
    bencher.bench(|| access::check(&rules, black_box(&wanted), Some(&person)).is_granted());
}

fn rule(number: usize) -> Rule {
    Rule {
        host: HostPattern::parse(&format!("app{number}.example.org")).expect("a host"),
        path: RulePath::root(),
        methods: None,
        networks: None,
        allow_preflight: false,
        grant: Grants::To { allow: vec![Term::SignedIn], deny: vec![] },
    }
}
