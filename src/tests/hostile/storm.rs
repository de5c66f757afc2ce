//! Everything that can go wrong at Discord, in random order, while people do everything that people do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};
use doorbook::discord::stand_in::fault_kinds::MALFORMED;
use doorbook::discord::stand_in::faults::{
    ErrorBody, Fault, FaultKind, LimitScope, RateLimited, RetryBody, RetryHeader,
};
use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_MAKER};
use doorbook::discord::stand_in::requests::Route;
use doorbook::discord::stand_in::{Control, Membership, Person};
use doorbook::domain::id::DiscordId;
use doorbook::domain::rules::Term;

use super::{Dice, pause};
use crate::guarded::{FETCHES, forward, rule, to};
use crate::harness::{Browser, Exchange, House, Plan};

const LOGIN: &str = "/api/auth/discord/login";
pub const USER: &str = "/api/auth/user";
pub const FRESH: &str = "/api/auth/user?fresh=1";
pub const REFRESH: &str = "/api/auth/refresh";
const RECHECK: &str = "/auth/recheck?rd=%2Fwiki";

/// The wiki is for those who have the role, and facts grow old quickly.
pub fn plan() -> Plan {
    let makers = Term::Role { guild: DEMO_GUILD, role: DEMO_ROLE_MAKER };
    Plan {
        env: vec![("DOORBOOK_MEMBERSHIP_MAX_AGE", "10s".into()), ("DOORBOOK_PROFILE_MAX_AGE", "20s".into())],
        rules: vec![rule("localhost", "/wiki", to(makers))],
        ..Plan::default()
    }
}

/// So many invented people who have the role.
pub fn people(discord: &Control, size: u64) -> Vec<DiscordId> {
    let ids: Vec<DiscordId> = (1..=size).map(|n| DiscordId(900_000_000_000_000_000 + n)).collect();
    for id in &ids {
        let membership = Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]);
        discord.put_person(Person { guilds: vec![membership], ..Person::new(*id, format!("person{id}")) });
    }
    ids
}

/// A fault of any kind; whoever is told to wait is told to wait for `longest` seconds at most.
fn any_kind(dice: &mut Dice, longest: u32) -> FaultKind {
    // Whoever is not told how long to wait waits for minutes, and meanwhile there is no storm.
    let says_when = longest < 10 || dice.below(8) != 0;
    let seconds = |dice: &mut Dice| dice.pick(&[0.3, 1.287, f64::from(longest) / 2.0, f64::from(longest)]);
    match dice.below(14) {
        0 => FaultKind::RateLimited(RateLimited {
            scope: dice.pick(&[LimitScope::User, LimitScope::Global, LimitScope::Shared]),
            retry_after: seconds(dice),
            header: if says_when {
                RetryHeader::Rounded
            } else {
                dice.pick(&[RetryHeader::Absent, RetryHeader::Text("abc".into())])
            },
            body: dice.pick(&[
                RetryBody::Json,
                RetryBody::JsonWithoutRetryAfter,
                RetryBody::Blocked,
                RetryBody::Empty,
            ]),
        }),
        1 => FaultKind::CloudflareLimit { retry_after: Some(1 + dice.below(u64::from(longest))) },
        2 => FaultKind::ServerError {
            status: dice.pick(&[500, 502, 503, 504]),
            body: dice.pick(&[
                None,
                Some(ErrorBody::Json),
                Some(ErrorBody::Html),
                Some(ErrorBody::Envoy),
                Some(ErrorBody::Empty),
            ]),
        },
        3 => FaultKind::Redirect {
            status: dice.pick(&[301, 302, 303, 307, 308]),
            location: "http://127.0.0.1:9/elsewhere".into(),
        },
        4 => {
            let (status, body) = dice.pick(&[
                (401, r#"{"message": "401: Unauthorized", "code": 0}"#),
                (403, r#"{"message": "Missing Access", "code": 50001}"#),
                (404, r#"{"message": "Unknown Guild", "code": 10004}"#),
                (418, "short and stout"),
                (200, "<html>"),
            ]);
            let headers = [("Content-Type".to_owned(), "application/json".to_owned())].into();
            FaultKind::Answer { status, headers, body: body.into() }
        }
        5 => FaultKind::Malformed(dice.pick(&MALFORMED)),
        6 => FaultKind::DelayHeaders { seconds: seconds(dice) },
        7 => FaultKind::DelayBody { seconds: seconds(dice) },
        8 => FaultKind::OneByteASecond,
        9 => FaultKind::Hold,
        10 => FaultKind::NeverAnswer,
        11 => FaultKind::Drop,
        12 => FaultKind::Reset,
        _ => FaultKind::ResetMidBody,
    }
}

/// A fault that waits on a random route.
fn any_fault(dice: &mut Dice, longest: u32) -> Fault {
    const ROUTES: [Option<Route>; 6] = [
        None,
        Some(Route::Token),
        Some(Route::Refresh),
        Some(Route::Me),
        Some(Route::Member),
        Some(Route::Revoke),
    ];
    let kind = any_kind(dice, longest);
    let fault = match dice.pick(&ROUTES) {
        Some(route) => Fault::new(route, kind),
        None => Fault::anywhere(kind),
    };
    let times = u32::try_from(1 + dice.below(4)).expect("small");
    let fault = fault.times(times).skipping(u32::try_from(dice.below(3)).expect("small"));
    if dice.below(2) == 0 { fault.after_the_effect() } else { fault }
}

/// What the storm did to Discord.
#[derive(Debug, Default)]
pub struct Done {
    /// Faults that were asked for.
    pub faults: u64,
    /// Requests that Discord saw.
    pub asked: u64,
    /// Refreshes among them.
    pub refreshes: u64,
    /// Refusals among them.
    pub refused: u64,
}

impl Done {
    /// Counts what Discord was asked since the last time.
    fn count(&mut self, discord: &Control) {
        let seen = discord.requests();
        discord.forget_requests();
        self.asked += seen.total;
        self.refreshes += seen.count(Route::Refresh);
        for request in seen.requests {
            assert_ne!(
                request.outcome, "banned",
                "Discord was asked too often after it had refused: {request:?}"
            );
            assert!(!request.secret_in_url, "{request:?}");
            self.refused += u64::from(matches!(request.status, Some(401 | 403 | 429)));
        }
    }
}

/// Lets everything happen for so long; `step` moves time where it does not pass by itself.
pub async fn rages(
    house: &House,
    dice: &mut Dice,
    people: &[DiscordId],
    lasts: Duration,
    longest: u32,
    step: impl Fn(&mut Dice),
) -> Done {
    let (clock, mut done) = (SystemClock::new(), Done::default());
    let discord = house.discord();
    // Discord bans far later; what is asked for here is that we stop long before.
    discord.change_switches(|switches| switches.ban_after = 2_200);
    for n in 0.. {
        if clock.monotonic() >= lasts {
            break;
        }
        discord.add_fault(any_fault(dice, longest));
        done.faults += 1;
        match dice.below(60) {
            0..10 => discord.clear_faults(),
            10..20 => discord.release(),
            20..23 => drop(discord.expire_tokens(None).await),
            23 => drop(discord.deauthorize(dice.pick(people)).await),
            24 => discord.change_switches(|switches| switches.poisoned = vec![dice.pick(people)]),
            25 => discord.change_switches(|switches| switches.poisoned.clear()),
            26 => drop(discord.leave(dice.pick(people), DEMO_GUILD)),
            27 => drop(discord.join(dice.pick(people), Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]))),
            _ => {}
        }
        step(dice);
        if n % 100 == 99 {
            done.count(discord);
        }
        pause(Duration::from_millis(25)).await;
    }
    discord.change_switches(|switches| switches.poisoned.clear());
    for person in people {
        discord.join(*person, Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]));
    }
    discord.clear_faults();
    discord.release();
    done.count(discord);
    done
}

