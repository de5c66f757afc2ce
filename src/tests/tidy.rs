//! What the source must not do, asked of the source itself: who imports whom, and what is named where.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room and what it may import; lower rooms stand first, and a room imports only from above its line.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("entropy", &["domain"]),
    ("disk", &[]),
    ("event_log", &["domain", "clock", "entropy", "disk"]),
    ("discord", &["domain", "clock", "entropy"]),
    ("crypto", &["domain", "entropy", "disk"]),
    ("app", &["domain", "clock", "entropy", "disk", "event_log", "crypto"]),
    ("grants", &["domain", "clock", "entropy", "discord", "crypto", "app"]),
    ("audit", &["domain", "event_log", "crypto"]),
    ("http", &["domain", "clock", "entropy", "discord", "crypto", "app", "grants"]),
    // Records come over its socket as they stand in the log.
    ("control", &["domain", "clock", "entropy", "event_log", "discord", "crypto", "app", "grants", "audit"]),
    ("config", &["domain"]),
    ("telemetry", &["event_log", "config"]),
    (
        "serve",
        &[
            "domain",
            "clock",
            "entropy",
            "disk",
            "event_log",
            "discord",
            "crypto",
            "app",
            "grants",
            "audit",
            "http",
            "control",
            "config",
        ],
    ),
    // The words a person types become values of the domain and of time, and `probe-log` is the log's own child.
    ("cli", &["domain", "clock", "event_log", "audit", "control", "config", "telemetry", "serve"]),
];

/// A file of the source.
pub struct Source {
    /// For example `src/http/login.rs`.
    pub path: String,
    /// As it stands there.
    pub text: String,
}

impl Source {
    /// Returns the room, for example `http`.
    fn room(&self) -> &str {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.split('/').next().unwrap_or(inside)
    }

    /// Returns how many `super` lead out of its room.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').count()
    }

    /// Returns the text without comments, and without the tests at its end.
    fn code(&self) -> String {
        let text = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `src`, in order.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join("src")];
    while let Some(dir) = waiting.pop() {
        let entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in entries {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the source is somewhere else");
    found
}

/// The files that are part of the program, and not of its tests.
fn program() -> Vec<Source> {
    let mut all = sources();
    let mut tests = vec!["src/tests".to_owned()];
    for source in &all {
        let for_tests = source.text.split("#[cfg(test)]\n").skip(1);
        let for_fuzzing = source.text.split("#[cfg(any(test, fuzzing))]\n").skip(1);
        for declared in for_tests.chain(for_fuzzing) {
            let Some((before, after)) = declared.split_once("mod ") else { continue };
            let Some((name, _)) = after.split_once(';') else { continue };
            let is_module = before.is_empty() || before.starts_with("pub") && !before.contains('\n');
            if is_module && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                let dir =
                    source.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib");
                tests.push(format!("{dir}/{name}"));
            }
        }
    }
    all.retain(|source| {
        let inside = |test: &String| {
            source.path == format!("{test}.rs") || source.path.starts_with(&format!("{test}/"))
        };
        !tests.iter().any(inside)
    });
    all
}

/// Returns the names that follow `prefix` in the code.
fn named_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let ends = |rest: &'a str| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
    code.match_indices(prefix).map(|(at, _)| ends(&code[at + prefix.len()..])).collect()
}

/// Returns what a file imports against the table.
fn forbidden_imports(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("`{room}` has no line in the table of rooms")];
    };
    let code = source.code();
    let mut imported = named_after(&code, "crate::");
    // `super` often enough is another way to say `crate`.
    imported.extend(named_after(&code, &"super::".repeat(source.depth())));
    imported.retain(|name| *name != room && *name != "super" && !allowed.contains(name));
    imported.dedup();
    let say = |name: &str| match name {
        "" => format!("{}: write `crate::room::…`, one room for each `use`", source.path),
        name => format!("`{room}` must not import `{name}` ({})", source.path),
    };
    imported.into_iter().map(say).collect()
}

