//! The commands of the operator, beside a running server and without one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use doorbook::clock::Clock as _;
use doorbook::domain::id::DiscordId;

use crate::harness::{Browser, Ended, Exchange, House, MARISOL, Process, QUIETFOX, free_port, raw};

async fn run(house: &House, args: &[&str]) -> Ended {
    Process::spawn(house, args, &[]).ends().await
}

/// The usernames of the live sessions, newest first.
async fn who_is_signed_in(house: &House) -> Vec<String> {
    let ended = run(house, &["sessions", "list", "--format", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON on standard output");
    let name = |row: &serde_json::Value| row["user"]["username"].as_str().expect("a name").to_owned();
    rows.as_array().expect("rows").iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_a_result() {
    let house = House::for_processes().await;
    let ended = run(&house, &["--version"]).await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout, format!("doorbook {}\n", env!("CARGO_PKG_VERSION")));
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_server_of_this_directory_is_ready() {
    let house = House::for_processes().await;
    assert_eq!(run(&house, &["health"]).await.code, Some(1), "there is no server yet");
    let mut process = Process::serve(&house).await;
    let healthy = run(&house, &["health"]).await;
    assert_eq!((healthy.code, healthy.stdout.as_str()), (Some(0), "ready\n"), "{}", healthy.stderr);
    process.kill();
    // The socket of a server that was killed is still there, and nobody answers.
    assert!(house.data_dir().join("doorbook.sock").exists());
    assert_eq!(run(&house, &["health"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_through_the_running_server() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let mut marisol = process.signed_in(&house, MARISOL).await;
    let mut quiet = process.signed_in(&house, QUIETFOX).await;
    assert_eq!(who_is_signed_in(&house).await, ["quietfox", "marisol.k"]);

    let unasked = run(&house, &["sessions", "revoke", "--user", "marisol.k"]).await;
    assert_eq!(unasked.code, Some(2), "nobody can be asked: {}", unasked.stderr);
    let everybody = run(&house, &["sessions", "revoke", "--yes"]).await;
    assert_eq!(everybody.code, Some(2), "{}", everybody.stderr);
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 200, "nothing was changed");

    let ended = run(&house, &["sessions", "revoke", "--user", "marisol.k", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 session ended"), "{}", ended.stderr);
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 401, "at once");
    assert_eq!(quiet.fetch("GET", "/api/auth/user").await.status, 200);
    assert_eq!(who_is_signed_in(&house).await, ["quietfox"]);
    let nobody = run(&house, &["sessions", "revoke", "--user", "marisol.k", "--yes"]).await;
    assert_eq!(nobody.code, Some(1), "the answer is no: {}", nobody.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_in_the_log_where_no_server_runs() {
    let house = House::for_processes().await;
    assert_eq!(run(&house, &["sessions", "list"]).await.code, Some(3), "there is no log yet");
    assert!(!house.data_dir().exists(), "and a command makes none");
    let mut process = Process::serve(&house).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    let quiet = process.signed_in(&house, QUIETFOX).await;
    assert_eq!(process.terminate().await.code, Some(0));

    let events = house.events();
    assert_eq!(who_is_signed_in(&house).await, ["quietfox", "marisol.k"]);
    assert_eq!(house.events(), events, "a look leaves no trace");
    let ended = run(&house, &["sessions", "revoke", "--user", &MARISOL.to_string(), "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(who_is_signed_in(&house).await, ["quietfox"]);

    let process = Process::serve(&house).await;
    assert_eq!(process.visited_by(marisol.cookies).fetch("GET", "/api/auth/user").await.status, 401);
    assert_eq!(process.visited_by(quiet.cookies).fetch("GET", "/api/auth/user").await.status, 200);
    assert!(!process.said("err").contains("not clean"), "the command closed the log in order");
}

/// Runs a command with something on its standard input.
async fn told(house: &House, args: &[&str], input: &str) -> Ended {
    let mut command = std::process::Command::new(crate::harness::binary());
    command.args(args).env_clear().envs(house.env()).current_dir(house.dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("no panic");
    let ended = ended.expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: ended.status.code(), stdout: text(ended.stdout), stderr: text(ended.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_cookie_is_ended_without_ever_being_an_argument() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let leaked = process.signed_in(&house, MARISOL).await;
    let mut other = process.signed_in(&house, MARISOL).await;
    let cookie = format!("doorbook={}\n", leaked.cookies["doorbook"]);
    let listed = told(&house, &["sessions", "list", "--token-stdin", "--format", "jsonl"], &cookie).await;
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 1), "{}", listed.stderr);
    let ended = told(&house, &["sessions", "revoke", "--token-stdin", "--yes"], &cookie).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in [listed.stdout, listed.stderr, ended.stdout, ended.stderr] {
        assert!(!said.contains(&leaked.cookies["doorbook"]), "never repeated");
    }
    let mut leaked = process.visited_by(leaked.cookies);
    assert_eq!(leaked.fetch("GET", "/api/auth/user").await.status, 401);
    assert_eq!(other.fetch("GET", "/api/auth/user").await.status, 200);
    let gone = told(&house, &["sessions", "list", "--token-stdin"], &cookie).await;
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    let noise = told(&house, &["sessions", "list", "--token-stdin"], "a-secret-of-something-else\n").await;
    assert_eq!(noise.code, Some(2), "{}", noise.stderr);
    assert!(!noise.stderr.contains("a-secret"), "{}", noise.stderr);
}

/// Goes to Discord and back by way of a proxy that says from where.
async fn signed_in_from(house: &House, user: DiscordId, ip: &str) -> Browser {
    let from = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("X-Forwarded-For", ip)];
    let mut browser = house.browser();
    let begun = browser.send("GET", "/api/auth/discord/login", &from, "").await;
    let location = begun.header("location").expect("a location");
    let callback = browser.authorize(house.discord(), location, user).await;
    let landed = browser.send("GET", &callback, &from, "").await;
    assert_eq!(landed.status, 303, "{landed}");
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_that_a_network_a_person_or_a_moment_touches_is_listed_and_ended() {
    let mut house = House::for_processes().await;
    house.start().await.expect("doorbook starts");
    signed_in_from(&house, MARISOL, "198.51.100.23").await;
    house.clock.advance(Duration::from_secs(1));
    let mut moved = signed_in_from(&house, QUIETFOX, "203.0.113.77").await;
    house.clock.advance(Duration::from_secs(120));
    let between = house.clock.now();
    let third = signed_in_from(&house, MARISOL, "2001:db8::17").await;
    // It came from that network, and is used from another one since.
    let before = house.head();
    let elsewhere = [("Accept", "application/json"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(moved.send("GET", "/api/auth/user", &elsewhere, "").await.status, 200);
    house.until(|state| state.position() > before).await;
    let all = run(&house, &["sessions", "list", "--format", "jsonl"]).await;
    let rows: Vec<serde_json::Value> =
        all.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        rows.iter().map(|row| row["ip"].as_str().unwrap()).collect::<Vec<_>>(),
        ["2001:db8::17", "192.0.2.1", "198.51.100.23"]
    );
    let id = |at: usize| rows[at]["id"].as_str().expect("an id").to_owned();
    let pseudonym = {
        let told = run(&house, &["explain", "--user", "quietfox", "--format", "json"]).await;
        serde_json::from_str::<serde_json::Value>(&told.stdout).expect("JSON")["person"]["sub"].clone()
    };
    let (second, since) = (id(1), between.to_string());
    let questions: Vec<(Vec<&str>, Vec<String>)> = vec![
        (vec!["--ip", "203.0.113.0/24"], vec![id(1)]),
        (vec!["--ip", "192.0.2.1"], vec![id(1)]),
        (vec!["--ip", "2001:db8::/32"], vec![id(0)]),
        (vec!["--ip", "198.51.100.23", "--user", "marisol.k"], vec![id(2)]),
        (vec!["--ip", "198.51.100.23", "--user", "quietfox"], vec![]),
        (vec!["--ip", "10.0.0.0/8"], vec![]),
        (vec!["--session", &second], vec![id(1)]),
        (vec!["--since", &since], vec![id(0)]),
        (vec!["--since", &since, "--user", "Marisol"], vec![id(0)]),
        (vec!["--user", pseudonym.as_str().expect("a pseudonym")], vec![id(1)]),
    ];
    for running in [true, false] {
        for (question, expected) in &questions {
            let args = [&["sessions", "list", "--format", "jsonl"], &question[..]].concat();
            let listed = run(&house, &args).await;
            let code = i32::from(expected.is_empty());
            assert_eq!(listed.code, Some(code), "{running} {question:?}: {}", listed.stderr);
            let row =
                |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].clone();
            let found: Vec<serde_json::Value> = listed.stdout.lines().map(row).collect();
            assert_eq!(found, *expected, "{running} {question:?}");
        }
        if running {
            house.stop().await;
        }
    }

    house.start().await.expect("doorbook starts again");
    let args = ["sessions", "revoke", "--since", "1d", "--reason", "stolen laptop", "--yes"];
    let ended = run(&house, &args).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("3 sessions ended"), "{}", ended.stderr);
    assert_eq!(third.at(&house).fetch("GET", "/api/auth/user").await.status, 401);
    let told = run(&house, &["audit", "log", "--kind", "session.revoked", "--format", "jsonl"]).await;
    let rows: Vec<serde_json::Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 2, "one record for each person: {rows:?}");
    let mut requests = Vec::new();
    for row in &rows {
        assert_eq!((&row["actor"]["kind"], &row["data"]["cause"]), (&"operator".into(), &"admin".into()));
        let position = row["position"].to_string();
        let shown = run(&house, &["audit", "show", &position, "--json"]).await;
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
        assert_eq!(shown["events"][0]["data"]["reason"], "stolen laptop", "{shown}");
        requests.push(shown["request"].as_str().expect("a request").to_owned());
    }
    assert_eq!(requests[0], requests[1], "and one request for all of them");
}

/// A demo of its own, and where its Discord is.
async fn demo(house: &House, more: &[&str], port: u16, discord: u16) -> Process {
    let (given, at) = (port.to_string(), discord.to_string());
    let args = [&["demo", "--data-dir", "play", "--port", &given, "--discord-port", &at], more].concat();
    let mut process = Process::spawn_in(house.dir.path(), &args, BTreeMap::new(), port);
    process.ready().await;
    process
}

async fn get(port: u16, path: &str, cookies: &[String]) -> Exchange {
    let cookies = cookies.join("; ");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
    );
    raw(([127, 0, 0, 1], port).into(), &request).await
}

fn cookies_of(answer: &Exchange) -> Vec<String> {
    let set =
        answer.headers.iter().filter(|(name, value)| name == "set-cookie" && !value.contains("Max-Age=0"));
    set.map(|(_, value)| value.split(';').next().expect("a pair").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_where_it_is_and_a_restart_signs_nobody_out() {
    let house = House::for_processes().await;
    let (port, discord) = (free_port(), free_port());
    let mut process = demo(&house, &[], port, discord).await;
    let begun = get(port, "/api/auth/discord/login", &[]).await;
    assert_eq!(begun.status, 302, "{begun}");
    let asked = serde_json::json!({
        "url": begun.header("location").expect("a location"), "user": MARISOL.to_string(),
    })
    .to_string();
    let request = format!(
        "POST /_control/authorize HTTP/1.1\r\nHost: 127.0.0.1:{discord}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{asked}",
        asked.len()
    );
    let played = raw(([127, 0, 0, 1], discord).into(), &request).await.json();
    let origin = format!("http://localhost:{port}");
    let callback = played["location"].as_str().and_then(|location| location.strip_prefix(&origin));
    let landed = get(port, callback.expect("back to the demo"), &cookies_of(&begun)).await;
    assert_eq!(landed.status, 303, "{landed}");
    let cookies = cookies_of(&landed);

    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("\n  {origin}\n")), "{}", ended.stdout);
    assert!(ended.stdout.contains("Marisol"), "{}", ended.stdout);

    let mut process = demo(&house, &[], port, discord).await;
    let user = get(port, "/api/auth/user?fresh=1", &cookies).await;
    assert_eq!(user.status, 200, "{user}");
    assert_eq!(user.json()["display_name"], "Marisol");
    assert_eq!(user.json()["stale"], false, "its Discord knows the grant, too");
    assert_eq!(process.terminate().await.code, Some(0));

    let _process = demo(&house, &["--fresh"], port, discord).await;
    assert_eq!(get(port, "/api/auth/user", &cookies).await.status, 401, "it has started over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_alone_says_what_to_configure_and_where_a_port_is_taken_what_to_do() {
    let house = House::for_processes().await;
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let stand_in =
        |port| Process::spawn_in(house.dir.path(), &["mock-discord", "--listen", &at], BTreeMap::new(), port);
    let mut process = stand_in(port);
    process.listens().await;
    process.until_it_says("the Discord stand-in is ready").await;
    let told = process.said("out");
    let people = get(port, "/_control/people", &[]).await;
    assert!(
        told.contains(&format!("curl http://{at}/_control/people")) && people.body.contains("quietfox"),
        "{told}"
    );
    // What it prints is a configuration.
    let env: BTreeMap<String, String> = told
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(env.len(), 7, "{told}");
    let checked =
        Process::spawn_in(house.dir.path(), &["config", "check", "--online"], env, port).ends().await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);

    let taken = stand_in(port).ends().await;
    assert!(
        taken.code == Some(3) && taken.stderr.contains("name another address with --listen"),
        "{}",
        taken.stderr
    );
    let ports = ["demo", "--data-dir", "play", "--port", "0", "--discord-port", &port.to_string()];
    let taken = Process::spawn_in(house.dir.path(), &ports, BTreeMap::new(), port).ends().await;
    let line = "`doorbook demo --port 4001 --discord-port 4002`";
    assert!(taken.code == Some(3) && taken.stderr.contains(line), "{}", taken.stderr);
    assert_eq!(process.terminate().await.code, Some(0));
}
