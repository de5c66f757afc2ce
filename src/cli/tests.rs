//! What the command line promises, seen from outside: arguments in, text and exit code out.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use tempfile::TempDir;
use tokio::sync::oneshot;

mod proxy;

use super::*;
use crate::clock::ManualClock;
use crate::control::fake::Fake;
use crate::control::{Answers, RotatedKey, Server};
use crate::disk::RealDisk;
use crate::domain::time::Timestamp;

mod access;

const NOW: Timestamp = Timestamp(1_767_337_200_000); // 2026-01-02T07:00:00Z

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

/// A terminal session: what is typed, and where.
struct Shell {
    dir: TempDir,
    env: Vec<(&'static str, String)>,
    typed: &'static str,
    /// Typed where nobody sees it.
    hidden: &'static [&'static str],
    terminal: bool,
    width: Option<u16>,
}

/// What came out.
struct Came {
    code: ExitCode,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Shell {
        Shell {
            dir: TempDir::new().unwrap(),
            env: Vec::new(),
            typed: "",
            hidden: &[],
            terminal: false,
            width: Some(100),
        }
    }

    fn configured() -> Shell {
        let env = vec![
            ("DISCORD_OAUTH_CLIENT_ID", "197038439483310086".to_owned()),
            ("DISCORD_OAUTH_SECRET", "canary-client-secret".to_owned()),
            ("DISCORD_REDIRECT_URL", "https://auth.example.org/api/auth/discord/redirect".to_owned()),
        ];
        Shell { env, ..Shell::new() }
    }

    fn set(mut self, name: &'static str, value: &str) -> Shell {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    fn file(self, name: &str, text: &str) -> Shell {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn at_terminal(self, typed: &'static str) -> Shell {
        Shell { typed, terminal: true, ..self }
    }

    fn hiding(self, hidden: &'static [&'static str]) -> Shell {
        Shell { hidden, ..self }
    }

    fn piped(self, typed: &'static str) -> Shell {
        Shell { typed, ..self }
    }

    fn outside(&self, out: Box<dyn Write>, err: Box<dyn Write>) -> Outside {
        let mut hidden = self.hidden.iter();
        Outside {
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: self.dir.path().to_owned(),
            system_file: self.dir.path().join("etc.toml"),
            stdin: Box::new(Cursor::new(self.typed)),
            stdout: out,
            stderr: err,
            stdin_is_terminal: self.terminal,
            stdout_is_terminal: self.terminal,
            stderr_is_terminal: self.terminal,
            width: self.width,
            clock: Arc::new(ManualClock::new(NOW)),
            probe: crate::event_log::Probe::InProcess,
            ask_hidden: Box::new(move |_| {
                let typed = hidden.next().ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok((*typed).to_owned())
            }),
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            diagnostics: |_, _| {},
        }
    }

    fn run(&self, line: &[&str]) -> Came {
        self.run_in(self, line)
    }

    /// Runs it in the directory of another one.
    fn run_in(&self, other: &Shell, line: &[&str]) -> Came {
        let (out, err) = (Paper::default(), Paper::default());
        let mut outside = self.outside(Box::new(out.clone()), Box::new(err.clone()));
        outside.cwd = other.dir.path().to_owned();
        let code =
            run(std::iter::once("doorbook").chain(line.iter().copied()).map(OsString::from), &mut outside);
        Came { code, out: out.text(), err: err.text() }
    }

    /// Puts a server on `./data`, in a thread of its own, until the answer is dropped.
    fn serving(&self, fake: Fake) -> Serving {
        let data = self.dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let fake = Arc::new(fake);
        let answers = Arc::clone(&fake) as Arc<dyn Answers>;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&data).unwrap();
                ready.send(()).unwrap();
                let clock = Arc::new(ManualClock::new(NOW));
                server.serve(answers, clock, async { drop(stopped.await) }).await;
            });
        });
        is_ready.recv().unwrap();
        Serving { fake, stop: Some(stop), thread: Some(thread) }
    }
}

