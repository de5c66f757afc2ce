//! `explain URL` and `rules replay`, asked about a village whose server has stopped.

use super::*;
use crate::audit::town::Village;

/// The rules of the beginning, without `OTHERS` behind the `/admin` of the wiki.
fn rules(deny: &str, wiki: &str) -> String {
    format!(
        r#"
allow = "guild:197038439483310086,user:80351110224678915"
admins = "user:80351110224678912"

[[group]]
name = "staff"
any = [{{ guild = "197038439483310086", role = "41771983423143936" }}]

[[rule]]
host = "wiki.example.org"
path = "/admin"
allow = [{{ group = "staff" }}, {{ admin = true }}]
{deny}

[[rule]]
host = "wiki.example.org"
allow = [{wiki}]

[[rule]]
host = "*.lab.example.org"
allow = [{{ signed_in = true }}]
networks = ["192.168.1.0/24"]

[[rule]]
host = "status.example.org"
public = true
methods = ["GET"]
"#
    )
}

fn first() -> String {
    let wiki = r#"{ guild = "197038439483310086" }, { email_domain = "example.org" }"#;
    rules(r#"deny = [{ user = "80351110224678914" }]"#, wiki)
}

fn second() -> String {
    rules("", r#"{ guild = "197038439483310086" }"#)
}

/// Lets a village live under the first rules and then the second, and stops its server.
fn village() -> Village {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let read = |text: String| crate::config::rules(&text, None).unwrap();
        let village = Village::founded(read(first())).await;
        village.lives(read(second())).await;
        village.0.app.close().await.unwrap();
        village
    })
}

fn asked(village: &Village, shell: &Shell, line: &[&str]) -> Came {
    let data = village.0.data_dir().display().to_string();
    let came = shell.run(&[line, &["--data-dir", &data]].concat());
    assert!(!came.shown().contains("@example.org"), "no address: {}", came.shown());
    came
}

#[test]
fn an_address_is_explained_with_the_records_that_prove_it() {
    let village = village();
    let (admin, wiki) = ("https://wiki.example.org/admin", "https://wiki.example.org/start");
    let lines: [(&str, &[&str]); 13] = [
        ("the role was fresh", &[admin, "--user", "person.0", "--at", "2026-01-02T04:00:00Z"]),
        ("how fresh it was is in no log", &[admin, "--user", "person.0", "--at", "2026-01-02T05:00:00Z"]),
        ("without the role", &[admin, "--user", "person.1"]),
        ("kept out", &[admin, "--user", "person.2", "--at", "2026-01-02T04:00:00Z"]),
        ("no longer kept out", &[admin, "--user", "person.2", "--at", "2026-01-02T05:28:00Z"]),
        ("by a verified address", &[wiki, "--user", "person.3", "--at", "2026-01-02T04:00:00Z"]),
        ("signed out since", &[wiki, "--user", "person.3"]),
        ("before they came", &[wiki, "--user", "person.3", "--at", "3"]),
        ("read in two ways", &["https://wiki.example.org/x/..%2fadmin", "--user", "person.1"]),
        ("an address that is not known", &["https://a.lab.example.org", "--user", "person.1"]),
        ("an address that fits", &["https://a.lab.example.org", "--user", "person.1", "--ip", "192.168.1.7"]),
        ("public", &["https://status.example.org/", "--user", "person.1"]),
        ("no rule", &["https://other.example.org/", "--user", "person.1"]),
    ];
    let mut all = String::new();
    for (name, line) in lines {
        let came = asked(&village, &Shell::new(), &[&["explain"], line].concat());
        came.exits(0);
        all.push_str(&format!("=== {name}: {}\n{}\n", line.join(" "), came.shown()));
    }
    snapshot!("explain_url", all);
    for format in ["json", "jsonl", "csv"] {
        let line =
            ["explain", admin, "--user", "person.0", "--at", "2026-01-02T05:00:00Z", "--format", format];
        let came = asked(&village, &Shell::new(), &line);
        snapshot!(format!("explain_url_{format}"), came.shown().replace('\r', "<CR>"));
    }
    let narrow = Shell { width: Some(80), ..Shell::new() };
    let came = asked(&village, &narrow, &["explain", wiki, "--user", "person.0"]);
    snapshot!("explain_url_80_columns", came.shown());
}

#[test]
fn what_cannot_be_explained_says_why_and_what_is_no_address_is_wrong_use() {
    let village = village();
    let lines: [(&[&str], u8); 7] = [
        (&["https://wiki.example.org/", "--user", "somebody"], 1),
        (&["https://wiki.example.org/", "--user", "00000000000000000000000000000009"], 1),
        (&["https://wiki.example.org/", "--user", "person.0", "--at", "2025-12-31"], 1),
        (&["https://wiki.example.org/.doorbook/finish?t=1", "--user", "person.0"], 1),
        (&["wiki.example.org/", "--user", "person.0"], 2),
        (&["https://wiki.example.org/#top", "--user", "person.0"], 2),
        (&["--user", "person.0", "--method", "POST"], 2),
    ];
    let mut all = String::new();
    for (line, code) in lines {
        let came = asked(&village, &Shell::new(), &[&["explain"], line].concat());
        came.exits(code);
        assert!(came.out.is_empty(), "{}", came.shown());
        all.push_str(&format!("=== {}\nexit {code}\n{}\n", line.join(" "), came.err));
    }
    snapshot!("explain_url_not_answered", all);
}

