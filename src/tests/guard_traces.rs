//! What the operator reads when somebody does not pass: one line a minute, with what to do about it.

use doorbook::discord::stand_in::people::{DEMO_GUILD, DEMO_ROLE_KEEPER};

use crate::guarded::{FETCHES, NAVIGATES, both, forward, nginx};
use crate::harness::{House, Process, QUIETFOX};

/// The lines of a process that name a code.
fn lines(process: &Process, code: &str) -> Vec<String> {
    let named = format!("\"code\":\"{code}\"");
    process.said("err").lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

/// The one line that names a code and has all these parts.
#[track_caller]
fn one(process: &Process, code: &str, parts: &[&str]) {
    let lines = lines(process, code);
    let [line] = &lines[..] else { panic!("{code}: {}", process.said("err")) };
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in {line}");
    }
}

/// Nothing names anybody, nor what they asked for.
#[track_caller]
fn no_person(traces: &str) {
    for canary in ["canary", "555769466601213960", &QUIETFOX.to_string(), &DEMO_GUILD.to_string(), "quietfox"]
    {
        assert!(!traces.contains(canary), "{canary}: {traces}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_one_line_a_minute_that_says_what_to_do() {
    let house = House::for_processes().await;
    let rules = format!(
        r#"
[[group]]
name = "keepers"
any = [ {{ guild = "{DEMO_GUILD}", role = "{DEMO_ROLE_KEEPER}" }} ]

[[rule]]
host = "localhost"
path = "/open"
public = true

[[rule]]
host = "localhost"
allow = [ {{ group = "keepers" }}, {{ user = "555769466601213960" }} ]
"#
    );
    std::fs::write(house.dir.path().join("doorbook.toml"), rules).expect("a file");
    let mut process = Process::serve(&house).await;
    let mut quietfox = process.signed_in(&house, QUIETFOX).await;
    for _ in 0..3 {
        for told in both(&mut quietfox, "GET", "http://localhost/page?token=canary", FETCHES).await {
            assert_eq!(told.status, 403, "{told}");
        }
        for told in both(&mut quietfox, "GET", "http://wiki.example.org/page?token=canary", FETCHES).await {
            assert_eq!(told.status, 403, "{told}");
        }
        nginx(&mut quietfox, "GET", "http://wiki.example.net/.doorbook/finish?t=canary", NAVIGATES).await;
        forward(&mut quietfox, "GET", "http://wiki.example.net/%00canary", NAVIGATES).await;
    }
    let session = quietfox.fetch("GET", "/api/auth/user").await.json()["session"]["id"].to_string();
    one(&process, "not_allowed", &["[[rule]] 2 wants one of: group:keepers, user:", &session, "localhost"]);
    let paste = r#"[[rule]]\nhost = \"wiki.example.org\"\nallow = [ { signed_in = true } ]"#;
    one(&process, "no_rule", &[paste, "the host has no rule"]);
    let malformed = lines(&process, "bad_forwarded_request");
    assert_eq!(malformed.len(), 2, "{malformed:#?}");
    assert!(
        malformed[0].contains("location = /.doorbook/finish") && malformed[0].contains("wiki.example.net")
    );
    assert!(malformed[1].contains("/auth/forward") && malformed[1].contains("the path is none"));
    no_person(&process.terminate().await.stderr);

    let allow = [("DOORBOOK_ALLOW", "group:keepers,user:555769466601213960")];
    let mut process = Process::spawn(&house, &["serve"], &allow);
    process.ready().await;
    for _ in 0..3 {
        let told = process.browser().sign_in(house.discord(), QUIETFOX).await;
        assert_eq!(told.status, 403, "{told}");
    }
    one(&process, "sign_in_not_allowed", &["DOORBOOK_ALLOW wants one of: group:keepers, user:"]);
    no_person(&process.terminate().await.stderr);

    let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/8")]);
    process.ready().await;
    for _ in 0..3 {
        for told in both(&mut process.browser(), "GET", "http://localhost/open", FETCHES).await {
            assert_eq!(told.status, 403, "{told}");
        }
    }
    one(&process, "untrusted_proxy", &["127.0.0.1", "DOORBOOK_TRUSTED_PROXIES"]);
}