struct Serving {
    fake: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.take();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Came {
    /// Shows the whole of it.
    fn shown(&self) -> String {
        let code = (0..=3).find(|code| ExitCode::from(*code) == self.code).expect("a known exit code");
        format!("exit {code}\n--- standard output\n{}--- standard error\n{}", self.out, self.err)
    }

    #[track_caller]
    fn exits(&self, code: u8) {
        assert_eq!(self.code, ExitCode::from(code), "{}", self.shown());
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let all: [&[&str]; 37] = [
        &[],
        &["serve"],
        &["demo"],
        &["mock-discord"],
        &["sessions"],
        &["sessions", "list"],
        &["sessions", "revoke"],
        &["config"],
        &["config", "check"],
        &["audit"],
        &["audit", "log"],
        &["audit", "show"],
        &["audit", "state"],
        &["audit", "diff"],
        &["audit", "verify"],
        &["audit", "checkpoint"],
        &["audit", "stats"],
        &["user"],
        &["user", "export"],
        &["user", "erase"],
        &["explain"],
        &["export"],
        &["import"],
        &["backup"],
        &["restore"],
        &["keys"],
        &["keys", "rotate"],
        &["keys", "escrow"],
        &["keys", "restore"],
        &["retention"],
        &["retention", "apply"],
        &["proxy"],
        &["rules"],
        &["rules", "replay"],
        &["health"],
        &["completions"],
        &["man"],
    ];
    for words in all {
        let came = Shell::new().run(&[words, &["--help"]].concat());
        came.exits(0);
        assert!(came.err.is_empty(), "{}", came.err);
        assert!(came.out.contains("\nExample"), "{words:?}: {}", came.out);
        assert!(came.out.lines().all(|line| line.chars().count() <= 100), "{words:?} fits into 100 columns");
        let name = [&["help"], words].concat().join("_").replace('-', "_");
        snapshot!(name, came.out);
    }
}

#[test]
fn nothing_configured_names_everything_that_is_missing_and_the_demo() {
    let came = Shell::new().run(&["serve"]);
    snapshot!("serve_nothing_configured", came.shown());
    snapshot!("config_check_nothing_configured", Shell::new().run(&["config", "check"]).shown());
}

#[test]
fn bad_input_is_exit_2_names_its_place_and_writes_nothing() {
    let rows = [
        (
            "redirect_not_http",
            Shell::configured().set("DISCORD_REDIRECT_URL", "ftp://a.example/api/auth/discord/redirect"),
        ),
        (
            "redirect_other_path",
            Shell::configured().set("DISCORD_REDIRECT_URL", "https://auth.example.org/callback"),
        ),
        ("short_secret", Shell::configured().set("COOKIE_SECRET", "canary").set("ENCRYPT_SECRET", "canary")),
        ("unreadable_secret_file", Shell::configured().set("COOKIE_SECRET_FILE", "/no/such/file")),
        ("unknown_key", Shell::configured().file("doorbook.toml", "# ours\n\nsesion_idle = \"7d\"\n")),
        ("bad_duration", Shell::configured().file(".env", "DOORBOOK_SESSION_IDLE=a week\n")),
        ("bad_duration_quoted", Shell::configured().file(".env", "DOORBOOK_SESSION_IDLE='a week'\n")),
        ("bad_cidr", Shell::configured().set("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/33")),
        ("origins", Shell::configured().set("DOORBOOK_ALLOWED_ORIGINS", "*")),
        ("later_setting", Shell::configured().set("DOORBOOK_METRICS_LISTEN", "127.0.0.1:9090")),
        ("bad_rules", Shell::configured().file("doorbook.toml", BAD_RULES)),
    ];
    for (name, shell) in rows {
        let before = std::fs::read_dir(shell.dir.path()).unwrap().count();
        let came = shell.run(&["serve"]);
        came.exits(2);
        assert!(came.out.is_empty() && !came.err.contains("canary"), "{}", came.shown());
        assert_eq!(std::fs::read_dir(shell.dir.path()).unwrap().count(), before, "nothing is written");
        snapshot!(format!("bad_input_{name}"), came.shown());
    }
}

#[test]
fn a_good_configuration_is_shown_without_its_secrets() {
    let shell = Shell::configured()
        .set("COOKIE_SECRET", "canary-cookie-secret-0123456789abcdef")
        .file(".env", "DOORBOOK_SESSION_IDLE=14d\n")
        .file("doorbook.toml", "allow = [\"email:example.org\"]\n");
    let came = shell.run(&["config", "check", "--port", "8080"]);
    assert!(!came.shown().contains("canary"));
    snapshot!("config_check_good", came.shown());
    let jsonl = shell.run(&["config", "check", "--format", "jsonl"]);
    assert!(!jsonl.shown().contains("canary"));
    assert!(
        jsonl.out.starts_with("{\"setting\":\"DISCORD_OAUTH_CLIENT_ID\",\"value\":\"197038439483310086\",")
    );
}

/// Rules with a mistake in every table.
const BAD_RULES: &str = r#"
allow = "group:staff,role:1"

[[group]]
name = "stuff"
any = [{ guild = "nelly's" }]

[[rule]]
host = "*"
allow = [{ group = "staff" }]

[[rule]]
host = "wiki.example.org"
public = true
alow = [{ signed_in = true }]
port = 3001
"#;

/// Rules for hosts that the cookie reaches, that it does not, and both.
const RULES: &str = r#"
cookie_domain = "apps.example.org"

[[group]]
name = "staff"
any = [{ guild = "197038439483310086", role = "41771983423143936" }, { email_domain = "example.org" }]

[[rule]]
host = "wiki.apps.example.org"
path = "/admin"
allow = [{ group = "staff" }]

[[rule]]
host = "wiki.apps.example.org"
public = true

[[rule]]
host = "files.example.net"
allow = [{ group = "staff" }]

[[rule]]
host = "*.example.org"
allow = [{ signed_in = true }]

[[rule]]
host = "git.example.org"
public = true
"#;

#[test]
fn each_host_of_a_rule_is_shown_with_the_way_its_cookie_comes() {
    let shell = Shell::configured()
        .set("DISCORD_REDIRECT_URL", "https://auth.apps.example.org/api/auth/discord/redirect")
        .file("doorbook.toml", RULES);
    let came = shell.run(&["config", "check"]);
    came.exits(0);
    snapshot!("config_check_rules", came.shown());
    for format in ["json", "csv"] {
        let came = shell.run(&["config", "check", "--format", format]);
        let all: Vec<&str> = came.out.lines().skip_while(|line| !line.contains("RUST_LOG")).collect();
        snapshot!(format!("config_check_rules_{format}"), all.join("\n"));
    }
}

#[test]
fn what_is_allowed_and_hardly_meant_is_a_warning_beside_a_good_configuration() {
    let redirect = |origin: &str| {
        Shell::configured().set("DISCORD_REDIRECT_URL", &format!("{origin}/api/auth/discord/redirect"))
    };
    let rows = [
        ("other_port", redirect("http://localhost:3000")),
        ("clear_cookies", redirect("http://auth.example.org")),
        (
            "clear_secret_and_every_proxy",
            Shell::configured()
                .set("DISCORD_API_URL", "http://discord.internal/api")
                .set("DOORBOOK_TRUSTED_PROXIES", "::/0"),
        ),
    ];
    for (name, shell) in rows {
        let came = shell.run(&["config", "check"]);
        came.exits(0);
        snapshot!(format!("config_check_warns_{name}"), came.err);
    }
}

#[test]
fn wrong_use_is_exit_2_and_version_and_help_are_results() {
    Shell::new().run(&["dance"]).exits(2);
    Shell::new().run(&[]).exits(2);
    Shell::new().run(&["serve", "--discord-oauth-secret", "canary"]).exits(2);
    Shell::new().run(&["sessions", "list", "--ip", "10.0.0.0/33"]).exits(2);
    Shell::new().run(&["sessions", "list", "--session", "12"]).exits(2);
    Shell::new().run(&["sessions", "list", "--since", "yesterday"]).exits(2);
    let version = Shell::new().run(&["--version"]);
    version.exits(0);
    assert_eq!(version.out, format!("doorbook {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn sessions_are_listed_in_every_format() {
    let shell = Shell::new();
    let _serving = shell.serving(Fake::new());
    for format in ["table", "json", "jsonl", "csv"] {
        let came = shell.run(&["sessions", "list", "--format", format]);
        snapshot!(format!("sessions_list_{format}"), came.shown().replace('\r', "<CR>"));
    }
}

/// Sessions as people have them: an address that is long, a name that is longer, times that are not even.
fn guests(names: [&str; 2]) -> Fake {
    let fake = Fake::new();
    {
        let mut sessions = fake.sessions.lock().unwrap();
        sessions.truncate(2);
        for (listed, name) in sessions.iter_mut().zip(names) {
            let row = &mut listed.row;
            row.user.as_mut().unwrap().username = name.to_owned();
            row.last_seen_at = Timestamp(row.last_seen_at.0 + 334);
            row.user_agent = Some(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
                    .to_owned(),
            );
        }
    }
    fake
}

#[test]
fn a_terminal_shows_what_it_has_room_for_and_breaks_nothing_that_is_one_word() {
    let (short, long) = (guests(["marisol.k", "quietfox"]), guests(["marisol.k", &"a".repeat(32)]));
    let far = guests(["marisol.k", "quietfox"]);
    far.sessions.lock().unwrap()[0].row.ip = "2001:db8:85a3:8d3:1319:8a2e:370:7348".parse().ok();
    for (name, fake) in [("short", short), ("long", long), ("far", far)] {
        let mut shell = Shell::new();
        let _serving = shell.serving(fake);
        for width in [80, 120, 200] {
            shell.width = Some(width);
            let came = shell.run(&["sessions", "list"]);
            came.exits(0);
            assert!(came.out.lines().all(|line| line.chars().count() <= width.into()), "{}", came.out);
            snapshot!(format!("sessions_list_{name}_{width}_columns"), came.out);
        }
    }
}

#[test]
fn every_filter_reaches_the_server() {
    let shell = Shell::new();
    let _serving = shell.serving(Fake::new());
    let lines = |words: &[&str]| {
        let came = shell.run(&[&["sessions", "list", "--format", "jsonl"], words].concat());
        came.exits(0);
        came.out.lines().count()
    };
    assert_eq!(lines(&[]), 3);
    assert_eq!(lines(&["--user", "80351110224678912"]), 2);
    assert_eq!(lines(&["--user", "bob"]), 1);
    assert_eq!(lines(&["--session", &"03".repeat(16)]), 1);
    assert_eq!(lines(&["--ip", "192.0.2.2"]), 1);
    assert_eq!(lines(&["--ip", "192.0.2.0/30"]), 3);
    assert_eq!(lines(&["--since", "2h"]), 2);
    assert_eq!(lines(&["--since", "2026-01-02T06:00:00Z"]), 1);
    let nobody = shell.run(&["sessions", "list", "--user", "nobody"]);
    nobody.exits(1);
    assert_eq!(nobody.err, "doorbook: nobody in this log goes by that name\n");
    let nothing = shell.run(&["sessions", "list", "--user", "bob", "--ip", "192.0.2.77"]);
    nothing.exits(1);
    assert_eq!(nothing.err.lines().last(), Some("doorbook: no live session fits"));
}

#[test]
fn a_name_that_fits_two_people_is_refused_and_both_are_named() {
    let shell = Shell::new();
    let serving = shell.serving(Fake::new());
    snapshot!("sessions_ambiguous", shell.run(&["sessions", "revoke", "--user", "nelly", "--yes"]).shown());
    assert!(serving.fake.revoked.lock().unwrap().is_empty());
}

#[test]
fn a_time_in_the_local_zone_is_said_back_in_utc() {
    let shell = Shell::new();
    let _serving = shell.serving(Fake::new());
    let said = |since: &str| shell.run(&["sessions", "list", "--since", since]).err;
    assert_eq!(said("2026-01-02 05:00"), "since 2026-01-02T04:00:00Z\n");
    assert_eq!(said("1d"), "since 2026-01-01T07:00:00Z\n");
    assert_eq!(said("2026-01-02T04:00:00Z"), "");
}

#[test]
fn revoking_asks_at_a_terminal_and_does_what_was_answered() {
    let shell = Shell::new().at_terminal("n\n");
    let serving = shell.serving(Fake::new());
    snapshot!("sessions_revoke_declined", shell.run(&["sessions", "revoke", "--user", "bob"]).shown());
    assert!(serving.fake.revoked.lock().unwrap().is_empty());
    let shell = shell.at_terminal("y\n");
    let came = shell.run(&["sessions", "revoke", "--user", "bob", "--reason", "stolen laptop"]);
    snapshot!("sessions_revoke_confirmed", came.shown());
    let revoked = serving.fake.revoked.lock().unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].1.as_deref(), Some("stolen laptop"));
}

#[test]
fn revoking_without_a_terminal_needs_yes_and_without_a_choice_does_nothing() {
    let shell = Shell::new();
    let serving = shell.serving(Fake::new());
    let came = shell.run(&["sessions", "revoke", "--user", "bob"]);
    came.exits(2);
    assert_eq!(came.err, "doorbook: this changes something: without a terminal it needs --yes\n");
    shell.run(&["sessions", "revoke", "--yes"]).exits(2);
    shell.run(&["sessions", "revoke", "--yes", "--user", "bob", "--reason", &"x".repeat(501)]).exits(2);
    shell.run(&["sessions", "revoke", "--yes", "--user", "nobody"]).exits(1);
    assert!(serving.fake.revoked.lock().unwrap().is_empty());
    let came = shell.run(&["sessions", "revoke", "--user", "bob", "--yes", "--format", "jsonl"]);
    came.exits(0);
    assert_eq!((came.out.lines().count(), came.err.as_str()), (1, "1 session ended\n"));
}

#[test]
fn keys_are_changed_for_others_as_they_are_named_and_both_where_none_is() {
    let shell = Shell::new().at_terminal("y\n");
    let serving = shell.serving(Fake::new());
    snapshot!("keys_rotate", shell.run(&["keys", "rotate"]).shown());
    shell.run(&["keys", "rotate", "--kek"]).exits(0);
    shell.run(&["keys", "rotate", "--signer"]).exits(0);
    let (root, signer) = (RotatedKey::Root, RotatedKey::Signer);
    assert_eq!(*serving.fake.rotated.lock().unwrap(), [root, signer, root, signer]);
    let declined = shell.at_terminal("\n").run(&["keys", "rotate"]);
    declined.exits(1);
    let unasked = Shell { terminal: false, ..Shell::new() }.run(&["keys", "rotate"]);
    unasked.exits(2);
    assert_eq!(serving.fake.rotated.lock().unwrap().len(), 4);
}

#[test]
fn months_that_are_past_are_named_before_they_end_and_printed_after() {
    let shell = Shell::new().at_terminal("n\n");
    let serving = shell.serving(Fake::new());
    snapshot!("retention_apply_declined", shell.run(&["retention", "apply"]).shown());
    assert_eq!(serving.fake.due.lock().unwrap().len(), 2);
    let shell = shell.at_terminal("yes\n");
    snapshot!("retention_apply_confirmed", shell.run(&["retention", "apply"]).shown());
    let none = shell.run(&["retention", "apply"]);
    none.exits(0);
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "nothing was due\n"), "and nobody is asked");
    serving.fake.due.lock().unwrap().push(crate::domain::time::Month(202_501));
    let rows = shell.run(&["retention", "apply", "--yes", "--format", "jsonl"]);
    rows.exits(0);
    assert_eq!(rows.out, "{\"month\":\"2025-01\"}\n");
    Shell::new().run(&["retention", "apply"]).exits(2);
}

