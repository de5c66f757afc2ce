//! Keeping a grant alive: one refresh for all who ask, and an end to grants that are dead.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;
use doorbook::disk::{Disk, RealDisk, Synced};
use tokio::sync::watch;

use crate::harness::{Browser, Exchange, House, MARISOL, Plan, QUIETFOX, START};

const FRESH: &str = "/api/auth/user?fresh=1";
const REFRESH: &str = "/api/auth/refresh";
/// A fetch at sign-in counts for a second.
const A_MOMENT: Duration = Duration::from_secs(2);

fn cleared(answer: &Exchange) -> bool {
    let mut cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    cookies.any(|(_, cookie)| cookie.starts_with("doorbook=;") && cookie.contains("Max-Age=0"))
}

async fn two_hundred_at_once(house: &House, browser: &Browser) {
    let asked = (0..200).map(|_| {
        let mut browser = browser.clone();
        tokio::spawn(async move { browser.fetch("GET", FRESH).await })
    });
    for answer in futures_util::future::join_all(asked).await {
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, &answer.json()["stale"]), (200, &false.into()), "{answer}");
    }
    assert_eq!(house.discord().count(Route::Refresh), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_on_a_dead_access_token_cause_one_refresh() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    house.clock.advance(A_MOMENT);
    assert_eq!(house.discord().expire_tokens(None).await.expect("expired"), 1);
    two_hundred_at_once(&house, &browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_on_a_token_known_to_be_over_cause_one_refresh() {
    let house = House::open().await;
    house.discord().change_switches(|switches| switches.expires_in = 600);
    let browser = house.signed_in(MARISOL).await;
    house.clock.advance(Duration::from_secs(601));
    two_hundred_at_once(&house, &browser).await;
    assert_eq!(house.discord().count(Route::Me), 2, "at sign-in, and once afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_refreshed_on_request_once_a_minute() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let done = browser.fetch("POST", REFRESH).await;
    assert_eq!((done.status, &done.json()["id"]), (200, &MARISOL.to_string().into()), "{done}");
    let refused = browser.fetch("POST", REFRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"), "{refused}");
    assert_eq!(refused.header("retry-after"), Some("60"));
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(browser.fetch("POST", REFRESH).await.status, 200);
    assert_eq!(house.discord().count(Route::Refresh), 2);
    let pressed = browser.navigate("/account").await;
    assert_eq!(pressed.status, 200);
    house.clock.advance(Duration::from_secs(60));
    let pressed = browser.submit(REFRESH).await;
    assert_eq!((pressed.status, pressed.header("location")), (303, Some("/account?done=refreshed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_refreshes_nothing() {
    let house = House::open().await;
    let refused = house.browser().fetch("POST", REFRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
    assert_eq!(house.discord().requests().total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_removed_the_application_at_discord_is_signed_out_everywhere() {
    for (method, path) in [("POST", REFRESH), ("GET", FRESH), ("GET", "/api/user/profile")] {
        let house = House::open().await;
        let mut browser = house.signed_in(MARISOL).await;
        let mut elsewhere = house.signed_in(MARISOL).await;
        let mut other = house.signed_in(QUIETFOX).await;
        house.clock.advance(A_MOMENT);
        assert!(house.discord().deauthorize(MARISOL).await.expect("removed"));
        let refused = browser.fetch(method, path).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{path}: {refused}");
        assert!(cleared(&refused), "{refused}");
        assert_eq!(elsewhere.fetch("GET", "/api/auth/user").await.status, 401);
        assert_eq!(other.fetch("GET", "/api/auth/user").await.status, 200);
        assert_eq!(house.discord().count(Route::Refresh), 1);
        assert_eq!(house.doorbook().app.sessions().len(), 1);
        assert_eq!(browser.sign_in(house.discord(), MARISOL).await.status, 303, "the way back is open");
        assert_eq!(browser.fetch("GET", FRESH).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_refused_right_after_its_refresh_ends_the_sessions_and_no_loop_begins() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    let copy = browser.clone();
    house.discord().change_switches(|switches| switches.poisoned = vec![MARISOL]);
    house.discord().expire_tokens(None).await.expect("expired");
    house.clock.advance(A_MOMENT);
    house.discord().forget_requests();
    let refused = browser.fetch("GET", FRESH).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "not_signed_in"), "{refused}");
    assert!(cleared(&refused), "{refused}");
    let asked = house.discord().requests();
    assert_eq!((asked.count(Route::Me), asked.count(Route::Refresh), asked.total), (2, 1, 3));
    house.clock.advance(A_MOMENT);
    for path in ["/api/auth/user", FRESH] {
        assert_eq!(copy.clone().fetch("GET", path).await.status, 401);
    }
    assert_eq!(house.discord().requests().total, 3, "nobody is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_seen_when_asked_for_and_survives_a_restart() {
    let mut house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    house.discord().change_person(MARISOL, |person| person.global_name = Some("Mari Sol".into()));
    let within = browser.fetch("GET", FRESH).await.json();
    assert_eq!(within["display_name"], "Marisol", "within a second the last answer stands");
    house.clock.advance(A_MOMENT);
    let head = house.head();
    let fresh = browser.fetch("GET", FRESH).await.json();
    assert_eq!((&fresh["display_name"], &fresh["stale"]), (&"Mari Sol".into(), &false.into()));
    assert_eq!(fresh["fetched_at"], "2026-01-02T03:04:07Z");
    let noted = house.head();
    assert_ne!(noted, head);
    house.clock.advance(A_MOMENT);
    assert_eq!(browser.fetch("GET", FRESH).await.status, 200);
    assert_eq!(house.head(), noted, "what has not changed is not written down");
    house.restart().await;
    let mut browser = browser.at(&house);
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.json()["display_name"], "Mari Sol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_another_persons_is_not_taken_and_nobody_becomes_somebody_else() {
    let mut house = House::open().await;
    let mut marisol = house.signed_in(MARISOL).await;
    let mut quietfox = house.signed_in(QUIETFOX).await;
    let head = house.head();
    let sessions = house.doorbook().app.sessions().len();
    // Discord takes one for the other. The name is new, so it would be written down of whomever it were taken for.
    let body =
        format!(r#"{{"id":"{QUIETFOX}","username":"quietfox","global_name":"Swapped","verified":false}}"#);
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    let swapped = FaultKind::Answer { status: 200, headers, body };
    house.discord().add_fault(Fault::new(Route::Me, swapped));
    for path in [FRESH, "/api/user/profile"] {
        house.clock.advance(A_MOMENT);
        let asked = house.discord().count(Route::Me);
        let told = marisol.fetch("GET", path).await;
        assert_eq!(house.discord().count(Route::Me), asked + 1, "{path}");
        assert_eq!((told.status, &told.json()["id"]), (200, &MARISOL.to_string().into()), "{path}: {told}");
        assert_eq!((&told.json()["display_name"], &told.json()["stale"]), (&"Marisol".into(), &true.into()));
    }
    assert_eq!(house.head(), head, "nothing is written down");
    assert_eq!(house.doorbook().app.sessions().len(), sessions);

    // Nor is it remembered in any other way: what Discord says of each of them counts again.
    house.discord().clear_faults();
    let names = async |marisol: &mut Browser, quietfox: &mut Browser, path: &str| {
        let (one, other) =
            (marisol.fetch("GET", path).await.json(), quietfox.fetch("GET", path).await.json());
        [one["id"].clone(), one["display_name"].clone(), other["id"].clone(), other["display_name"].clone()]
    };
    let themselves: [serde_json::Value; 4] =
        [MARISOL.to_string().into(), "Marisol".into(), QUIETFOX.to_string().into(), "quietfox".into()];
    house.clock.advance(A_MOMENT);
    assert_eq!(names(&mut marisol, &mut quietfox, FRESH).await, themselves);
    house.restart().await;
    let (mut marisol, mut quietfox) = (marisol.at(&house), quietfox.at(&house));
    assert_eq!(names(&mut marisol, &mut quietfox, "/api/auth/user").await, themselves);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_profile_is_fetched_anew_in_the_background() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    house.discord().change_person(MARISOL, |person| person.global_name = Some("Mari Sol".into()));
    house.clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.json()["display_name"], "Marisol");
    assert_eq!(house.discord().count(Route::Me), 1, "young enough");
    house.clock.advance(Duration::from_secs(60));
    let head = house.head();
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).once());
    let used = browser.fetch("GET", "/api/auth/user").await.json();
    assert_eq!(used["display_name"], "Marisol", "nobody waits for it");
    house.discord().wait_until_held(1).await;
    house.discord().release();
    house.until(|state| state.position() != head).await;
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.json()["display_name"], "Mari Sol");
    assert_eq!(house.discord().count(Route::Me), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_refreshes_at_once_are_one_call_and_one_outcome() {
    let house = House::open().await;
    let browser = house.signed_in(MARISOL).await;
    house.discord().add_fault(Fault::new(Route::Refresh, FaultKind::Hold).once());
    let all: Vec<_> = (0..200)
        .map(|_| {
            let mut browser = browser.clone();
            tokio::spawn(async move { browser.fetch("POST", "/api/auth/refresh").await })
        })
        .collect();
    house.discord().wait_until_held(1).await;
    house.discord().release();
    let mut good = 0;
    for asked in all {
        let answer = asked.await.expect("an answer");
        // Whoever comes after the outcome is told to wait; whoever waited for it shares it.
        assert!(matches!(answer.status, 200 | 429), "{answer}");
        good += usize::from(answer.status == 200);
    }
    assert!(good > 0);
    assert_eq!(house.discord().count(Route::Refresh), 1);
}

/// A disk that keeps whoever syncs `HEAD` waiting, while the test wants it to.
#[derive(Default)]
struct Slow {
    is_slow: Mutex<bool>,
    changed: Condvar,
    keeps_waiting: watch::Sender<bool>,
}

impl Slow {
    fn set_slow(&self, slow: bool) {
        *self.is_slow.lock().expect("not poisoned") = slow;
        self.changed.notify_all();
    }

    fn wait(&self, what: Synced) {
        let mut is_slow = self.is_slow.lock().expect("not poisoned");
        while *is_slow && what == Synced::Head {
            self.keeps_waiting.send_replace(true);
            is_slow = self.changed.wait(is_slow).expect("not poisoned");
        }
    }
}

impl Disk for Slow {
    fn sync_data(&self, what: Synced, file: &File) -> io::Result<()> {
        self.wait(what);
        RealDisk.sync_data(what, file)
    }

    fn sync_all(&self, what: Synced, file: &File) -> io::Result<()> {
        self.wait(what);
        RealDisk.sync_all(what, file)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_space(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_sign_in_does_not_take_the_place_of_what_was_said_at_it() {
    let disk = Arc::new(Slow::default());
    let house = House::with(Plan { disk: disk.clone(), ..Plan::default() }).await;
    let is_called = |name: &str| {
        assert!(house.discord().change_person(MARISOL, |person| person.global_name = Some(name.into())));
    };
    let mut browser = house.signed_in(MARISOL).await;
    let mut elsewhere = house.browser();
    let begun = elsewhere.begin("/api/auth/discord/login").await;
    let callback = elsewhere.authorize(house.discord(), &begun, MARISOL).await;

    // The older word is on its way while somebody signs in, and the disk is slow to take the newer one.
    is_called("Older");
    house.clock.advance(A_MOMENT);
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).after_the_effect().once());
    let asking = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.fetch("GET", FRESH).await }
    });
    house.discord().wait_until_held(1).await;
    is_called("Newer");
    disk.set_slow(true);
    let landing = tokio::spawn(async move { elsewhere.navigate(&callback).await.status });
    disk.keeps_waiting.subscribe().wait_for(|waits| *waits).await.expect("it lives");
    house.discord().release();
    for _ in 0..20 {
        assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200, "time for it to arrive");
    }
    disk.set_slow(false);
    assert_eq!(landing.await.expect("an answer"), 303);
    assert_eq!(asking.await.expect("an answer").status, 200);
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.json()["display_name"], "Newer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_grant_is_not_told_while_somebody_signs_in_the_new_one_is_asked_for() {
    let house = House::open().await;
    let mut browser = house.signed_in(MARISOL).await;
    house.clock.advance(A_MOMENT);
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).once());
    let asking = tokio::spawn({
        let mut browser = browser.clone();
        async move { browser.fetch("GET", FRESH).await.json() }
    });
    house.discord().wait_until_held(1).await;
    let _elsewhere = house.signed_in(MARISOL).await;
    house.discord().forget_requests();
    house.discord().release();
    assert_eq!(asking.await.expect("an answer")["stale"], false);
    assert_eq!(house.discord().count(Route::Me), 1);
    assert_eq!(browser.fetch("GET", FRESH).await.json()["stale"], false, "nor is a failure remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_as_long_after_it_was_given_as_discord_said_however_long_the_sign_in_took() {
    let house = House::open().await;
    house.discord().add_fault(Fault::new(Route::Me, FaultKind::Hold).once());
    let mut browser = house.browser();
    let begun = browser.begin("/api/auth/discord/login").await;
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    let landing = tokio::spawn(async move { browser.navigate(&callback).await.status });
    house.discord().wait_until_held(1).await;
    house.clock.advance(Duration::from_secs(5));
    house.discord().release();
    assert_eq!(landing.await.expect("an answer"), 303);
    let ends =
        house.doorbook().app.state().users().find_map(|(_, user)| Some(user.grant.as_ref()?.expires_at));
    let given_for = house.discord().switches().expires_in;
    assert_eq!(ends, Some(START.plus(Duration::from_secs(given_for))));
}
