//! What each program begins with: the fixtures, in the form in which it takes them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::id::Position;
use crate::domain::state::State;
use crate::event_log::codec::{self, decode_raw, decode_record, leaf_hash, write_state};
use crate::event_log::tree::Frontier;
use crate::http::fuzzing::jars;

type Seeds = Vec<(String, Vec<u8>)>;

/// Returns what a program begins with, each under a name.
pub(super) fn seeds(target: &str) -> Seeds {
    match target {
        "cookie" => numbered(jars()),
        "discord" => discord(),
        "forwarded" => numbered(spellings().iter().flat_map(|path| headers(path)).collect()),
        "frame" => frames(),
        "import" => import(),
        "rd" => numbered(RETURN_TO.iter().map(|text| (*text).to_owned()).collect()),
        "rules" => rules(),
        other => panic!("there is no {other}"),
    }
}

const RETURN_TO: [&str; 22] = [
    "/account?tab=1#top",
    "/a/%2e%2e/caf\u{e9} x",
    "/search?q=%2f%5c%00&next=//evil.example",
    "/.//evil.example",
    "/%2e//evil.example",
    "//evil.example",
    "/\\evil.example",
    "/x/%2e%2e/api/auth/revoke",
    "/api/auth/%64iscord/login",
    "/.doorbook/finish?begin",
    "https://login.example.org:443/x",
    "https://login.example.org//evil.example",
    "HTTPS://APP.example.net/x?y#z",
    "https://wiki.example.net:8443/",
    "https://wiki.example.net/.%64oorbook/finish",
    "https://a.b.apps.example.com/",
    "https://grafana.example.org./d/1",
    "https://example.org.evil.example/",
    "https://app.example.net@evil.example/",
    "https://:@app.example.net/",
    "https://b\u{fc}cher.example.org/",
    "https://app.example.net%2fx/",
];

fn numbered(texts: Vec<String>) -> Seeds {
    (1..)
        .zip(texts)
        .map(|(number, text): (u32, _)| (format!("seed-{number:02}"), text.into_bytes()))
        .collect()
}

fn fixtures(folder: &str) -> Seeds {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    let mut files: Seeds = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn spellings() -> Vec<String> {
    let (_, text) = fixtures("paths").into_iter().find(|(name, _)| name == "admin.txt").unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn headers(path: &str) -> [String; 2] {
    [
        format!(
            "x-original-url: https://wiki.example.org:8443{path}?x=y\nx-original-method: POST\nx-forwarded-for: 192.0.2.1, [2001:db8::1]:7"
        ),
        format!(
            "x-forwarded-proto: wss\nx-forwarded-host: Wiki.Example.org.\nx-forwarded-uri: {path}\nx-forwarded-method: GET"
        ),
    ]
}

fn discord() -> Seeds {
    let mut seeds = fixtures("discord");
    for (name, body) in &mut seeds {
        let head = match name.as_str() {
            name if name.starts_with("rate_limited") => "429\nretry-after: 2\nx-ratelimit-scope: user",
            name if name.starts_with("invalid") || name.starts_with("bad_request") => "400",
            name if name.starts_with("cloudflare") => "403",
            _ => "401",
        };
        *body = [head.as_bytes(), b"\n\n", body].concat();
    }
    let notice = r#"{"version":1,"application_id":"1457667441164427281","type":1,"event":{"type":"APPLICATION_DEAUTHORIZED","timestamp":"2026-02-03T04:05:06.789012","data":{"user":{"id":"555769466601213960"}}}}"#;
    seeds.push(("webhook".into(), notice.into()));
    seeds
}

fn frames() -> Seeds {
    let mut seeds = Seeds::new();
    let of_kind =
        |name: &str| codec::kinds().iter().find(|kind| name.starts_with(kind.name)).map(|kind| kind.id);
    for (name, bytes) in fixtures("log/v1").into_iter().filter(|(name, _)| name.ends_with(".bin")) {
        if let Ok(raw) = decode_raw(&bytes) {
            for event in raw.events {
                let [first, second] = event.kind.to_be_bytes();
                seeds.push((
                    format!("{name}.event"),
                    [&[first, second, event.version], &event.clear[..]].concat(),
                ));
            }
        } else if let Some(kind) = of_kind(&name) {
            let [first, second] = kind.to_be_bytes();
            seeds.push((format!("{name}.fact"), [&[first, second, 1], &bytes[..]].concat()));
        }
        seeds.push((name, bytes));
    }
    let (mut state, mut tree) = (State::default(), Frontier::new());
    for (position, frame) in (0..).map(Position).zip(golden()) {
        state.apply(position, &decode_record(&frame).unwrap());
        tree.push(leaf_hash(&frame));
    }
    let mut bytes = Vec::new();
    write_state(&state, &tree, &mut bytes).unwrap();
    seeds.push(("state".into(), bytes));
    seeds
}

/// Returns the first records of the golden log.
fn golden() -> Vec<Vec<u8>> {
    let raw = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["raw"].as_str().map(|raw| STANDARD.decode(raw).unwrap())
    };
    golden_lines().iter().filter_map(raw).collect()
}

fn golden_lines() -> Vec<String> {
    let (_, text) = fixtures("golden").into_iter().find(|(name, _)| name == "log.jsonl").unwrap();
    String::from_utf8(text).unwrap().lines().take(40).map(str::to_owned).collect()
}

fn import() -> Seeds {
    let lines = golden_lines();
    let mut seeds = numbered(lines.clone());
    seeds.push(("golden".into(), lines.join("\n").into_bytes()));
    let export = include_str!("../../snapshots/export.snap").splitn(3, "---\n").nth(2).unwrap();
    seeds.push(("whole".into(), export.into()));
    seeds
}

fn rules() -> Seeds {
    let mut seeds = fixtures("config");
    seeds.retain(|(name, _)| name.starts_with("rule") || name.starts_with("group") || name == "good.toml");
    for (number, paths) in (1..).zip(spellings().chunks(8)) {
        let requests: String =
            paths.iter().map(|path| format!("GET wiki.example.org {path}?x=y 192.0.2.1\n")).collect();
        let rules: &str = RULES[number % RULES.len()];
        seeds.push((format!("asked-{number}"), format!("{rules}\n----\n{requests}").into_bytes()));
    }
    seeds
}

/// Rules that differ in what they leave open.
const RULES: [&str; 3] = [
    r#"allow = "user:7,email:example.org"
admins = "guild:1"

[[group]]
name = "staff"
any = [{ guild = "1", role = "2" }]
title = "Staff"

[[rule]]
host = "wiki.example.org"
path = "/admin"
allow = [{ group = "staff" }, { admin = true }]
deny = [{ user = "8" }]
methods = ["GET", "POST"]
networks = ["192.0.2.0/24"]
allow_preflight = true

[[rule]]
host = "*.example.org"
public = true
"#,
    r#"default_policy = "signed-in"
cookie_domain = "example.org"
membership_max_age = "10m"
"#,
    r#"[[rule]]
host = "wiki.example.org"
path = "/admin/a:b"
allow = [{ signed_in = true }]

[[rule]]
host = "wiki.example.org"
public = true
"#,
];
