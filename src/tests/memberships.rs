//! What people are in Discord's guilds: asked at sign-in, asked again when it is old, and what follows when it changes.

use std::time::Duration;

use doorbook::discord::stand_in::faults::{Fault, FaultKind, LimitScope, RateLimited};
use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_KEEPER, DEMO_ROLE_MAKER};
use doorbook::discord::stand_in::requests::Route;
use doorbook::discord::stand_in::{Membership, Person};
use doorbook::domain::event::{Cause, Event, RevokedBy};
use doorbook::domain::id::DiscordId;
use doorbook::domain::rules::Term;
use doorbook::domain::time::Timestamp;

use crate::guarded::{FETCHES, forward, rule, to};
use crate::harness::{Browser, Exchange, House, MARISOL, Plan, QUIETFOX, START};

const LOGIN: &str = "/api/auth/discord/login";
const USER: &str = "/api/auth/user";
const WIKI: &str = "http://localhost/wiki";
const RECHECK: &str = "/auth/recheck?rd=%2Fwiki";
const JSON: (&str, &str) = ("Accept", "application/json");
const A_SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);
/// Has the role and a verified address.
const OLD_TIMER: DiscordId = DiscordId(129_674_457_911_398_400);
/// What a membership may be old, and how much longer it counts.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
const GRACE: Duration = Duration::from_secs(3_600);

fn makers() -> Term {
    Term::Role { guild: DEMO_GUILD, role: DEMO_ROLE_MAKER }
}

fn by_role() -> Vec<(&'static str, String)> {
    vec![("DOORBOOK_ALLOW", format!("role:{DEMO_GUILD}/{DEMO_ROLE_MAKER}"))]
}

/// Anybody may sign in; the wiki is for those who have the role.
fn guarded() -> Plan {
    Plan { rules: vec![rule("localhost", "/wiki", to(makers()))], ..Plan::default() }
}

/// Only those who have the role may sign in, and the wiki is for all of them.
fn listed() -> Plan {
    Plan { env: by_role(), rules: vec![rule("localhost", "/wiki", to(Term::SignedIn))], ..Plan::default() }
}

/// Asks for the wiki as a proxy does for a script.
async fn wiki(browser: &mut Browser) -> Exchange {
    forward(browser, "GET", WIKI, FETCHES).await
}

#[track_caller]
fn says(answer: &Exchange, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer}");
}

impl House {
    fn gives(&self, user: DiscordId, roles: &[DiscordId]) {
        assert!(self.discord().join(user, Membership::new(DEMO_GUILD, roles)));
    }

    /// How often Discord was asked what somebody is in a guild.
    fn asked(&self) -> u64 {
        self.discord().count(Route::Member)
    }

