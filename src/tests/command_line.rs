//! The commands of the operator, beside a running server and without one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use crate::harness::{Ended, Exchange, House, MARISOL, Process, QUIETFOX, free_port, raw};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_cookie_is_ended_without_ever_being_an_argument() {
    let house = House::for_processes().await;
    let process = Process::serve(&house).await;
    let leaked = process.signed_in(&house, MARISOL).await;
    let mut other = process.signed_in(&house, MARISOL).await;
    let cookie = format!("doorbook={}\n", leaked.cookies["doorbook"]);
    let mut command = std::process::Command::new(crate::harness::binary());
    command.args(["sessions", "revoke", "--token-stdin", "--yes"]).env_clear().envs(house.env());
    command.current_dir(house.dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("its input").write_all(cookie.as_bytes()).expect("it reads");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("no panic");
    let ended = ended.expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let said = [ended.stdout, ended.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains(&leaked.cookies["doorbook"]), "never repeated");
    let mut leaked = process.visited_by(leaked.cookies);
    assert_eq!(leaked.fetch("GET", "/api/auth/user").await.status, 401);
    assert_eq!(other.fetch("GET", "/api/auth/user").await.status, 200);
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
