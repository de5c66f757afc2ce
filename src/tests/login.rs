//! Signing in, and every way it can go wrong.

use std::time::Duration;

use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;

use crate::harness::{Browser, Exchange, House, MARISOL, ORIGIN, Plan, QUIETFOX};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_and_is_who_they_are() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let user = browser.fetch("GET", "/api/auth/user").await;
    assert_eq!(user.status, 200, "{user}");
    assert_eq!(user.json()["id"], "555769466601213960");
    assert_eq!(user.json()["display_name"], "Marisol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_restart_because_the_log_is_replayed() {
    let mut house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    let lived = format!("{:?}", house.doorbook().app.state());
    house.restart().await;
    let mut browser = browser.at(&house);
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
    let replayed = format!("{:?}", house.doorbook().app.state());
    let users = |state: &str| state.split_once("users:").map(|(_, rest)| rest.to_owned());
    assert_eq!(users(&replayed), users(&lived));
}

const CALLBACK: &str = "/api/auth/discord/redirect";
const LOGIN: &str = "/api/auth/discord/login";
const JSON: (&str, &str) = ("Accept", "application/json");

fn state_of(location: &str) -> String {
    let (_, rest) = location.split_once("state=").expect("a state");
    rest.split('&').next().expect("a state").to_owned()
}