    /// Asks for the wiki until a check in the background has been concluded.
    async fn until_wiki_says(&self, browser: &mut Browser, status: u16) {
        for _ in 0..3_000 {
            if wiki(browser).await.status == status {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not: {}", wiki(browser).await);
    }

    async fn callback(&self, user: DiscordId) -> (Browser, String) {
        let mut browser = self.browser();
        let begun = browser.begin(LOGIN).await;
        let callback = browser.authorize(self.discord(), &begun, user).await;
        (browser, callback)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_role_comes_in_and_nobody_else() {
    let house = House::with(listed()).await;
    let begun = house.browser().begin(LOGIN).await;
    assert!(begun.contains("guilds.members.read"), "what the rules need is asked for: {begun}");
    let mut browser = house.signed_in(MARISOL).await;
    assert_eq!((wiki(&mut browser).await.status, house.asked()), (200, 1), "one guild, one call");
    for user in [QUIETFOX, DiscordId(993_617_488_203_104_257)] {
        let (mut browser, callback) = house.callback(user).await;
        says(&browser.send("GET", &callback, &[JSON], "").await, 403, "sign_in_not_allowed");
    }
    house.gives(QUIETFOX, &[DEMO_ROLE_MAKER]);
    let _ = house.signed_in(QUIETFOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_discord_does_not_say_nobody_comes_in_of_whom_it_decides() {
    let json = |status, body: &str| FaultKind::Answer {
        status,
        headers: [("Content-Type".to_owned(), "application/json".to_owned())].into(),
        body: body.into(),
    };
    let limited = RateLimited { scope: LimitScope::User, retry_after: 65.0, ..RateLimited::default() };
    let cases = [
        (FaultKind::ServerError { status: 503, body: None }, 502, "discord_unavailable"),
        (FaultKind::RateLimited(limited), 503, "discord_rate_limited"),
        (json(404, r#"{"message": "404: Not Found", "code": 0}"#), 502, "discord_unavailable"),
        (json(401, r#"{"message": "401: Unauthorized", "code": 0}"#), 502, "discord_unavailable"),
        (json(403, r#"{"message": "Missing scope", "code": 50026}"#), 502, "discord_unavailable"),
        (json(200, r#"{"roles": null}"#), 502, "discord_unavailable"),
    ];
    let house = House::with(listed()).await;
    for (kind, status, code) in cases {
        let (mut browser, callback) = house.callback(MARISOL).await;
        house.discord().add_fault(Fault::new(Route::Member, kind));
        let refused = house.as_time_passes(STEP, browser.send("GET", &callback, &[JSON], "")).await;
        says(&refused, status, code);
        house.discord().clear_faults();
        house.clock.advance(A_MINUTE);
    }
    assert_eq!(house.doorbook().app.sessions().len(), 0);

    // Whom the list names besides does not depend on it, and what is not known yet is got later.
    let mut plan = listed();
    plan.env[0].1 += &format!(",user:{MARISOL}");
    plan.rules = guarded().rules;
    let house = House::with(plan).await;
    house.discord().add_fault(Fault::new(Route::Member, json(404, "{}")).once());
    let mut browser = house.signed_in(MARISOL).await;
    says(&wiki(&mut browser).await, 401, "membership_unknown");
    house.clock.advance(Duration::from_secs(10));
    let back = browser.navigate(RECHECK).await;
    assert_eq!((back.status, back.header("location")), (303, Some("/wiki")), "{back}");
    assert_eq!(wiki(&mut browser).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_ends_a_sign_in_in_time() {
    let house = House::with(listed()).await;
    let (mut browser, callback) = house.callback(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold));
    let answer = browser.send("GET", &callback, &[JSON], "");
    says(&house.as_time_passes(A_SECOND, answer).await, 502, "discord_unavailable");
    house.discord().release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_lost_in_discord_ends_access_and_the_session_goes_on() {
    let house = House::with(guarded()).await;
    let mut browser = house.signed_in(MARISOL).await;
    house.gives(MARISOL, &[DEMO_ROLE_KEEPER]);
    house.clock.advance(MAX_AGE - A_SECOND);
    assert_eq!((wiki(&mut browser).await.status, house.asked()), (200, 1), "it still counts");
    house.clock.advance(A_SECOND);
    assert_eq!(wiki(&mut browser).await.status, 200, "nobody waits for Discord on the way to an app");
    house.until_wiki_says(&mut browser, 403).await;
    assert_eq!((house.asked(), browser.fetch("GET", USER).await.status), (2, 200));
    house.clock.advance(MAX_AGE - A_SECOND);
    says(&wiki(&mut browser).await, 403, "not_allowed");
}

/// What lets somebody in, and how Marisol loses it at Discord.
type Loss = (String, fn(&House));

fn losses() -> [Loss; 2] {
    let role = |house: &House| house.gives(MARISOL, &[DEMO_ROLE_KEEPER]);
    let address =
        |house: &House| assert!(house.discord().change_person(MARISOL, |person| person.verified = false));
    [(format!("role:{DEMO_GUILD}/{DEMO_ROLE_MAKER}"), role), ("email:example.test".into(), address)]
}

/// Only those whom `allow` names come in, and their sessions end with what lets them in.
fn strict(allow: String) -> Plan {
    let env = vec![("DOORBOOK_ALLOW", allow), ("DOORBOOK_ROLE_LOST", "end-session".into())];
    Plan { env, ..listed() }
}

/// Returns the sizes of the groups in which sessions ended for what was lost.
fn sessions_lost(house: &House) -> Vec<usize> {
    let ended = house.events().into_iter().filter_map(|(_, event)| match event {
        Event::SessionRevoked { sessions, cause: Cause::RoleLost, .. } => Some(sessions.len()),
        _ => None,
    });
    ended.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_lost_ends_the_sessions_where_that_is_wanted() {
    for (allow, loses) in losses() {
        let mut house = House::with(strict(allow)).await;
        let mut browser = house.signed_in(MARISOL).await;
        let _elsewhere = house.signed_in(MARISOL).await;
        let mut other = house.signed_in(OLD_TIMER).await;
        loses(&house);
        house.clock.advance(MAX_AGE);
        assert_eq!((wiki(&mut browser).await.status, wiki(&mut other).await.status), (200, 200));
        house.until(|state| state.sessions().count() == 1).await;
        says(&browser.fetch("GET", USER).await, 401, "not_signed_in");
        assert_eq!(other.fetch("GET", USER).await.status, 200);
        let (mut late, callback) = house.callback(MARISOL).await;
        says(&late.send("GET", &callback, &[JSON], "").await, 403, "sign_in_not_allowed");
        house.stop().await;
        assert_eq!(sessions_lost(&house), [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_at_a_sign_in_loses_the_sessions_they_have_where_that_is_wanted() {
    for (allow, loses) in losses() {
        for ends in [true, false] {
            let mut plan = strict(allow.clone());
            plan.env.retain(|(name, _)| ends || *name != "DOORBOOK_ROLE_LOST");
            let mut house = House::with(plan).await;
            let mut browser = house.signed_in(MARISOL).await;
            loses(&house);
            let (mut elsewhere, callback) = house.callback(MARISOL).await;
            says(&elsewhere.send("GET", &callback, &[JSON], "").await, 403, "sign_in_not_allowed");
            assert_eq!(browser.fetch("GET", USER).await.status, if ends { 401 } else { 200 });
            house.stop().await;
            assert_eq!(sessions_lost(&house).len(), usize::from(ends));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fact_ends_no_session() {
    let other_guild = DiscordId(42);
    let allow = format!("role:{DEMO_GUILD}/{DEMO_ROLE_MAKER},guild:{other_guild}");
    let house = House::with(strict(allow)).await;
    // What Discord says of the other server cannot be read: it may still let her in.
    let unreadable = Membership { nick: Some("n".repeat(2_000)), ..Membership::new(other_guild, &[]) };
    assert!(house.discord().join(MARISOL, unreadable));
    let mut browser = house.signed_in(MARISOL).await;
    house.gives(MARISOL, &[]);
    house.clock.advance(MAX_AGE + GRACE);
    let head = house.head();
    says(&wiki(&mut browser).await, 401, "membership_unknown");
    house.discord().wait_for(Route::Member, 4).await;
    house.until(|state| state.position() != head).await;
    assert_eq!(browser.fetch("GET", USER).await.status, 200);
    says(&wiki(&mut browser).await, 401, "membership_unknown");

    assert!(house.discord().leave(MARISOL, other_guild));
    house.clock.advance(A_MINUTE);
    says(&wiki(&mut browser).await, 401, "membership_unknown");
    house.until(|state| state.sessions().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_asked_about_again_at_once_but_not_within_ten_seconds() {
    let role: fn(&House) = |house| house.gives(QUIETFOX, &[DEMO_ROLE_MAKER]);
    let address: fn(&House) = |house| {
        assert!(house.discord().change_person(QUIETFOX, |person| {
            (person.email, person.verified) = (Some("quietfox@example.test".into()), true);
        }));
    };
    for (plan, gains, route) in [(guarded(), role, Route::Member), (addressed(), address, Route::Me)] {
        let house = House::with(plan).await;
        let mut browser = house.signed_in(QUIETFOX).await;
        gains(&house);
        house.clock.advance(Duration::from_secs(9));
        says(&wiki(&mut browser).await, 403, "not_allowed");
        assert_eq!(house.discord().count(route), 1);
        house.clock.advance(A_SECOND);
        says(&wiki(&mut browser).await, 403, "not_allowed");
        house.until_wiki_says(&mut browser, 200).await;
        assert_eq!(house.discord().count(route), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_discord_is_down_facts_count_through_the_grace_and_no_longer() {
    for plan in [guarded(), addressed()] {
        let mut house = House::with(plan).await;
        let mut browser = house.signed_in(MARISOL).await;
        house.discord_goes_down().await;
        house.clock.advance(MAX_AGE + GRACE - A_MINUTE);
        for _ in 0..3 {
            let answer = house.as_time_passes(STEP, wiki(&mut browser)).await;
            assert_eq!(answer.status, 200, "{answer}");
        }
        house.clock.advance(A_MINUTE);
        says(&wiki(&mut browser).await, 401, "membership_unknown");
        let page = house.as_time_passes(STEP, browser.navigate(RECHECK)).await;
        assert_eq!(page.status, 502, "{page}");
        assert!(page.body.contains("Try again"), "{page}");
        assert_eq!(browser.fetch("GET", USER).await.status, 200, "the session goes on");

        house.discord_comes_up().await;
        house.clock.advance(A_MINUTE);
        let back = house.as_time_passes(STEP, browser.navigate(RECHECK)).await;
        assert_eq!((back.status, back.header("location")), (303, Some("/wiki")), "{back}");
        assert_eq!(wiki(&mut browser).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_failed_is_made_again_after_half_a_minute() {
    for (plan, route) in [(guarded(), Route::Member), (addressed(), Route::Me)] {
        let house = House::with(plan).await;
        let mut browser = house.signed_in(MARISOL).await;
        let odd = FaultKind::Answer { status: 404, headers: Default::default(), body: "{}".into() };
        house.discord().add_fault(Fault::new(route, odd).once());
        house.clock.advance(MAX_AGE);
        assert_eq!(wiki(&mut browser).await.status, 200);
        house.discord().wait_for(route, 2).await;
        let mut waited = Duration::ZERO;
        while house.discord().count(route) == 2 {
            house.clock.advance(A_SECOND);
            waited += A_SECOND;
            assert_eq!(wiki(&mut browser).await.status, 200);
            assert!(waited < 3 * A_MINUTE, "it is not made again");
        }
        // Time goes on while the answer is on its way.
        assert!(waited >= Duration::from_secs(30), "after {waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_every_fact_is_due_and_its_grace_begins() {
    let mut house = House::with(guarded()).await;
    let browser = house.signed_in(MARISOL).await;
    house.gives(MARISOL, &[]);
    house.restart().await;
    let mut browser = browser.at(&house);
    assert_eq!(wiki(&mut browser).await.status, 200);
    house.until_wiki_says(&mut browser, 403).await;
    assert_eq!(house.asked(), 2);

    house.gives(MARISOL, &[DEMO_ROLE_MAKER]);
    house.clock.advance(Duration::from_secs(10));
    assert_eq!(browser.navigate(RECHECK).await.status, 303);
    house.clock.advance(10 * (MAX_AGE + GRACE));
    house.discord_goes_down().await;
    house.restart().await;
    let mut browser = browser.at(&house);
    assert_eq!(wiki(&mut browser).await.status, 200, "however old it was when we stopped");
    house.clock.advance(GRACE);
    says(&wiki(&mut browser).await, 401, "membership_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ran_out_is_renewed_once_and_then_asked_with() {
    let house = House::with(guarded()).await;
    let mut browser = house.signed_in(MARISOL).await;
    house.discord().expire_tokens(None).await.expect("stores");
    house.gives(MARISOL, &[]);
    house.clock.advance(MAX_AGE);
    assert_eq!(wiki(&mut browser).await.status, 200);
    house.until_wiki_says(&mut browser, 403).await;
    let count = |route| house.discord().count(route);
    assert_eq!((count(Route::Member), count(Route::Refresh)), (3, 1));
    assert_eq!(browser.fetch("GET", USER).await.status, 200);

    // One of which we know that it has run out is not shown at all.
    house.clock.advance(Duration::from_secs(7 * 86_400 - 3_600));
    let _ = browser.navigate(RECHECK).await;
    assert_eq!((count(Route::Member), count(Route::Refresh)), (4, 1));
    house.clock.advance(Duration::from_secs(3_600));
    let _ = browser.navigate(RECHECK).await;
    assert_eq!((count(Route::Member), count(Route::Refresh)), (5, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_found_dead_ends_the_sessions() {
    for poisoned in [false, true] {
        let mut house = House::with(guarded()).await;
        let mut browser = house.signed_in(MARISOL).await;
        let (source, cause) = if poisoned {
            house.discord().change_switches(|switches| switches.poisoned = vec![MARISOL]);
            house.discord().expire_tokens(None).await.expect("stores");
            (RevokedBy::TokenRefused, Cause::TokenRefused)
        } else {
            house.discord().deauthorize(MARISOL).await.expect("stores");
            (RevokedBy::InvalidGrant, Cause::DiscordDeauthorized)
        };
        house.clock.advance(MAX_AGE);
        assert_eq!(wiki(&mut browser).await.status, 200);
        house.until(|state| state.sessions().count() == 0).await;
        says(&wiki(&mut browser).await, 401, "not_signed_in");
        let count = |route| house.discord().count(route);
        assert_eq!((count(Route::Member), count(Route::Refresh)), (2, 1), "no loop");
        house.stop().await;
        let events: Vec<Event> = house.events().into_iter().map(|(_, event)| event).collect();
        let revoked = |event: &Event| matches!(event, Event::GrantRevoked { source: s, .. } if *s == source);
        let ended = |event: &Event| matches!(event, Event::SessionRevoked { cause: c, .. } if *c == cause);
        assert!(events.iter().any(revoked) && events.iter().any(ended), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_that_may_not_ask_is_not_shown_again_and_a_sign_in_helps() {
    let house = House::with(guarded()).await;
    let mut browser = house.signed_in(MARISOL).await;
    let headers = || [("Content-Type".to_owned(), "application/json".to_owned())].into();
    let body = r#"{"message": "401: Unauthorized", "code": 0}"#.to_owned();
    let refused = FaultKind::Answer { status: 401, headers: headers(), body };
    house.discord().add_fault(Fault::new(Route::Member, refused));
    house.clock.advance(MAX_AGE);
    let before = house.discord().count(Route::Me);
    assert_eq!(wiki(&mut browser).await.status, 200);
    house.discord().wait_for(Route::Me, before + 1).await;
    for _ in 0..5 {
        house.clock.advance(A_MINUTE);
        assert_eq!(wiki(&mut browser).await.status, 200);
    }
    let sent = browser.navigate(RECHECK).await;
    assert_eq!(sent.status, 302, "{sent}");
    let count = |route| house.discord().count(route);
    assert_eq!((count(Route::Member), count(Route::Refresh)), (2, 0));
    assert_eq!(browser.fetch("GET", USER).await.status, 200, "the authorization is not dead");

    house.discord().clear_faults();
    let location = sent.header("location").expect("a location").to_owned();
    let callback = browser.authorize(house.discord(), &location, MARISOL).await;
    assert_eq!(browser.navigate(&callback).await.status, 303);
    house.clock.advance(MAX_AGE);
    assert_eq!(wiki(&mut browser).await.status, 200);
    house.discord().wait_for(Route::Member, 4).await;
}

/// One of the invented people.
fn somebody(number: u64) -> DiscordId {
    DiscordId(900_000_000_000_000_000 + number)
}

/// Signs so many invented people in who have the role.
async fn crowd(house: &House, size: u64) -> Vec<Browser> {
    let mut crowd = Vec::new();
    for number in 1..=size {
        let membership = Membership::new(DEMO_GUILD, &[DEMO_ROLE_MAKER]);
        let id = somebody(number);
        house
            .discord()
            .put_person(Person { guilds: vec![membership], ..Person::new(id, format!("person{number}")) });
        crowd.push(house.signed_in(id).await);
    }
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_people_are_a_hundred_calls_however_often_they_come_and_eight_at_a_time() {
    const CROWD: u64 = 100;
    let house = House::with(guarded()).await;
    let crowd = crowd(&house, CROWD).await;
    assert_eq!(house.asked(), CROWD);
    house.clock.advance(MAX_AGE);
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold));
    let comes = crowd.iter().flat_map(|browser| std::iter::repeat_n(browser, 3)).map(|browser| {
        let mut browser = browser.clone();
        async move { wiki(&mut browser).await.status }
    });
    let statuses = futures_util::future::join_all(comes).await;
    assert!(statuses.iter().all(|status| *status == 200), "nobody waits");
    house.discord().wait_until_held(8).await;
    assert_eq!(house.asked(), CROWD + 8, "the rest waits for its turn");
    house.discord().clear_faults();
    house.discord().release();
    house.discord().wait_for(Route::Member, 2 * CROWD).await;
    for browser in &crowd {
        assert_eq!(wiki(&mut browser.clone()).await.status, 200);
    }
    assert_eq!(house.asked(), 2 * CROWD, "one for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_wait_sixteen_are_asked_about_at_a_time() {
    const CROWD: u64 = 20;
    let house = House::with(guarded()).await;
    let crowd = crowd(&house, CROWD).await;
    house.clock.advance(Duration::from_secs(10));
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold));
    let waiting = crowd.iter().cloned().map(|mut browser| {
        tokio::spawn(async move {
            let back = browser.navigate(RECHECK).await;
            (back.status, back.header("location").map(str::to_owned))
        })
    });
    let waiting: Vec<_> = waiting.collect();
    house.discord().wait_until_held(16).await;
    for browser in &crowd {
        assert_eq!(
            browser.clone().fetch("GET", USER).await.status,
            200,
            "who does not wait is not kept waiting"
        );
    }
    assert_eq!(house.asked(), CROWD + 16);
    house.discord().clear_faults();
    house.discord().release();
    for back in waiting {
        assert_eq!(back.await.expect("an answer"), (303, Some("/wiki".to_owned())));
    }
    assert_eq!(house.asked(), 2 * CROWD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_waits_for_its_turn_is_not_made_while_discord_is_to_be_left_alone() {
    const CROWD: u64 = 20;
    let house = House::with(guarded()).await;
    let mut crowd = crowd(&house, CROWD).await;
    for number in 1..=CROWD {
        house.gives(somebody(number), &[]);
    }
    house.clock.advance(MAX_AGE);
    // Eight are under way. The ninth waits for its turn, and others behind it.
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold).times(8));
    for browser in &mut crowd {
        assert_eq!(wiki(browser).await.status, 200);
    }
    house.discord().wait_until_held(8).await;
    let mut ninth = crowd.remove(8);
    let odd = FaultKind::Answer { status: 404, headers: Default::default(), body: "{}".into() };
    house.discord().add_fault(Fault::new(Route::Member, odd).once());
    assert_eq!(ninth.navigate(RECHECK).await.status, 303, "asked meanwhile, and Discord did not say");
    house.clock.advance(Duration::from_secs(10));
    house.discord().release();
    for browser in &mut crowd {
        house.until_wiki_says(browser, 403).await;
    }
    assert_eq!(wiki(&mut ninth).await.status, 200, "what is known counts until it may be asked for");
    house.clock.advance(Duration::from_secs(20));
    house.until_wiki_says(&mut ninth, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_ends_far_below_what_discord_bans_for() {
    let json = |status, body: &str| FaultKind::Answer {
        status,
        headers: [("Content-Type".to_owned(), "application/json".to_owned())].into(),
        body: body.into(),
    };
    let limited = RateLimited { scope: LimitScope::User, retry_after: 11.0, ..RateLimited::default() };
    let refused = || json(401, r#"{"message": "401: Unauthorized", "code": 0}"#);
    let storms: [(&[Fault], u64); 3] = [
        // Nobody's token is good, and no refresh is answered.
        (
            &[
                Fault::new(Route::Member, refused()),
                Fault::new(Route::Me, refused()),
                Fault::new(Route::Refresh, FaultKind::ServerError { status: 500, body: None }),
            ],
            2,
        ),
        (&[Fault::new(Route::Member, json(403, r#"{"message": "Missing Access", "code": 50001}"#))], 2),
        (&[Fault::new(Route::Member, FaultKind::RateLimited(limited))], 12),
    ];
    for (storm, seconds) in storms {
        let mut plan = guarded();
        plan.env.push(("DOORBOOK_MEMBERSHIP_MAX_AGE", "1s".into()));
        let house = House::with(plan).await;
        let mut crowd = crowd(&house, 40).await;
        house.discord().change_switches(|switches| switches.ban_after = 1_000);
        storm.iter().for_each(|fault| house.discord().add_fault(fault.clone()));
        let refusals = || {
            let all = house.discord().requests().requests;
            all.iter().filter(|request| matches!(request.status, Some(401 | 403 | 429))).count()
        };
        // Everybody comes again and again, for less than ten minutes.
        for _ in 0..40 {
            house.clock.advance(Duration::from_secs(seconds));
            for browser in &mut crowd {
                assert_eq!(wiki(browser).await.status, 200);
            }
        }
        let spent = refusals();
        assert!((500..530).contains(&spent), "{spent} refusals");
        assert!(house.discord().requests().requests.iter().all(|request| request.outcome != "banned"));
        // Whoever signs in is still served.
        house.discord().clear_faults();
        let _ = house.signed_in(MARISOL).await;
        // And when it is long over, people are asked about again.
        house.clock.advance(Duration::from_secs(1_200));
        let before = house.asked();
        assert_eq!(wiki(&mut crowd[0]).await.status, 200);
        house.discord().wait_for(Route::Member, before + 1).await;
    }
}

/// The wiki is for those who have a verified address there.
fn addressed() -> Plan {
    let here = Term::EmailDomain("example.test".into());
    Plan { rules: vec![rule("localhost", "/wiki", to(here))], ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_lost_at_discord_ends_access_as_a_role_does() {
    let house = House::with(addressed()).await;
    let mut browser = house.signed_in(MARISOL).await;
    assert_eq!(wiki(&mut browser).await.status, 200);
    assert!(house.discord().change_person(MARISOL, |person| person.verified = false));
    house.clock.advance(MAX_AGE - A_SECOND);
    assert_eq!(wiki(&mut browser).await.status, 200, "as good as new");
    house.clock.advance(A_SECOND);
    assert_eq!(wiki(&mut browser).await.status, 200, "used while Discord is asked");
    house.until_wiki_says(&mut browser, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_lets_no_fact_count_for_longer() {
    for plan in [guarded(), addressed()] {
        let mut house = House::with(plan).await;
        let mut browser = house.signed_in(MARISOL).await;
        house.discord_goes_down().await;
        house.clock.step_to(Timestamp(START.0 - 3_600_000));
        house.clock.advance(MAX_AGE + GRACE);
        says(&wiki(&mut browser).await, 401, "membership_unknown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_grant_is_not_told_while_they_sign_in_the_new_one_is_asked_for() {
    let house = House::with(guarded()).await;
    let mut browser = house.signed_in(MARISOL).await;
    house.clock.advance(Duration::from_secs(10));
    house.discord().add_fault(Fault::new(Route::Member, FaultKind::Hold).once());
    let waiting = tokio::spawn(async move { browser.navigate(RECHECK).await.status });
    house.discord().wait_until_held(1).await;
    let _elsewhere = house.signed_in(MARISOL).await;
    let asked = house.asked();
    house.discord().release();
    assert_eq!(waiting.await.expect("an answer"), 303);
    assert_eq!(house.asked(), asked + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_as_old_as_the_question_that_it_answers() {
    let house = House::with(addressed()).await;
    let mut browser = house.signed_in(MARISOL).await;
    assert!(house.discord().change_person(MARISOL, |person| person.global_name = Some("Mari".into())));
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).once());
    house.clock.advance(MAX_AGE);
    let head = house.head();
    assert_eq!(wiki(&mut browser).await.status, 200);
    house.discord().wait_until_held(1).await;
    house.clock.advance(A_MINUTE);
    house.discord().release();
    house.until(|state| state.position() != head).await;
    house.clock.advance(MAX_AGE - A_MINUTE);
    for _ in 0..3_000 {
        assert_eq!(wiki(&mut browser).await.status, 200);
        if house.discord().count(Route::Me) == 3 {
            return;
        }
    }
    panic!("it is not asked for again");
}