const WORDS: &str = "correct horse battery staple";

#[test]
fn an_escrow_is_asked_for_twice_and_gives_the_keys_back_elsewhere() {
    let shell = Shell::new().at_terminal("");
    let data = shell.dir.path().join("data");
    let keys = crate::crypto::KeySettings {
        dir: data.join("keys"),
        log_id: crate::domain::id::LogId([0x4C; 16]),
        encrypt_secret: None,
        cookie_secret: None,
    };
    let (entropy, disk) = (Arc::new(crate::entropy::SeededEntropy::new("keys")), Arc::new(RealDisk));
    drop(crate::crypto::KeyRing::create(keys, entropy, disk).unwrap());
    let before = files(&data.join("keys"));

    for (hidden, said) in [
        (&["too short"][..], "doorbook: the passphrase has fewer than 12 characters\n"),
        (
            &[WORDS, "correct horse battery stable"],
            "doorbook: these were two passphrases; nothing was written\n",
        ),
    ] {
        let refused =
            Shell::new().at_terminal("").hiding(hidden).run_in(&shell, &["keys", "escrow", "keys.escrow"]);
        refused.exits(2);
        assert_eq!(refused.err, said);
    }
    let unasked = Shell::new().run_in(&shell, &["keys", "escrow", "keys.escrow"]);
    unasked.exits(2);
    assert!(unasked.err.contains("--passphrase-stdin"), "{}", unasked.err);
    assert!(!shell.dir.path().join("keys.escrow").exists());

    let made = Shell::new()
        .at_terminal("")
        .hiding(&[WORDS, WORDS])
        .run_in(&shell, &["keys", "escrow", "keys.escrow"]);
    made.exits(0);
    let file = shell.dir.path().join("keys.escrow");
    let header = crate::crypto::EscrowHeader::read(&std::fs::read(&file).unwrap()).unwrap();
    let shown = made.shown().replace(&header.fingerprint.to_string(), "<fingerprint>");
    snapshot!("keys_escrow", shown.replace(&shell.dir.path().display().to_string(), ""));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(files(&data.join("keys")), before, "nothing new is in keys/");
    assert!(std::fs::read_to_string(data.join("escrow.last")).unwrap().contains("2026-01-02T07:00:00Z"));

    let kept = Shell::new().piped("another passphrase\n");
    kept.run_in(&shell, &["keys", "escrow", "keys.escrow", "--passphrase-stdin"]).exits(2);
    let forced = Shell::new().piped("correct horse battery staple\r\nmore\n");
    forced.run_in(&shell, &["keys", "escrow", "keys.escrow", "--passphrase-stdin", "--force"]).exits(0);

    let there = ["keys", "restore", "keys.escrow", "--passphrase-stdin"];
    let elsewhere = [&there[..], &["--data-dir", "elsewhere"]].concat();
    let wrong = Shell::new().piped("another passphrase\n").run_in(&shell, &elsewhere);
    wrong.exits(1);
    assert_eq!(wrong.err, "doorbook: the passphrase does not open the escrow\n");
    assert!(!shell.dir.path().join("elsewhere").exists(), "and nothing is made");
    std::fs::write(shell.dir.path().join("no.escrow"), b"hello").unwrap();
    Shell::new().at_terminal("").hiding(&[WORDS]).run_in(&shell, &["keys", "restore", "no.escrow"]).exits(1);

    let restored = Shell::new().piped("correct horse battery staple\n").run_in(&shell, &elsewhere);
    snapshot!("keys_restore", restored.shown().replace(&shell.dir.path().display().to_string(), ""));
    assert_eq!(files(&shell.dir.path().join("elsewhere/keys")), before);
    Shell::new()
        .at_terminal("")
        .hiding(&[WORDS])
        .run_in(&shell, &["keys", "restore", "keys.escrow"])
        .exits(0);
    std::fs::write(data.join("keys/months"), b"precious").unwrap();
    let refused =
        Shell::new().at_terminal("").hiding(&[WORDS]).run_in(&shell, &["keys", "restore", "keys.escrow"]);
    refused.exits(2);
    assert_eq!(std::fs::read(data.join("keys/months")).unwrap(), b"precious");
}

