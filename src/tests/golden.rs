//! What every command says about the golden log: a thousand records that were written once and never change.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use doorbook::cli::{self, Outside};
use doorbook::clock::ManualClock;
use doorbook::domain::time::Timestamp;
use doorbook::event_log::Probe;
use tempfile::TempDir;

use crate::snapshot;

/// A while after the last record.
const NOW: Timestamp = Timestamp(1_774_440_000_000); // 2026-03-25T12:00:00Z

/// A data directory with the golden log in it.
struct Golden {
    dir: TempDir,
}

/// What came of a command.
struct Came {
    code: u8,
    out: String,
    err: String,
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "golden", name].iter().collect()
}

impl Golden {
    fn without_keys() -> Golden {
        let golden = Golden { dir: TempDir::new().unwrap() };
        let log = fixture("log.jsonl").display().to_string();
        let came = golden.run(None, &["import", &log]);
        assert_eq!(came.code, 0, "{}", came.err);
        golden
    }

    fn new() -> Golden {
        let golden = Golden::without_keys();
        let keys = golden.data().join("keys");
        fs::create_dir_all(&keys).unwrap();
        for entry in fs::read_dir(fixture("keys")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), keys.join(entry.file_name())).unwrap();
        }
        golden
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn run(&self, width: Option<u16>, line: &[&str]) -> Came {
        let (out, err) = (Paper::default(), Paper::default());
        let mut outside = Outside {
            env: BTreeMap::from([("NO_COLOR".into(), "1".into())]),
            cwd: self.dir.path().to_owned(),
            system_file: self.dir.path().join("none.toml"),
            stdin: Box::new(Cursor::new("")),
            stdout: Box::new(out.clone()),
            stderr: Box::new(err.clone()),
            stdin_is_terminal: false,
            stdout_is_terminal: width.is_some(),
            stderr_is_terminal: false,
            width,
            clock: Arc::new(ManualClock::new(NOW)),
            probe: Probe::InProcess,
            ask_hidden: Box::new(|_| Err(std::io::ErrorKind::UnexpectedEof.into())),
            zone: jiff::tz::TimeZone::UTC,
            diagnostics: |_, _| {},
        };
        let line = ["doorbook"].iter().chain(line).map(OsString::from);
        let code = cli::run(line, &mut outside);
        let code = (0..=3).find(|known| ExitCode::from(*known) == code).expect("a known exit code");
        let here = self.dir.path().display().to_string();
        Came { code, out: out.text(), err: err.text().replace(&here, "HERE") }
    }
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Came {
    fn shown(&self) -> String {
        format!("exit {}\n--- standard output\n{}--- standard error\n{}", self.code, self.out, self.err)
    }
}