/// The cookie that a browser shows, whatever else it holds.
fn with_cookie(value: &str) -> String {
    format!("doorbook={value}")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cancels_at_discord_is_back_on_the_front_page() {
    let house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let played = house.discord().authorize(&begun, MARISOL, false).await.expect("back");
    let callback = played.location.strip_prefix(ORIGIN).expect("ours").to_owned();
    let landed = browser.navigate(&callback).await;
    assert_eq!((landed.status, landed.header("location")), (303, Some("/?signin=cancelled")), "{landed}");
    assert!(browser.cookies.is_empty(), "the attempt is over: {:?}", browser.cookies);

    let begun = browser.begin(LOGIN).await;
    let played = house.discord().authorize(&begun, MARISOL, false).await.expect("back");
    let callback = played.location.strip_prefix(ORIGIN).expect("ours").to_owned();
    let landed = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((landed.status, landed.code().as_str()), (403, "sign_in_cancelled"), "{landed}");
    assert_eq!(house.discord().count(Route::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_this_browsers_is_refused_and_discord_is_not_asked() {
    let house = House::open().await;
    let (mut mine, mut theirs) = (house.browser(), house.browser());
    let my_login = mine.begin(LOGIN).await;
    let their_login = theirs.begin(LOGIN).await;
    let my_state = state_of(&my_login);
    let lured = theirs.authorize(house.discord(), &their_login, QUIETFOX).await;
    let long = "s".repeat(2_049);
    let wrong = [
        lured,
        format!("{CALLBACK}?code=c"),
        format!("{CALLBACK}?code=c&state="),
        format!("{CALLBACK}?code=c&state=unknown"),
        format!("{CALLBACK}?code=c&state={long}"),
        format!("{CALLBACK}?code=c&state=%ff%fe"),
        format!("{CALLBACK}?code=c&state={my_state}&state={my_state}"),
        format!("{CALLBACK}?error=access_denied&state=unknown"),
    ];
    for callback in wrong {
        let landed = mine.send("GET", &callback, &[JSON], "").await;
        assert_eq!((landed.status, landed.code().as_str()), (400, "state_mismatch"), "{callback}: {landed}");
        assert!(!mine.cookies.contains_key("doorbook"));
    }
    assert_eq!(house.discord().count(Route::Token), 0);

    let callback = mine.authorize(house.discord(), &my_login, MARISOL).await;
    assert_eq!(mine.navigate(&callback).await.status, 303, "the attempt itself is untouched");
}

/// The code of one callback and the state of another attempt.
fn crossed(code_of: &str, state_of_login: &str) -> String {
    let (_, rest) = code_of.split_once("code=").expect("a code");
    let code = rest.split('&').next().expect("a code");
    format!("{CALLBACK}?code={code}&state={}", state_of(state_of_login))
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_code_is_refused_by_the_verifier_and_somebody_elses_state_by_the_browser() {
    let house = House::open().await;
    // A refusal is for what is wrong with a code, then, and not because it was tried before.
    house.discord().change_switches(|switches| switches.failed_attempt_burns_code = false);
    let (mut mine, mut theirs) = (house.browser(), house.browser());
    let (my_login, their_login) = (mine.begin(LOGIN).await, theirs.begin(LOGIN).await);
    let my_callback = mine.authorize(house.discord(), &my_login, MARISOL).await;
    let their_callback = theirs.authorize(house.discord(), &their_login, QUIETFOX).await;

    // Whoever saw my callback puts my code into an attempt of theirs; or has me sign in with a code of theirs.
    let (my_other, their_other) = (mine.begin(LOGIN).await, theirs.begin(LOGIN).await);
    let injected = [
        (&mut theirs, crossed(&my_callback, &their_other)),
        (&mut mine, crossed(&their_callback, &my_other)),
    ];
    for (asked, (browser, callback)) in (1..).zip(injected) {
        let landed = browser.send("GET", &callback, &[JSON], "").await;
        assert_eq!((landed.status, landed.code().as_str()), (400, "code_rejected"), "{landed}");
        assert!(!browser.cookies.contains_key("doorbook"), "{landed}");
        assert_eq!(
            house.discord().count(Route::Token),
            asked,
            "the state was right, and the verifier was not"
        );
    }
    // With the state that belongs to the code there is no attempt in that browser, and Discord is not asked.
    for (browser, callback) in [(&mut theirs, &my_callback), (&mut mine, &their_callback)] {
        let landed = browser.send("GET", callback, &[JSON], "").await;
        assert_eq!((landed.status, landed.code().as_str()), (400, "state_mismatch"), "{landed}");
        assert!(!browser.cookies.contains_key("doorbook"), "{landed}");
    }
    assert_eq!(house.discord().count(Route::Token), 2);
    assert!(house.doorbook().app.sessions().is_empty(), "nobody is signed in, as whomever");
    let tokens: usize = house.discord().grants().iter().map(|grant| grant.access_tokens).sum();
    assert_eq!(tokens, 0, "no code became a token");

    // Each is good where it belongs.
    for (browser, callback, user) in
        [(&mut mine, my_callback, MARISOL), (&mut theirs, their_callback, QUIETFOX)]
    {
        assert_eq!(browser.navigate(&callback).await.status, 303);
        assert_eq!(browser.fetch("GET", "/api/auth/user").await.json()["id"], user.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_again_leads_to_the_target_and_opens_nothing() {
    let house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(&format!("{LOGIN}?rd=%2Faccount")).await;
    let before = browser.clone();
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.navigate(&callback).await;
    assert_eq!((landed.status, landed.header("location")), (303, Some("/account")), "{landed}");

    let again = browser.navigate(&callback).await;
    assert_eq!((again.status, again.header("location")), (303, Some("/account")), "{again}");
    assert!(again.header("set-cookie").is_none(), "{again}");
    let mut copied = before;
    let again = copied.send("GET", &callback, &[JSON], "").await;
    assert_eq!((again.status, again.code().as_str()), (400, "state_mismatch"), "{again}");
    let again = house.browser().send("GET", &callback, &[JSON], "").await;
    assert_eq!((again.status, again.code().as_str()), (400, "state_mismatch"), "{again}");
    assert_eq!(house.discord().count(Route::Token), 1);
    let listed = browser.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_even_after_a_restart() {
    let mut house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let before = browser.clone();
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    assert_eq!(browser.navigate(&callback).await.status, 303);
    house.restart().await;
    let again = before.at(&house).send("GET", &callback, &[JSON], "").await;
    assert_eq!((again.status, again.code().as_str()), (400, "code_rejected"), "{again}");
    assert_eq!(browser.at(&house).fetch("GET", "/api/auth/user").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callbacks_at_once_get_the_same_answer_and_ask_discord_once() {
    let house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Token, FaultKind::Hold).once());
    let hit = |mut tab: Browser| {
        let callback = callback.clone();
        tokio::spawn(async move { tab.navigate(&callback).await })
    };
    let first = hit(browser.clone());
    house.discord().wait_until_held(1).await;
    let mut second = hit(browser.clone());
    let third = house.browser().send("GET", &callback, &[JSON], "").await;
    assert_eq!((third.status, third.code().as_str()), (400, "state_mismatch"), "not their attempt: {third}");
    // Nothing tells that a request waits inside; that it is not answered for so long must do.
    let early = tokio::time::timeout(Duration::from_millis(700), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    house.discord().release();
    let (first, second) = (first.await.expect("an answer"), second.await.expect("an answer"));
    assert_eq!(first.status, 303, "{first}");
    let cookie = |answer: &Exchange| {
        let mut all = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
        all.find(|(_, value)| value.starts_with("doorbook=")).map(|(_, value)| value.clone())
    };
    assert!(cookie(&first).is_some(), "{first}");
    assert_eq!(cookie(&first), cookie(&second));
    assert_eq!((second.status, second.header("location")), (303, first.header("location")), "{second}");
    assert_eq!(house.discord().count(Route::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_sign_in_side_by_side() {
    let house = House::open().await;
    let mut browser = house.browser();
    let one = browser.begin(&format!("{LOGIN}?rd=%2F%3Ftab%3D1")).await;
    let two = browser.begin(&format!("{LOGIN}?next=%2F%3Ftab%3D2")).await;
    let two = browser.authorize(house.discord(), &two, MARISOL).await;
    let one = browser.authorize(house.discord(), &one, MARISOL).await;
    assert_eq!(browser.navigate(&two).await.header("location"), Some("/?tab=2"));
    assert_eq!(browser.navigate(&one).await.header("location"), Some("/?tab=1"));
    let listed = browser.fetch("GET", "/api/auth/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "the second replaced the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_over_after_ten_minutes() {
    let house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    house.clock.advance(Duration::from_secs(599));
    let in_time = browser.authorize(house.discord(), &begun, MARISOL).await;
    assert_eq!(browser.clone().navigate(&in_time).await.status, 303);

    let begun = browser.begin(LOGIN).await;
    house.clock.advance(Duration::from_secs(600));
    let late = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.send("GET", &late, &[JSON], "").await;
    assert_eq!((landed.status, landed.code().as_str()), (400, "state_mismatch"), "{landed}");
    assert_eq!(house.discord().count(Route::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_cannot_be_one_is_refused_without_asking_discord() {
    let house = House::open().await;
    let mut browser = house.browser();
    let long = format!("&code={}", "c".repeat(8_192));
    let wrong = [
        ("", "code_rejected"),
        ("&code=", "code_rejected"),
        ("&code=a&code=b", "code_rejected"),
        (long.as_str(), "code_rejected"),
        ("&code=%ff%fe", "code_rejected"),
        ("&error=server_error", "authorization_failed"),
        ("&error=invalid_scope&code=c", "authorization_failed"),
        ("&error=", "authorization_failed"),
        ("&error=access_denied&error=access_denied", "authorization_failed"),
        ("&error=%ff", "authorization_failed"),
        ("&error=%3Cscript%3E", "authorization_failed"),
    ];
    for (query, code) in wrong {
        let begun = browser.begin(LOGIN).await;
        let callback = format!("{CALLBACK}?state={}{query}", state_of(&begun));
        let landed = browser.send("GET", &callback, &[JSON], "").await;
        assert_eq!((landed.status, landed.code().as_str()), (400, code), "{query}: {landed}");
        assert!(!landed.body.contains("<script>"));
    }
    assert_eq!(house.discord().count(Route::Token), 0);

    let begun = browser.begin(LOGIN).await;
    let callback = format!("{CALLBACK}?state={}&code=made-up", state_of(&begun));
    let landed = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((landed.status, landed.code().as_str()), (400, "code_rejected"), "{landed}");
    assert_eq!(house.discord().count(Route::Token), 1, "only Discord can know");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_returns_only_to_us() {
    let house = House::open().await;
    let hostile = [
        "rd=https%3A%2F%2Fevil.example",
        "rd=%2F%2Fevil.example",
        "rd=%2F%5Cevil.example",
        "rd=%5C%5Cevil.example",
        "rd=javascript%3Aalert(1)",
        "rd=%2F%09%2Fevil.example",
        "rd=http%3A%2F%2Flocalhost%3A3001%40evil.example",
        "rd=http%3A%2F%2Flocalhost%3A3002%2F",
        "rd=%2Fa%252fb",
        "rd=%2Fapi%2Fauth%2Fdiscord%2Flogin",
        "rd=%2Fx%2F..%2Fapi%2Fauth%2Frevoke",
        "rd=",
        "rd=%2Fa&rd=%2Fa",
        "rd=%2Fa&next=%2Fa",
        "rd=%ff",
    ];
    for query in hostile {
        let mut browser = house.browser();
        let refused = browser.send("GET", &format!("{LOGIN}?{query}"), &[JSON], "").await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "redirect_not_allowed"), "{query}");
        assert!(browser.cookies.is_empty(), "{query}");
    }
    let refused = house.browser().navigate(&format!("{LOGIN}?rd=%2F%2Fevil.example")).await;
    assert_eq!((refused.status, refused.header("location")), (400, None), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_a_script_or_a_prefetch_asks_for_does_not_start() {
    let house = House::open().await;
    let mut browser = house.browser();
    for headers in [[("Sec-Fetch-Mode", "cors")], [("Sec-Purpose", "prefetch")]] {
        let refused = browser.send("GET", LOGIN, &[JSON, headers[0]], "").await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "not_a_navigation"), "{refused}");
        assert!(browser.cookies.is_empty());
    }
    assert_eq!(browser.send("GET", LOGIN, &[JSON], "").await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_completes_a_callback_gets_the_user() {
    let house = House::open().await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((landed.status, &landed.json()["id"]), (200, &"555769466601213960".into()), "{landed}");
    assert_eq!(landed.header("cache-control"), Some("no-store"));
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_again_replaces_the_session_and_its_secret() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let old = browser.cookies["doorbook"].clone();
    assert_eq!(browser.sign_in(house.discord(), MARISOL).await.status, 303);
    assert_ne!(browser.cookies["doorbook"], old);
    let user = |cookie: String| {
        let mut browser = house.browser();
        async move { browser.send("GET", "/api/auth/user", &[JSON, ("Cookie", &cookie)], "").await.status }
    };
    assert_eq!(user(with_cookie(&old)).await, 401);
    assert_eq!(user(with_cookie(&browser.cookies["doorbook"])).await, 200);

    let mine = browser.cookies["doorbook"].clone();
    assert_eq!(browser.sign_in(house.discord(), QUIETFOX).await.status, 303);
    assert_eq!(user(with_cookie(&mine)).await, 401, "another user's session in this browser ends, too");
    let now = browser.fetch("GET", "/api/auth/user").await.json();
    assert_eq!(now["id"], QUIETFOX.to_string());
    assert_eq!(house.doorbook().app.sessions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_on_the_list_gets_neither_a_session_nor_a_key() {
    let plan = Plan { env: vec![("DOORBOOK_ALLOW", format!("user:{QUIETFOX}"))], ..Plan::default() };
    let house = House::with(plan).await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((landed.status, landed.code().as_str()), (403, "sign_in_not_allowed"), "{landed}");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert!(house.doorbook().app.keys().sub_of(MARISOL).is_none());
    assert_eq!(house.doorbook().app.state().users().count(), 0);
    let _ = house.signed_in(QUIETFOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_grow_the_log() {
    let house = House::open().await;
    let before = house.head();
    let from = |n: usize| format!("198.51.{}.{}", n / 250, n % 250);
    for n in 0..1_000 {
        let begun = house.browser().send("GET", LOGIN, &[("X-Forwarded-For", &from(n))], "").await;
        assert_eq!(begun.status, 302, "{begun}");
    }
    assert_eq!(house.head(), before, "starting a login records nothing");

    let position = || house.head().map_or(0, |head| head.0 + 1);
    let start = position();
    let bad = format!("{CALLBACK}?code=c&state=unknown");
    for _ in 0..8 {
        let refused = house.browser().send("GET", &bad, &[JSON], "").await;
        assert_eq!(refused.status, 400, "{refused}");
    }
    assert_eq!(position() - start, 5, "five per address and hour, the rest is counted");
    for n in 0..300 {
        let refused = house.browser().send("GET", &bad, &[JSON, ("X-Forwarded-For", &from(n))], "").await;
        assert_eq!(refused.status, 400, "{refused}");
    }
    assert_eq!(position() - start, 200, "two hundred an hour in all");
    // Otherwise a signature would be due as well.
    house.doorbook().app.sign_checkpoint().await.expect("signed");
    house.clock.advance(Duration::from_secs(3_600));
    house.until(|state| state.position().map_or(0, |head| head.0 + 1) - start == 202).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_301st_start_from_one_address_has_to_wait() {
    let house = House::open().await;
    for _ in 0..300 {
        assert_eq!(house.browser().navigate(LOGIN).await.status, 302);
    }
    let refused = house.browser().send("GET", LOGIN, &[JSON], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(house.browser().send("GET", LOGIN, &[("X-Forwarded-For", "192.0.2.1")], "").await.status, 302);
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(house.browser().navigate(LOGIN).await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_sign_ins_an_hour_are_enough_for_anybody() {
    let house = House::open().await;
    let mut browser = house.browser();
    for n in 0..60 {
        let landed = browser.sign_in(house.discord(), MARISOL).await;
        assert_eq!(landed.status, 303, "{n}: {landed}");
    }
    let begun = browser.begin(LOGIN).await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let refused = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_sign_ins"), "{refused}");
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a wait");
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200, "who is in stays in");
    let _ = house.signed_in(QUIETFOX).await;
    house.clock.advance(Duration::from_secs(wait));
    assert_eq!(browser.sign_in(house.discord(), MARISOL).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_that_discord_refuses_is_our_own_fault() {
    let plan = Plan {
        env: vec![("DISCORD_OAUTH_SECRET", "another-secret-0123456789abcdefgh".to_owned())],
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let mut browser = house.browser();
    let begun = browser.begin(LOGIN).await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.send("GET", &callback, &[JSON], "").await;
    assert_eq!((landed.status, landed.code().as_str()), (500, "discord_client_rejected"), "{landed}");
    assert!(!browser.cookies.contains_key("doorbook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_and_a_logout_may_end_at_an_allowed_origin() {
    let app = "http://localhost:5173";
    let plan = Plan { env: vec![("DOORBOOK_ALLOWED_ORIGINS", app.to_owned())], ..Plan::default() };
    let house = House::with(plan).await;
    let mut browser = house.browser();
    let begun = browser.begin("/api/auth/discord/login?rd=http%3A%2F%2Flocalhost%3A5173%2Fapp%3Fa%3D1").await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landed = browser.navigate(&callback).await;
    assert_eq!(
        (landed.status, landed.header("location")),
        (303, Some("http://localhost:5173/app?a=1")),
        "{landed}"
    );

    let page = browser.navigate("/logout?rd=http%3A%2F%2Flocalhost%3A5173%2Fbye").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("form-action"), "browsers apply it to the redirect that follows: {policy}");
    let elsewhere = browser.navigate("/api/auth/discord/login?rd=http%3A%2F%2Flocalhost%3A5174%2F").await;
    assert_eq!(elsewhere.status, 400, "{elsewhere}");
}