fn files(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_leaked_cookie_is_read_from_standard_input_in_the_forms_it_is_copied_in() {
    let cookie = Fake::token().to_cookie();
    for typed in [format!("{cookie}\n"), format!("__Host-doorbook={cookie};"), format!("doorbook={cookie}")] {
        let shell = Shell::new().piped(typed.leak());
        let _serving = shell.serving(Fake::new());
        let came = shell.run(&["sessions", "list", "--token-stdin", "--format", "jsonl"]);
        came.exits(0);
        assert!(came.out.contains(&"01".repeat(16)) && came.out.lines().count() == 1, "{}", came.out);
    }
    // That of an app names its session and holds no secret.
    let host = crate::domain::host::Host::parse("wiki.example.org").unwrap();
    let app = crate::domain::app_cookie::AppCookie {
        session: crate::domain::id::SessionId([1; 16]),
        scope: crate::domain::app_cookie::Scope::Host(host),
    };
    let typed = format!("__Host-doorbook-app={}\n", app.serialize(|_| [0; 32]));
    let shell = Shell::new().piped(typed.clone().leak());
    let _serving = shell.serving(Fake::new());
    let came = shell.run(&["sessions", "list", "--token-stdin", "--format", "jsonl"]);
    came.exits(0);
    assert!(came.out.contains(&"01".repeat(16)) && came.out.lines().count() == 1, "{}", came.out);
    let other = "02".repeat(16);
    let came = Shell::new()
        .piped(typed.leak())
        .run_in(&shell, &["sessions", "list", "--token-stdin", "--session", &other]);
    came.exits(2);

    let shell = Shell::new().piped("canary\n");
    let came = shell.run(&["sessions", "list", "--token-stdin"]);
    came.exits(2);
    assert!(!came.shown().contains("canary"));
}

#[test]
fn a_log_that_cannot_be_written_is_the_environments_failure() {
    let shell = Shell::new();
    let _serving = shell.serving(Fake::new());
    let came =
        shell.run(&["sessions", "revoke", "--user", "bob", "--yes", "--reason", "while the log is full"]);
    came.exits(3);
    assert_eq!(came.err, "doorbook: the log cannot be written\n");
}

#[test]
fn health_is_a_question_with_an_exit_code() {
    let shell = Shell::new();
    let came = shell.run(&["health"]);
    came.exits(1);
    assert_eq!(came.err, "doorbook: no server is running here\n");
    let answer = |ready, log_available| {
        let health = crate::control::Health { ready, log_available };
        let _serving = shell.serving(Fake { health, ..Fake::new() });
        shell.run(&["health"])
    };
    let ready = answer(true, true);
    ready.exits(0);
    assert_eq!(ready.out, "ready\n");
    answer(true, false).exits(0);
    answer(false, true).exits(1);
}

#[test]
fn completions_and_manual_pages_come_out_for_every_shell_and_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let came = Shell::new().run(&["completions", shell]);
        came.exits(0);
        assert!(came.out.contains("mock-discord") && came.out.contains("revoke"), "{shell}");
    }
    let page = |words: &[&str]| Shell::new().run(&[&["man"], words].concat());
    assert!(page(&[]).out.contains(".TH doorbook 1"));
    assert!(page(&["sessions", "revoke"]).out.contains(".TH doorbook-sessions-revoke 1"));
    page(&["dance"]).exits(2);
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let shell = Shell::configured();
    let _serving = shell.serving(Fake::new());
    let lines: [&[&str]; 7] = [
        &["--help"],
        &["config", "check"],
        &["sessions", "list"],
        &["sessions", "list", "--format", "csv"],
        &["completions", "bash"],
        &["man"],
        &["health"],
    ];
    for line in lines {
        let err = Paper::default();
        let mut outside = shell.outside(Box::new(Gone), Box::new(err.clone()));
        let code =
            run(std::iter::once("doorbook").chain(line.iter().copied()).map(OsString::from), &mut outside);
        assert_eq!((code, err.text().as_str()), (ExitCode::SUCCESS, ""), "{line:?}");
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let came = Shell::new().at_terminal("").run(&["dance"]);
    assert!(came.err.contains('\u{1b}'), "{:?}", came.err);
    let plain = Shell::new().at_terminal("").set("NO_COLOR", "1").run(&["dance"]);
    assert!(!plain.err.contains('\u{1b}'), "{:?}", plain.err);
    assert!(!Shell::new().run(&["dance"]).err.contains('\u{1b}'));
}

#[test]
fn the_demo_reads_no_configuration() {
    // A configuration that any other command would refuse.
    let shell =
        Shell::new().file(".env", "nonsense\n").file("doorbook.toml", "nonsense\n").set("PORT", "nonsense");
    let came = shell.run(&["demo", "--data-dir", "/dev/null/nowhere", "--port", "0", "--discord-port", "0"]);
    assert!(!came.err.contains("configuration"), "{}", came.shown());
    assert_ne!(came.code, ExitCode::from(2));
}

#[test]
fn nothing_here_needs_the_process_environment() {
    let sources = Shell::new().outside(Box::new(Gone), Box::new(Gone)).sources(BTreeMap::new());
    assert!(sources.env.is_empty() && sources.cwd != Path::new(env!("CARGO_MANIFEST_DIR")));
}
