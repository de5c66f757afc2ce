//! Every way to start it wrongly ends with a sentence and the right exit code.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::harness::{Ended, House, Process, binary, free_port};

/// The exit code, and that it ended with a sentence instead of a panic.
fn refused(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.lines().any(|line| line.starts_with("doorbook: ")), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_configured_names_every_missing_variable_and_the_demo() {
    let empty = tempfile::TempDir::new().expect("a directory");
    let mut process = Process::spawn_in(empty.path(), &["serve"], BTreeMap::new(), free_port());
    let ended = process.ends().await;
    refused(&ended, 2);
    for named in ["DISCORD_OAUTH_CLIENT_ID", "DISCORD_OAUTH_SECRET", "DISCORD_REDIRECT_URL", "doorbook demo"]
    {
        assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
    }
    assert_eq!(std::fs::read_dir(empty.path()).expect("a directory").count(), 0, "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_is_named_and_nothing_is_written() {
    let house = House::for_processes().await;
    let wrong = [
        ("DISCORD_REDIRECT_URL", "ftp://localhost:3001/api/auth/discord/redirect"),
        ("DISCORD_REDIRECT_URL", "http://localhost:3001/elsewhere"),
        ("COOKIE_SECRET", "short-canary"),
        ("DISCORD_OAUTH_SECRET_FILE", "/nowhere/secret"),
        ("DOORBOOK_SESSION_IDLE", "soon"),
        ("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/99"),
    ];
    for (name, value) in wrong {
        let ended = Process::spawn(&house, &["serve"], &[(name, value)]).ends().await;
        refused(&ended, 2);
        assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("short-canary"), "{}", ended.stderr);
        assert!(!house.data_dir().exists(), "{name}: nothing is written");
    }
    std::fs::write(
        house.dir.path().join("doorbook.toml"),
        "session_idle = \"1d\"\nsesion_max_age = \"1d\"\n",
    )
    .expect("a file");
    let ended = Process::spawn(&house, &["serve"], &[]).ends().await;
    refused(&ended, 2);
    assert!(ended.stderr.contains("sesion_max_age"), "{}", ended.stderr);
    assert!(!house.data_dir().exists(), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rules_than_a_record_can_hold_are_refused_and_nothing_is_written() {
    let house = House::for_processes().await;
    let terms: Vec<String> = (0..1_000).map(|n| format!("email:{}.{n}.example", "a".repeat(60))).collect();
    let ended = Process::spawn(&house, &["serve"], &[("DOORBOOK_ALLOW", &terms.join(","))]).ends().await;
    refused(&ended, 2);
    assert!(ended.stderr.contains("60000 is the most"), "{}", ended.stderr);
    assert!(!house.data_dir().exists(), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_and_hardly_meant_is_one_trace_of_a_server_that_starts() {
    let house = House::for_processes().await;
    // Browsers of this house come back to a port of its own choice.
    let ended = Process::serve(&house).await.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("DISCORD_REDIRECT_URL")).collect();
    let [warning] = said[..] else { panic!("{}", ended.stderr) };
    assert!(warning.contains("names port 3001 of this machine"), "{warning}");
    assert!(warning.contains("WARN"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let house = House::for_processes().await;
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let ended = Process::spawn(&house, &["serve"], &[("PORT", &port.to_string())]).ends().await;
    refused(&ended, 3);
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
    assert!(!house.data_dir().exists(), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_one_is_named() {
    let house = House::for_processes().await;
    let file = house.dir.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("a file");
    let link = house.dir.path().join("a-link");
    std::os::unix::fs::symlink("nowhere", &link).expect("a link");
    let shown = |path: &std::path::Path| path.display().to_string();
    for (path, blocker) in [
        (shown(&file), shown(&file)),
        (format!("{}/", file.display()), shown(&file)),
        (shown(&file.join("data")), shown(&file)),
        (shown(&file.join("deep/data")), shown(&file)),
        (shown(&link), shown(&link)),
    ] {
        let sentence = format!(
            "doorbook: the data directory {path} cannot be used: {blocker} is not a directory; name another place"
        );
        let (port, discord) = (free_port().to_string(), free_port().to_string());
        for args in [
            ["serve"].as_slice(),
            &["config", "check"],
            &["sessions", "list"],
            &["demo", "--data-dir", &path, "--port", &port, "--discord-port", &discord],
        ] {
            let ended = Process::spawn(&house, args, &[("DOORBOOK_DATA_DIR", &path)]).ends().await;
            let is_beside = |line: &&str| line.starts_with('{') || line.starts_with("warning: ");
            let said: Vec<&str> = ended.stderr.lines().filter(|line| !is_beside(line)).collect();
            assert_eq!((ended.code, said), (Some(3), vec![sentence.as_str()]), "{args:?} {path}");
        }
    }
    let ended = Process::spawn(&house, &["serve"], &[("DOORBOOK_DATA_DIR", "/proc/doorbook")]).ends().await;
    refused(&ended, 3);
    assert!(ended.stderr.contains("/proc/doorbook"), "{}", ended.stderr);
    assert!(!house.dir.path().join("nowhere").exists(), "nothing is written");
    assert_eq!(std::fs::read_to_string(file).expect("still a file"), "not a directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_somebody_else_is_refused_with_the_line_to_use() {
    let house = House::for_processes().await;
    std::fs::create_dir(house.data_dir()).expect("a directory");
    if std::os::unix::fs::chown(house.data_dir(), Some(12_345), None).is_err() {
        // Only root can give a directory away.
        return;
    }
    let ended = Process::spawn(&house, &["serve"], &[]).ends().await;
    refused(&ended, 3);
    assert!(ended.stderr.contains("sudo -u '#12345' doorbook"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("chown"), "that would break a service: {}", ended.stderr);
    assert_eq!(std::fs::read_dir(house.data_dir()).expect("a directory").count(), 0, "nothing is written");
}

/// The program as somebody who may not write where root may: `nobody`, or whoever runs the tests.
struct Somebody {
    /// Everybody may look into it, and into what is above it.
    dir: tempfile::TempDir,
    is_root: bool,
}

impl Somebody {
    fn new() -> Somebody {
        let dir = tempfile::TempDir::new().expect("a directory");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).expect("a mode");
        // The original may be where only its owner may look.
        std::fs::copy(binary(), dir.path().join("doorbook")).expect("a copy");
        Somebody { dir, is_root: rustix::process::geteuid().is_root() }
    }

    fn id(&self) -> String {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if self.is_root { "65534:65534".into() } else { format!("{user}:{group}") }
    }

    async fn serves(&self, house: &House, data_dir: &Path) -> Ended {
        let port = free_port();
        let mut command = std::process::Command::new(self.dir.path().join("doorbook"));
        command.arg("serve");
        if self.is_root {
            command.uid(65_534).gid(65_534);
        }
        let mut env: BTreeMap<String, String> = house.env().into_iter().collect();
        env.insert("PORT".into(), port.to_string());
        env.insert("DOORBOOK_DATA_DIR".into(), data_dir.display().to_string());
        Process::of(command, self.dir.path(), env, port).ends().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_may_not_be_written_is_refused_with_the_line_to_use() {
    let house = House::for_processes().await;
    let somebody = Somebody::new();
    let theirs = somebody.dir.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a directory");
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o555)).expect("a mode");
    let (id, below) = (somebody.id(), theirs.join("deep/data"));
    let (at, below_at) = (theirs.display(), below.display());
    for (data_dir, line) in [
        (&theirs, format!("chown -R {id} {at}")),
        (&below, format!("mkdir -p {below_at} && chown {id} {below_at}")),
    ] {
        let ended = somebody.serves(&house, data_dir).await;
        refused(&ended, 3);
        let said: Vec<&str> = ended.stderr.lines().filter(|line| !line.starts_with('{')).collect();
        assert!(said.len() == 1 && said[0].ends_with(&format!("it over: {line}")), "{}", ended.stderr);
        assert_eq!(std::fs::read_dir(&theirs).expect("a directory").count(), 0, "nothing is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused_and_its_server_goes_on() {
    let house = House::for_processes().await;
    let first = Process::serve(&house).await;
    let ended = Process::spawn(&house, &["serve"], &[]).ends().await;
    refused(&ended, 3);
    assert!(ended.stderr.contains("in use by another doorbook"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&house.data_dir().display().to_string()), "{}", ended.stderr);
    first.signed_in(&house, crate::harness::MARISOL).await;
    // Its socket has not been taken over either.
    let asked = Process::spawn(&house, &["health"], &[]).ends().await;
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_demo_made_is_no_log_to_serve_from() {
    let house = House::for_processes().await;
    let (port, discord) = (free_port(), free_port().to_string());
    let data = house.data_dir().display().to_string();
    let given = port.to_string();
    let args = ["demo", "--data-dir", &data, "--port", &given, "--discord-port", &discord];
    let mut demo = Process::spawn_in(house.dir.path(), &args, BTreeMap::new(), port);
    demo.ready().await;
    assert_eq!(demo.terminate().await.code, Some(0));
    let before = house.events();
    let ended = Process::spawn(&house, &["serve"], &[]).ends().await;
    refused(&ended, 3);
    assert!(ended.stderr.contains("made by `doorbook demo`"), "{}", ended.stderr);
    assert_eq!(house.events(), before, "not even the attempt is recorded");
}