/// Somebody at a browser who does what people do, until it is over; returns how many answers they got.
///
/// They sign in as one of those people after the other: nobody may too often within an hour.
pub async fn somebody(
    mut browser: Browser,
    discord: &Control,
    people: Vec<DiscordId>,
    mut dice: Dice,
    is_over: Arc<AtomicBool>,
) -> u64 {
    let (mut answers, mut turns) = (0, people.iter().cycle());
    while !is_over.load(Ordering::SeqCst) {
        let answer = match dice.below(16) {
            0..5 => browser.fetch("GET", USER).await,
            5..8 => browser.fetch("GET", FRESH).await,
            8..10 => browser.fetch("POST", REFRESH).await,
            10..13 => forward(&mut browser, "GET", "http://localhost/wiki", FETCHES).await,
            13 => browser.navigate(RECHECK).await,
            14 if dice.below(8) == 0 => browser.fetch("POST", "/api/auth/revoke").await,
            14 => browser.fetch("POST", "/api/auth/logout").await,
            _ => signs_in(&mut browser, discord, *turns.next().expect("somebody")).await,
        };
        is_an_answer(&answer);
        answers += 1;
    }
    answers
}

/// Tries to sign in, as often as that may fail; returns the last answer.
pub async fn signs_in(browser: &mut Browser, discord: &Control, id: DiscordId) -> Exchange {
    let from = format!("198.51.100.{}", id.0 % 250);
    let headers = [
        ("Accept", "application/json"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "none"),
        ("X-Forwarded-For", from.as_str()),
    ];
    let begun = browser.send("GET", LOGIN, &headers, "").await;
    if begun.status != 302 {
        return begun;
    }
    let callback = browser.authorize(discord, begun.header("location").expect("a location"), id).await;
    browser.send("GET", &callback, &headers, "").await
}

/// Asserts that somebody was told something that can be told, whatever Discord does.
#[track_caller]
fn is_an_answer(answer: &Exchange) {
    match answer.status {
        200 | 202 | 204 | 302 | 303 | 400 | 401 | 403 | 429 | 502 | 503 => {}
        // An answer of Discord's that is made up can say that our secret is wrong.
        500 if answer.code() == "discord_client_rejected" => {}
        _ => panic!("{answer}"),
    }
}