#[test]
fn who_was_only_ever_refused_is_found_in_the_refusals_and_told_what_they_lacked() {
    let village = village();
    let wiki = "https://wiki.example.org/start";
    let id = "80351110224678922";
    let lines: [(&str, &[&str], u8); 7] = [
        ("their story", &["explain", "--user", "person.10"], 0),
        ("by id, as JSON", &["explain", "--user", id, "--format", "json"], 0),
        ("an address", &["explain", wiki, "--user", "person.10"], 0),
        ("before they came", &["explain", "--user", "person.10", "--at", "3"], 1),
        ("their rows", &["audit", "log", "--user", "person.10"], 0),
        ("an erasure", &["user", "erase", "person.10", "--yes"], 1),
        ("an export", &["user", "export", id], 1),
    ];
    let mut all = String::new();
    for (name, line, code) in lines {
        let came = asked(&village, &Shell { width: None, ..Shell::new() }, line);
        came.exits(code);
        all.push_str(&format!("=== {name}: {}\n{}\n", line.join(" "), came.shown()));
    }
    snapshot!("never_let_in", all);
}

/// Somebody loses by each sort of change, a stranger gains, and of a guild that nobody was asked about who knows.
const OTHER: &str = r#"
allow = "guild:197038439483310086,user:80351110224678922"
admins = "user:80351110224678912"

[[rule]]
host = "wiki.example.org"
path = "/admin"
allow = [{ admin = true }]

[[rule]]
host = "wiki.example.org"
allow = [{ signed_in = true }]

[[rule]]
host = "*.lab.example.org"
allow = [{ guild = "5" }]
networks = ["192.168.1.0/24"]

[[rule]]
host = "status.example.org"
allow = [{ signed_in = true }]
"#;

fn replay(village: &Village, text: &str, more: &[&str]) -> Came {
    let shell = Shell { width: None, ..Shell::new() }.file("new.toml", text);
    asked(village, &shell, &[&["rules", "replay", "--rules", "new.toml"], more].concat())
}

#[test]
fn other_rules_are_compared_before_they_count() {
    let village = village();
    let came = replay(&village, OTHER, &[]);
    came.exits(1);
    snapshot!("rules_replay", came.shown());
    for format in ["json", "jsonl", "csv"] {
        let came = replay(&village, OTHER, &["--format", format]);
        came.exits(1);
        snapshot!(format!("rules_replay_{format}"), came.shown().replace('\r', "<CR>"));
    }

    let same = replay(&village, &second(), &["--format", "jsonl"]);
    same.exits(0);
    assert!(same.out.is_empty() && same.err.contains("nobody gains or loses access"), "{}", same.shown());
    let more = second().replace("methods = [\"GET\"]\n", "").replace(
        "guild = \"197038439483310086\" }]\n\n[[rule]]\nhost = \"*",
        "signed_in = true }]\n\n[[rule]]\nhost = \"*",
    );
    let gains = replay(&village, &more, &["--format", "jsonl"]);
    gains.exits(0);
    assert!(gains.out.contains(r#""change":"gains""#) && gains.err.contains("gain"), "{}", gains.shown());
    // Nobody came since the last hour but those who are still signed in.
    let late = replay(&village, OTHER, &["--since", "1h", "--format", "csv"]);
    assert!(!late.out.contains("person.3") && !late.out.contains("person.10"), "{}", late.shown());
    assert!(late.out.contains("person.1"), "{}", late.shown());
}

#[test]
fn what_only_the_server_was_told_is_asked_for_and_a_narrow_table_keeps_what_changes() {
    let village = village();
    let lost = replay(&village, &second().replace("allow = \"guild:", "# allow = \"guild:"), &[]);
    assert!(lost.out.contains("BEFORE → AFTER"), "{}", lost.shown());
    let warning = "warning: DOORBOOK_ALLOW is set in the server and not here; is it in its environment only?";
    let warnings = |came: &Came| came.err.lines().filter(|line| line.starts_with("warning")).count();
    assert!(lost.err.lines().any(|line| line == warning) && warnings(&lost) == 1, "{}", lost.shown());
    assert_eq!(warnings(&replay(&village, OTHER, &[])), 0, "another list is no missing one");

    let narrow = Shell { width: Some(80), ..Shell::new() }.file("new.toml", OTHER);
    let came = asked(&village, &narrow, &["rules", "replay", "--rules", "new.toml"]);
    assert!(came.out.lines().all(|line| line.chars().count() <= 80), "{}", came.out);
    snapshot!("rules_replay_80_columns", came.out);
}

#[test]
fn rules_with_a_mistake_are_compared_with_nothing() {
    let village = village();
    let came = replay(&village, BAD_RULES, &[]);
    came.exits(2);
    assert!(came.out.is_empty(), "{}", came.shown());
    assert!(came.err.contains("new.toml:2") && came.err.contains("new.toml:15"), "{}", came.shown());
    let shell = Shell::new();
    let missing = asked(&village, &shell, &["rules", "replay", "--rules", "nowhere.toml"]);
    missing.exits(2);
}
