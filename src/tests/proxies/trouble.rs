//! Too much, too early, and what is down.

use std::time::Duration;

use doorbook::discord::stand_in::Membership;
use doorbook::discord::stand_in::people::DEMO_GUILD;
use doorbook::domain::id::DiscordId;
use tokio::io::AsyncWriteExt;

use super::doors::{heard, request, rules};
use super::street::{AUTH, Kind, Street};
use super::visitor::{FETCH, NAVIGATION, read_answer};
use crate::harness::{MARISOL, QUIETFOX};

pub async fn more_roles_than_fit_are_cut_and_pass(kind: Kind) {
    let roles: Vec<DiscordId> = (0..200).map(|n| DiscordId(1_100_000_000_000_000_000 + n)).collect();
    let by_role: String = roles
        .chunks(50)
        .enumerate()
        .map(|(n, roles)| {
            let any: Vec<String> = roles
                .iter()
                .map(|role| format!("{{ guild = \"{DEMO_GUILD}\", role = \"{role}\" }}"))
                .collect();
            format!("\n[[group]]\nname = \"by-role-{n}\"\nany = [ {} ]\n", any.join(", "))
        })
        .collect();
    let groups: String = (0..60)
        .map(|n| {
            format!(
                "\n[[group]]\nname = \"a-group-with-a-very-long-name-{n}\"\nany = [ {{ user = \"{MARISOL}\" }} ]\n"
            )
        })
        .collect();
    let street = Street::open(kind, &(rules() + &by_role + &groups)).await;
    assert!(street.house.discord().change_person(MARISOL, |person| {
        person.guilds = vec![Membership::new(DEMO_GUILD, &roles)];
    }));
    let mut marisol = street.signed_in(MARISOL).await;
    let answer = marisol.fetch("https://app.example.org/").await;
    assert_eq!(answer.status, 200, "{answer}");
    let got = street.app.got();
    let list = heard(&got[0], "x-discord-roles").expect("a list");
    assert!(list.len() <= 2_048 && list.len() > 1_900, "{}", list.len());
    assert!(list.split(',').all(|item| item.len() == 18 + 1 + 19), "each is whole: {list}");
    assert!(heard(&got[0], "remote-groups").expect("a list").len() > 1_900);
}

pub async fn a_long_address_is_come_back_to(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut visitor = street.visitor();
    // As much as may be returned to, of what is three times as long on the way.
    let query = "=&".repeat(1_000);
    let url = format!("https://app.example.org/?{query}");
    let landed = street.follow(&mut visitor, &url, MARISOL).await;
    assert_eq!(landed.status, 200, "{landed}");
    assert_eq!(request(&street.app.got()[0]), format!("GET /?{query}"));
}

pub async fn a_body_is_never_waited_for_and_a_connection_stays_in_step(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let marisol = street.signed_in(MARISOL).await;
    let cookie = marisol.cookies("app.example.org");
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: app.example.org\r\nCookie: {cookie}\r\n{more}\r\n")
    };
    let mut stream = marisol.connect("app.example.org").await;
    for n in 0..3 {
        let whole = head("POST", &format!("/{n}"), "Content-Length: 5\r\n") + "hello";
        stream.write_all(whole.as_bytes()).await.expect("it goes on");
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer.status, 200, "{answer}");
        let chunked =
            head("PUT", &format!("/{n}"), "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n";
        stream.write_all(chunked.as_bytes()).await.expect("it goes on");
        assert_eq!(read_answer(&mut stream).await.status, 200);
        stream.write_all(head("GET", &format!("/{n}"), "").as_bytes()).await.expect("it goes on");
        assert_eq!(read_answer(&mut stream).await.status, 200);
    }
    let got = street.app.got();
    let all: Vec<&str> = got.iter().map(request).collect();
    assert_eq!(
        all,
        ["POST /0", "PUT /0", "GET /0", "POST /1", "PUT /1", "GET /1", "POST /2", "PUT /2", "GET /2"]
    );
    assert!(got.iter().step_by(3).all(|got| got["body"] == "hello"));

    // The length is there and the body is not, and the answer comes all the same.
    let early = "POST /form HTTP/1.1\r\nHost: app.example.org\r\nContent-Length: 1000000\r\n\r\n";
    let mut stream = marisol.connect("app.example.org").await;
    stream.write_all(early.as_bytes()).await.expect("it takes it");
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 401, "{answer}");
    assert!(street.app.got().is_empty());
}

pub async fn an_upload_passes_whatever_its_size(kind: Kind) {
    let street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let upload = "x".repeat(3 << 20);
    let answer = marisol.send("PUT", "https://app.example.org/file", &FETCH, &upload).await;
    assert_eq!(answer.status, 200, "{}", answer.status);
    assert_eq!(street.app.got()[0]["body"].as_str().map(str::len), Some(upload.len()));
}

pub async fn while_doorbook_is_down_nobody_comes_in(kind: Kind) {
    let mut street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    let mut all = vec![street.visitor()];
    assert_eq!(marisol.fetch("https://app.example.org/").await.status, 200);
    street.app.got();
    street.house.stop().await;
    all.push(marisol);
    for visitor in &mut all {
        for url in [
            "https://app.example.org/",
            "https://app.example.org/assets/x",
            "https://public.example.org/",
            AUTH,
        ] {
            let answer = visitor.open(url).await;
            assert!(matches!(answer.status, 500 | 502), "{url}: {answer}");
        }
    }
    assert!(street.app.got().is_empty());
}

pub async fn while_discord_is_down_those_who_are_known_stay_in(kind: Kind) {
    let mut street = Street::open(kind, &rules()).await;
    let mut marisol = street.signed_in(MARISOL).await;
    street.house.discord_goes_down().await;
    let admin = "https://app.example.org/admin";
    assert_eq!(marisol.fetch(admin).await.status, 200);
    street.house.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(marisol.fetch(admin).await.status, 200, "within the grace");
    street.house.clock.advance(Duration::from_secs(56 * 60));
    street.app.got();
    let fetched = marisol.fetch(admin).await;
    assert_eq!(fetched.status, 401, "what is too old does not count: {fetched}");
    let asked = marisol.open(admin).await;
    let location = asked.header("location").unwrap_or_else(|| panic!("a way on: {asked}")).to_owned();
    assert!(location.starts_with(&format!("{AUTH}/auth/recheck?rd=")), "{location}");
    let unknown = street.house.as_time_passes(Duration::from_secs(1), marisol.open(&location)).await;
    assert_eq!(unknown.status, 502, "{unknown}");
    assert!(unknown.body.contains("Try again"), "{unknown}");
    assert!(street.app.got().is_empty());
    assert_eq!(marisol.fetch("https://app.example.org/").await.status, 200, "no role decides here");

    street.house.discord_comes_up().await;
    street.house.clock.advance(Duration::from_secs(60));
    let landed = street.follow(&mut marisol, admin, MARISOL).await;
    assert_eq!(landed.status, 200, "{landed}");
    let mut visitor = street.visitor();
    let begun = visitor.send("GET", &format!("{AUTH}/api/auth/discord/login"), &NAVIGATION, "").await;
    let url = begun.header("location").expect("a location").to_owned();
    let back =
        street.house.discord().authorize(&url, QUIETFOX, true).await.expect("Discord answers").location;
    street.house.discord_goes_down().await;
    let failed = street.house.as_time_passes(Duration::from_secs(1), visitor.open(&back)).await;
    assert_eq!(failed.status, 502, "nobody new without Discord: {failed}");
}