#[test]
fn a_room_imports_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        let upper = allowed.iter().filter(|name| !ROOMS[..at].iter().any(|(lower, _)| lower == *name));
        wrong.extend(upper.map(|name| format!("`{name}` does not stand below `{room}`")));
    }
    let program = program();
    for source in program.iter().filter(|source| !matches!(source.room(), "main" | "lib")) {
        wrong.extend(forbidden_imports(source));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_from_above_is_found_however_it_is_written() {
    let wrong = |path: &str, text: &str| forbidden_imports(&Source { path: path.into(), text: text.into() });
    let must_not = |path: &str| vec![format!("`domain` must not import `app` ({path})")];
    let path = "src/domain/state.rs";
    assert_eq!(wrong(path, "use crate::app::App;"), must_not(path));
    assert_eq!(wrong(path, "fn f(app: &crate::app::App) {}"), must_not(path));
    assert_eq!(wrong(path, "use super::super::app::App;"), must_not(path));
    assert_eq!(wrong("src/domain/mod.rs", "use super::app::App;"), must_not("src/domain/mod.rs"));
    assert_eq!(wrong(path, "use crate::{app, clock};").len(), 1);
    assert_eq!(wrong("src/helpers.rs", ""), ["`helpers` has no line in the table of rooms"]);
    assert!(wrong(path, "use super::event::Event;\nuse crate::domain::id::Sub;\n// crate::app").is_empty());
}

/// Asserts that none of the words stands in the code of the files that are chosen.
#[track_caller]
fn assert_absent(words: &[&str], chosen: impl Fn(&Source) -> bool) {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for source in program().iter().filter(|source| chosen(source)) {
        looked_at += 1;
        let code: String = source.code().split_whitespace().collect();
        let bad = words.iter().filter(|word| code.contains(**word));
        found.extend(bad.map(|word| format!("`{word}` in {}", source.path)));
    }
    assert!(looked_at > 0, "there is nothing to look at");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_domain_touches_nothing() {
    let outside = [
        "serde",
        "tokio",
        "tracing",
        "bincode",
        "std::fs",
        "std::io",
        "std::env",
        "std::thread",
        "std::process",
        "SystemTime",
        "Instant",
        "rand::",
        "getrandom",
        "async",
        "Timestamp::now",
        "Zoned::now",
    ];
    assert_absent(&outside, |source| source.room() == "domain");
}

#[test]
fn handlers_answer_and_never_reject() {
    assert_absent(&["reject::", "Rejection", "implReject"], |_| true);
}

#[test]
fn only_the_app_appends_to_the_log() {
    assert_absent(&["log.append(", "EventLog::append"], |source| source.path != "src/app/execute.rs");
    assert_absent(&["engine.append("], |source| source.path != "src/event_log/mod.rs");
    let log = fs::read_to_string(root().join("src/event_log/mod.rs")).unwrap();
    assert!(log.contains("pub(crate) fn append("), "from outside nobody can");
}

#[test]
fn only_tests_set_the_clock_or_the_random_source() {
    assert_absent(&["ManualClock"], |source| source.path != "src/clock.rs");
    assert_absent(&["SeededEntropy"], |source| source.path != "src/entropy.rs");
    // Nor does a setting choose among clocks: the world is made in one place.
    assert_absent(&["SystemClock::new", "SystemEntropy"], |source| {
        !matches!(source.room(), "clock" | "entropy" | "serve" | "cli")
    });
    assert_absent(&["Clock", "Entropy"], |source| source.room() == "config");
}

#[test]
fn every_file_opens_with_a_sentence_for_newcomers() {
    let silent: Vec<String> =
        sources().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let all = sources();
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];
    let left = all.iter().filter(|source| source.path != "src/tests/tidy.rs");
    let left: Vec<&str> = left
        .filter(|source| words.iter().any(|word| source.text.contains(word)))
        .map(|source| source.path.as_str())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_limit_of_the_readme_names_a_test_that_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let limits =
        readme.split("## Limits, said honestly").nth(1).unwrap().split("**What it is not:**").next().unwrap();
    let rows: Vec<&str> =
        limits.lines().filter(|line| line.starts_with("| ") && !line.ends_with("shown by |")).collect();
    let all: String = sources().into_iter().map(|source| source.text).collect();
    let is_there = |name: &str| !name.is_empty() && all.contains(&format!("fn {name}("));
    let unproven: Vec<&&str> = rows
        .iter()
        .filter(|row| {
            let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            !shown_by.split(", ").all(|name| is_there(name.trim_matches('`')))
        })
        .collect();
    assert!(rows.len() > 20 && unproven.is_empty(), "{unproven:#?}");
}

#[test]
fn every_snapshot_has_a_name_of_its_own() {
    let names = fs::read_dir(root().join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let numbered =
        |stem: &str| stem.rsplit_once('-').is_some_and(|(_, end)| end.chars().all(|c| c.is_ascii_digit()));
    let is_named = |name: &str| {
        // A file that insta names has its module in front, and a number behind.
        name.strip_suffix(".snap").is_some_and(|stem| !stem.contains("__") && !numbered(stem))
    };
    let wrong: Vec<&String> = names.iter().filter(|name| !is_named(name)).collect();
    assert!(names.len() > 50 && wrong.is_empty(), "{wrong:?}");
    let elsewhere = sources().into_iter().map(|source| source.path).find(|path| path.contains("/snapshots/"));
    assert_eq!(elsewhere, None);
}