#[test]
fn the_golden_log_has_the_root_that_it_had() {
    let golden = Golden::new();
    // These were computed when it was written; another value means that its bytes are read as something else.
    let came = golden.run(None, &["audit", "verify", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&came.out).unwrap();
    assert_eq!((came.code, &verdict["verdict"], &verdict["records"]), (0, &"intact".into(), &1_000.into()));
    assert_eq!(verdict["root"], ROOT);
    assert_eq!(verdict["states"], 3, "every state that was signed for is made again");
    snapshot!("golden-verify-json", came.out);
    snapshot!("golden-verify", golden.run(None, &["audit", "verify"]).shown());
}

const ROOT: &str = "e91edfc26a8c9d9c72d7504fed31ff26bed01c70063c7617a986663a1fecca89";

#[test]
fn the_golden_log_is_told_as_it_was() {
    let golden = Golden::new();
    let lines: &[(&str, &[&str])] = &[
        ("log", &["audit", "log", "--limit", "40"]),
        (
            "log-of-one",
            &["audit", "log", "--user", "person.1", "--since", "2026-01-20", "--until", "2026-01-25"],
        ),
        ("log-of-the-operator", &["audit", "log", "--actor", "operator", "--limit", "8"]),
        ("log-of-a-network", &["audit", "log", "--ip", "203.0.113.16/29", "--limit", "8"]),
        ("log-of-a-kind", &["audit", "log", "--kind", "sign_in", "--limit", "12"]),
        ("state", &["audit", "state", "--at", "2026-01-10 12:00"]),
        ("state-at-a-position", &["audit", "state", "--at", "200"]),
        ("diff", &["audit", "diff", "2026-01-28", "2026-01-29"]),
        ("diff-from-before-the-log", &["audit", "diff", "2025-12-31", "12"]),
        ("explain", &["explain", "--user", "person.3", "--at", "2026-01-09"]),
        ("stats", &["audit", "stats"]),
        (
            "stats-by-hour",
            &["audit", "stats", "--by", "hour", "--since", "2026-01-28", "--until", "2026-01-29"],
        ),
    ];
    for (name, line) in lines {
        for width in [None, Some(80), Some(132)] {
            let came = golden.run(width, line);
            let name = width
                .map_or_else(|| format!("golden-{name}"), |width| format!("golden-{name}-{width}-columns"));
            if let Some(width) = width {
                let too_wide = came.out.lines().find(|line| line.chars().count() > usize::from(width));
                assert_eq!(too_wide, None, "{name}");
            }
            if width != Some(132) {
                snapshot!(name, came.shown());
            }
        }
        let json = golden.run(None, &[line, &["--format", "json"][..]].concat());
        snapshot!(format!("golden-{name}-json"), json.shown());
    }
    for position in ["0", "2", "17"] {
        let shown = golden.run(None, &["audit", "show", position]).shown();
        snapshot!(format!("golden-show-{position}-whole"), shown);
    }
    snapshot!("golden-show-json", golden.run(None, &["audit", "show", "2", "--json"]).shown());
    snapshot!("golden-show-proof", golden.run(None, &["audit", "show", "2", "--proof"]).shown());
    snapshot!("golden-checkpoint", golden.run(None, &["audit", "checkpoint"]).shown());
    snapshot!("golden-checkpoint-key", golden.run(None, &["audit", "checkpoint", "--key"]).shown());
}

#[test]
fn a_checkpoint_that_was_kept_elsewhere_must_not_be_too_old_where_that_is_asked() {
    let golden = Golden::new();
    let newest = golden.run(None, &["audit", "checkpoint"]);
    fs::write(golden.dir.path().join("kept.txt"), newest.out).unwrap();
    let verify = |age: &str| {
        golden.run(None, &["audit", "verify", "--checkpoint", "kept.txt", "--require-anchor", age])
    };
    assert_eq!(verify("2d").code, 0, "{}", verify("2d").shown());
    let old = verify("1d");
    assert_eq!(old.code, 1, "{}", old.shown());
    assert!(
        old.err.contains("the newest checkpoint that was kept elsewhere is of 2026-03-24T"),
        "{}",
        old.err
    );
    let nothing = golden.run(None, &["audit", "verify", "--require-anchor", "1d"]);
    assert_eq!(nothing.code, 2, "{}", nothing.shown());
}

#[test]
fn without_keys_the_log_is_proven_all_the_same_and_nobody_has_a_name() {
    let golden = Golden::without_keys();
    let came = golden.run(None, &["audit", "verify"]);
    assert_eq!(came.code, 0, "{}", came.shown());
    snapshot!("golden-log-without-keys", golden.run(None, &["audit", "log", "--limit", "6"]).shown());
    let nobody = golden.run(None, &["explain", "--user", "person.1"]);
    assert_eq!(nobody.code, 1, "{}", nobody.shown());
}

#[test]
fn what_cannot_be_answered_is_said_in_a_sentence() {
    let golden = Golden::new();
    let lines: &[(&str, &[&str], u8)] = &[
        ("before-the-log", &["audit", "state", "--at", "2025-12-31"], 1),
        ("behind-the-log", &["audit", "show", "1000"], 1),
        ("behind-the-log-state", &["audit", "state", "--at", "1000"], 1),
        ("behind-the-log-diff", &["audit", "diff", "900", "1000"], 1),
        ("a-story-before-the-log", &["explain", "--user", "person.1", "--at", "2025-12-31"], 1),
        ("a-diff-before-the-log", &["audit", "diff", "2025-12-30", "2025-12-31"], 1),
        ("from-later-than-to", &["audit", "log", "--since", "2026-01-03", "--until", "2026-01-02"], 2),
        ("counted-from-later-than-to", &["audit", "stats", "--since", "1d", "--until", "2d"], 2),
        ("nobody", &["explain", "--user", "somebody"], 1),
        ("nobody-in-the-log", &["audit", "log", "--user", "somebody"], 1),
        ("nobody-who-acts", &["audit", "log", "--actor", "80351110224678911"], 1),
        ("nobody-to-tell", &["user", "export", "somebody"], 1),
        ("nobody-to-erase", &["user", "erase", "somebody", "--yes"], 1),
        ("nobody-who-is-signed-in", &["sessions", "list", "--user", "somebody"], 1),
        ("nobody-to-end", &["sessions", "revoke", "--user", "somebody", "--yes"], 1),
        ("turned-round", &["audit", "diff", "700", "300"], 2),
        ("no-such-kind", &["audit", "log", "--kind", "session.closed"], 2),
        ("no-such-time", &["audit", "log", "--since", "yesterday"], 2),
        ("nothing-to-follow", &["audit", "log", "--follow"], 1),
        ("of-another-log", &["audit", "verify", "--checkpoint", "other.txt"], 1),
        ("no-checkpoint", &["audit", "verify", "--checkpoint", "nowhere.txt"], 2),
    ];
    let other = "other.example/doorbook/00\n5\nqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\n\n\u{2014} other.example/doorbook/00 AAAAAA==\n";
    fs::write(golden.dir.path().join("other.txt"), other).unwrap();
    let mut all = String::new();
    for (name, line, code) in lines {
        let came = golden.run(None, line);
        assert_eq!(came.code, *code, "{name}: {}", came.shown());
        assert!(came.out.is_empty() && !came.err.contains("panicked"), "{name}: {}", came.shown());
        let err = came.err.replace(&golden.dir.path().display().to_string(), "HERE");
        all.push_str(&format!("{name}: exit {}\n{err}\n", came.code));
    }
    snapshot!("golden-not-answered", all);
}

/// Asks everything that a look at a log can be asked without a name.
fn answers(golden: &Golden) -> Vec<(u8, String)> {
    let lines: &[&[&str]] = &[
        &["audit", "log", "--format", "jsonl"],
        &["audit", "log", "--user", "person.2", "--format", "jsonl"],
    ];
    lines.iter().map(|line| golden.run(None, line)).map(|came| (came.code, came.out)).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Copies a data directory as it stands.
fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

#[test]
fn no_changed_byte_both_changes_an_answer_and_passes() {
    let golden = Golden::new();
    // A command that may write closes it in order, so that it stands as a stopped log does.
    let came = golden.run(None, &["sessions", "list"]);
    assert_eq!(came.code, 0, "{}", came.shown());
    let expected = answers(&golden);
    assert!(expected.iter().all(|(code, _)| *code == 0));
    let db = fs::read(golden.data().join("log/db")).unwrap();
    let frames = places(&db);
    assert!(frames.len() > 900, "{} frames were found in the database", frames.len());
    let (mut unseen, mut refused, mut found) = (0, 0, 0);
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let tries = std::env::var("TAMPER_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(TRIES);
    for round in 0..tries {
        let tampered = Golden { dir: TempDir::new().unwrap() };
        copy(&golden.data(), &tampered.data());
        // A byte of a record, of the database anywhere, or of the file that knows what was acknowledged.
        let (name, at) = match round % 5 {
            0..3 => {
                let (start, length) = frames[dice.below(frames.len())];
                ("log/db", start + dice.below(length))
            }
            3 => ("log/db", dice.below(db.len())),
            _ => ("HEAD", dice.below(8_192)),
        };
        let path = tampered.data().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1 << dice.below(8);
        fs::write(&path, bytes).unwrap();
        let verdict = tampered.run(None, &["audit", "verify"]);
        assert!(!verdict.err.contains("panicked"), "{}", verdict.shown());
        match verdict.code {
            0 => {
                assert!(answers(&tampered) == expected, "byte {at} of {name} changes an answer and passes");
                unseen += 1;
            }
            1 => found += 1,
            _ => refused += 1,
        }
    }
    // Most bytes of a database belong to no record that counts.
    assert!(unseen > 0 && refused + found > 0, "{unseen} change nothing, {refused} refused, {found} found");
}

/// Finds the frames of the golden log in the bytes of the database: where each begins, and its length.
fn places(db: &[u8]) -> Vec<(usize, usize)> {
    use base64::Engine as _;

    let mut by_beginning: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let text = fs::read_to_string(fixture("log.jsonl")).unwrap();
    let frames: Vec<Vec<u8>> = text
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["raw"].as_str().map(String::from)
        })
        .map(|raw| base64::engine::general_purpose::STANDARD.decode(raw).unwrap())
        .collect();
    // Behind format, schema and length stands the id, which no two have in common.
    for (at, frame) in frames.iter().enumerate() {
        by_beginning.entry(&frame[..24]).or_default().push(at);
    }
    let mut places = Vec::new();
    for at in 0..db.len().saturating_sub(24) {
        if db[at] != 1 || db[at + 1] != 0 {
            continue;
        }
        for frame in by_beginning.get(&db[at..at + 24]).into_iter().flatten() {
            if db[at..].starts_with(&frames[*frame]) {
                places.push((at, frames[*frame].len()));
            }
        }
    }
    places
}

/// xorshift64*: the same changes every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16).unwrap() % limit
    }
}

/// The story is told with 500 by `.ci/run`.
const TRIES: u32 = 40;
