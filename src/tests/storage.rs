//! What an acknowledgement is worth, and what happens when the disk breaks its word.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorbook::disk::{Disk, RealDisk, Synced};
use doorbook::domain::event::Event;
use doorbook::event_log::Health;
use doorbook::serve::ServeError;
use sha2::{Digest, Sha256};

use crate::harness::{Browser, Ended, Exchange, House, MARISOL, Plan, Process, QUIETFOX};

/// A disk that obeys the test.
#[derive(Default)]
pub struct Disobedient {
    pub full: AtomicBool,
    pub fails: AtomicBool,
    pub fails_on: Option<Synced>,
}

impl Disobedient {
    fn sync(&self, what: Synced, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) && self.fails_on == Some(what) {
            return Err(io::Error::from_raw_os_error(5));
        }
        sync()
    }
}

impl Disk for Disobedient {
    fn sync_data(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, || RealDisk.sync_data(what, file))
    }

    fn sync_all(&self, what: Synced, file: &File) -> io::Result<()> {
        self.sync(what, || RealDisk.sync_all(what, file))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        if self.full.load(Ordering::SeqCst) { Ok(0) } else { RealDisk.free_space(path) }
    }
}

/// Comes back from Discord as a script would, so that a problem is a document.
async fn come_back(house: &House) -> (Browser, Exchange) {
    let mut browser = house.browser();
    let landed = come_back_in(&mut browser, house).await;
    (browser, landed)
}

async fn come_back_in(browser: &mut Browser, house: &House) -> Exchange {
    let begun = browser.begin("/api/auth/discord/login").await;
    let callback = browser.authorize(house.discord(), &begun, QUIETFOX).await;
    browser.send("GET", &callback, &[("Accept", "application/json")], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_sign_ins_and_nothing_else_until_there_is_room() {
    let disk = Arc::new(Disobedient::default());
    let house = House::with(Plan { disk: disk.clone(), ..Plan::default() }).await;
    let mut known = house.signed_in(MARISOL).await;
    let before = format!("{:?}", *house.doorbook().app.state());

    disk.full.store(true, Ordering::SeqCst);
    let (_, refused) = come_back(&house).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "log_unavailable"), "{refused}");
    let ready = known.fetch("GET", "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"log":"unavailable"}"#));
    assert_eq!(known.fetch("GET", "/api/auth/user").await.status, 200, "sessions are checked in memory");
    assert_eq!(format!("{:?}", *house.doorbook().app.state()), before, "nothing has changed");

    disk.full.store(false, Ordering::SeqCst);
    let mut health = house.doorbook().app.log_health();
    health.wait_for(|health| matches!(health, Health::Ok)).await.expect("the log goes on");
    assert_eq!(known.fetch("GET", "/readyz").await.body, r#"{"log":"ok"}"#);
    let (mut browser, landed) = come_back(&house).await;
    assert_eq!(landed.status, 200, "{landed}");
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
}

/// A sync that fails once is never believed again: this process acknowledges nothing more.
async fn after_a_failed_sync(fails_on: Synced) {
    let disk = Arc::new(Disobedient { fails_on: Some(fails_on), ..Disobedient::default() });
    let mut house = House::with(Plan { disk: disk.clone(), ..Plan::default() }).await;
    let known = house.signed_in(MARISOL).await;

    disk.fails.store(true, Ordering::SeqCst);
    let (_, refused) = come_back(&house).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "log_unavailable"), "{refused}");
    let failed = house.doorbook().failed().await;
    assert!(matches!(failed, ServeError::DiskFailed { .. }), "{failed}");
    assert!(!failed.is_configuration(), "exit 3, not 2");
    disk.fails.store(false, Ordering::SeqCst);
    let (_, refused) = come_back(&house).await;
    assert_eq!(refused.status, 503, "the disk works again, but what it holds is unknown: {refused}");
    let _ = house.stop_somehow().await;

    house.start().await.expect("the next start looks closely and finds the log whole");
    assert_eq!(known.at(&house).fetch("GET", "/api/auth/user").await.status, 200);
    house.signed_in(QUIETFOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_database_ends_the_process_for_good() {
    after_a_failed_sync(Synced::Database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_head_ends_the_process_for_good() {
    after_a_failed_sync(Synced::Head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_a_key_file_refuses_new_people_alone_and_only_for_as_long() {
    let disk = Arc::new(Disobedient { fails_on: Some(Synced::Keys), ..Disobedient::default() });
    let mut house = House::with(Plan { disk: disk.clone(), ..Plan::default() }).await;
    house.signed_in(MARISOL).await;

    disk.fails.store(true, Ordering::SeqCst);
    let (_, refused) = come_back(&house).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "log_unavailable"), "{refused}");
    house.signed_in(MARISOL).await;
    disk.fails.store(false, Ordering::SeqCst);
    let (quiet, landed) = come_back(&house).await;
    assert_eq!(landed.status, 200, "{landed}");
    house.restart().await;
    assert_eq!(quiet.at(&house).fetch("GET", "/api/auth/user").await.status, 200, "the key was kept");
}

/// SHA-256 of every file, by path.
fn bytes_of(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).expect("a file");
                found.insert(entry.path().display().to_string(), format!("{:x?}", Sha256::digest(bytes)));
            }
        }
    }
    found
}

/// Starts `doorbook serve`, which must refuse with one sentence and leave every byte as it was.
async fn refuses(house: &House, args: &[&str], env: &[(&str, &str)], code: i32) -> String {
    let before = bytes_of(&house.data_dir());
    let mut process = Process::spawn(house, &[&["serve"], args].concat(), env);
    let ended = process.ends().await;
    assert_eq!(bytes_of(&house.data_dir()), before, "every byte is as it was: {}", ended.stderr);
    one_sentence(&ended, code)
}

/// Returns the only line that is not a trace.
fn one_sentence(ended: &Ended, code: i32) -> String {
    let Ended { code: found, stdout, stderr } = ended;
    assert_eq!(*found, Some(code), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // A server that came up has said which redirect URL Discord must know.
    let is_welcome = |line: &str| line.starts_with("Discord must know") || line.starts_with("  register it");
    let plain: Vec<&str> =
        stderr.lines().filter(|line| !line.starts_with('{') && !is_welcome(line)).collect();
    assert_eq!(plain.len(), 1, "{stderr}");
    plain[0].strip_prefix("doorbook: ").expect("it says who speaks").to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    InOrder,
    Killed,
}

/// A house in which somebody has signed in, and which is closed now.
async fn lived_in(stop: Stop) -> (House, BTreeMap<String, String>) {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let browser = process.signed_in(&house, MARISOL).await;
    process.signed_in(&house, QUIETFOX).await;
    match stop {
        Stop::InOrder => assert_eq!(process.terminate().await.code, Some(0)),
        Stop::Killed => process.kill(),
    }
    (house, browser.cookies)
}

async fn goes_on_with_accept_loss(house: &House, cookies: BTreeMap<String, String>) {
    let mut process = Process::spawn(house, &["serve", "--accept-loss"], &[]);
    process.ready().await;
    let mut browser = process.visited_by(cookies);
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 401, "the sessions have ended");
    let back = process.signed_in(house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let events = house.events();
    let lost = |event: &Event| matches!(event, Event::LogLossAccepted { .. });
    assert!(events.iter().any(|(_, event)| lost(event)), "the loss is on record: {events:?}");
    // From now on it is a log like any other.
    let process = Process::serve(house).await;
    assert_eq!(process.visited_by(back.cookies).fetch("GET", "/api/auth/user").await.status, 200);
}

async fn refused_until_accepted(stop: Stop, damage: impl Fn(&Path)) {
    let (house, cookies) = lived_in(stop).await;
    damage(&house.data_dir().join("log/db"));
    let sentence = refuses(&house, &[], &[], 3).await;
    assert!(sentence.contains("--accept-loss"), "it says how to go on: {sentence}");
    assert!(sentence.contains("doorbook restore --salvage"), "{sentence}");
    goes_on_with_accept_loss(&house, cookies).await;
}

/// Cuts behind two thirds of what is written; what sled has only reserved is zeros.
fn cut_short(db: &Path) {
    let bytes = std::fs::read(db).expect("a database");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    let file = File::options().write(true).open(db).expect("a database");
    file.set_len(u64::try_from(written * 2 / 3).expect("small")).expect("shorter");
}

fn empty(db: &Path) {
    File::create(db).expect("an empty file");
}

fn remove(db: &Path) {
    std::fs::remove_file(db).expect("a database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_cut_short_is_refused_until_the_loss_is_accepted() {
    refused_until_accepted(Stop::InOrder, cut_short).await;
    refused_until_accepted(Stop::Killed, cut_short).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_database_is_refused_until_the_loss_is_accepted() {
    refused_until_accepted(Stop::InOrder, empty).await;
    refused_until_accepted(Stop::Killed, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_database_is_refused_until_the_loss_is_accepted() {
    refused_until_accepted(Stop::InOrder, remove).await;
    refused_until_accepted(Stop::Killed, |db| {
        std::fs::remove_dir_all(db.parent().expect("a directory")).expect("removed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_head_is_refused_whatever_is_accepted() {
    let (house, _) = lived_in(Stop::InOrder).await;
    std::fs::remove_file(house.data_dir().join("HEAD")).expect("removed");
    for args in [&[][..], &["--accept-loss"][..]] {
        let sentence = refuses(&house, args, &[], 3).await;
        assert!(sentence.contains("HEAD is missing"), "{sentence}");
    }
}

/// sled opens many damaged files without a word: whatever is hit, either all is there or it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_refused_or_has_lost_nothing() {
    const PLACES: usize = 12;
    let (house, cookies) = lived_in(Stop::InOrder).await;
    let db = house.data_dir().join("log/db");
    let kept = house.dir.path().join("kept");
    let copied = Command::new("cp").arg("-a").arg(house.data_dir()).arg(&kept).status();
    assert!(copied.expect("cp runs").success());
    let bytes = std::fs::read(&db).expect("a database");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    let mut refusals = 0;
    for place in 0..PLACES {
        let at = written * place / PLACES + 40;
        let file = File::options().write(true).open(&db).expect("a database");
        file.write_all_at(&[bytes[at] ^ 0x10], u64::try_from(at).expect("small")).expect("flipped");
        let before = bytes_of(&house.data_dir());
        let mut process = Process::spawn(&house, &["serve"], &[]);
        match process.ready_or_ended().await {
            Some(ended) => {
                one_sentence(&ended, 3);
                assert_eq!(bytes_of(&house.data_dir()), before, "byte {at}: {}", ended.stderr);
                refusals += 1;
            }
            None => {
                let mut browser = process.visited_by(cookies.clone());
                let user = browser.fetch("GET", "/api/auth/user").await;
                assert_eq!(user.status, 200, "byte {at}: {user}");
            }
        }
        drop(process);
        std::fs::remove_dir_all(house.data_dir()).expect("removed");
        let copied = Command::new("cp").arg("-a").arg(&kept).arg(house.data_dir()).status();
        assert!(copied.expect("cp runs").success());
    }
    assert!(refusals > 0, "some of it matters");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_logs_database_is_refused_whatever_is_accepted() {
    let (house, cookies) = lived_in(Stop::InOrder).await;
    let (other, _) = lived_in(Stop::InOrder).await;
    let (log, kept) = (house.data_dir().join("log"), house.dir.path().join("kept"));
    std::fs::rename(&log, &kept).expect("set aside");
    std::fs::rename(other.data_dir().join("log"), &log).expect("put there");
    for args in [&[][..], &["--accept-loss"][..]] {
        refuses(&house, args, &[], 3).await;
    }
    std::fs::remove_dir_all(&log).expect("removed");
    std::fs::rename(&kept, &log).expect("put back");
    let process = Process::serve(&house).await;
    assert_eq!(process.visited_by(cookies).fetch("GET", "/api/auth/user").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_file_is_refused_and_never_made_anew() {
    let (house, cookies) = lived_in(Stop::InOrder).await;
    let kept = house.dir.path().join("kept");
    for name in ["kek", "subjects", "months", "log", "signer"] {
        let path = house.data_dir().join("keys").join(name);
        std::fs::rename(&path, &kept).expect("set aside");
        let sentence = refuses(&house, &[], &[], 3).await;
        assert!(sentence.contains(&format!("keys/{name} is missing")), "{sentence}");
        std::fs::rename(&kept, &path).expect("put back");
    }
    // Only the key of login attempts may go: whoever sets and unsets COOKIE_SECRET has none, and it guards
    // nothing that lasts.
    std::fs::remove_file(house.data_dir().join("keys/cookie")).expect("removed");
    let process = Process::serve(&house).await;
    assert_eq!(process.visited_by(cookies).fetch("GET", "/api/auth/user").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_file_is_refused_and_left_alone() {
    let (house, _) = lived_in(Stop::InOrder).await;
    for name in ["kek", "subjects", "months", "log", "signer", "cookie"] {
        let path = house.data_dir().join("keys").join(name);
        let bytes = std::fs::read(&path).expect("a key file");
        let file = File::options().write(true).open(&path).expect("a key file");
        let at = bytes.len() / 2;
        file.write_all_at(&[bytes[at] ^ 0x10], u64::try_from(at).expect("small")).expect("flipped");
        let sentence = refuses(&house, &[], &[], 3).await;
        assert!(sentence.contains(&format!("keys/{name}")), "{sentence}");
        std::fs::write(&path, bytes).expect("put back");
    }
    Process::serve(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_encrypt_secret_than_the_keys_is_refused_and_nothing_is_written() {
    const ONE: &str = "one-secret-that-is-long-enough-0123";
    const OTHER: &str = "other-secret-that-is-long-enough-01";
    let (house, _) = lived_in(Stop::InOrder).await;
    let sentence = refuses(&house, &[], &[("ENCRYPT_SECRET", ONE)], 2).await;
    assert!(sentence.contains("ENCRYPT_SECRET is set"), "{sentence}");

    let mut house = House::for_processes().await;
    house.plan().env.push(("ENCRYPT_SECRET", ONE.to_owned()));
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let sentence = refuses(&house, &[], &[("ENCRYPT_SECRET", OTHER)], 2).await;
    assert!(sentence.contains("ENCRYPT_SECRET is not the one"), "{sentence}");
    house.plan().env.clear();
    let sentence = refuses(&house, &[], &[], 2).await;
    assert!(sentence.contains("ENCRYPT_SECRET is not set"), "{sentence}");
    for said in [ONE, OTHER] {
        assert!(!sentence.contains(said), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace; .ci/run installs it"]
async fn seen_from_outside_a_sign_in_is_synced_before_it_is_answered() {
    let house = House::for_processes().await;
    let trace = house.dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-y", "-s", "64", "-o"]).arg(&trace);
    strace.args(["-e", "trace=read,recvfrom,write,writev,sendto,sendmsg,fsync,fdatasync"]);
    strace.arg(crate::harness::binary()).arg("serve");
    let port = crate::harness::free_port();
    let mut env: BTreeMap<String, String> = house.env().into_iter().collect();
    env.insert("PORT".into(), port.to_string());
    env.insert("PATH".into(), std::env::var("PATH").expect("a path"));
    let mut process = Process::of(strace, house.dir.path(), env, port);
    process.ready().await;
    process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));

    let trace = std::fs::read_to_string(trace).expect("a trace");
    let lines: Vec<&str> = trace.lines().collect();
    let find = |what: &str| lines.iter().position(|line| line.contains(what));
    let asked = find("\"GET /api/auth/discord/redirect?").expect("the callback is in the trace");
    let answered = find("\"HTTP/1.1 303").expect("its answer is in the trace");
    let until_reply = &lines[asked..answered];
    let done = finished_syncs(until_reply);
    let database = done.iter().position(|path| path.ends_with("/data/log/db"));
    let head = done.iter().position(|path| path.ends_with("/data/HEAD"));
    assert!(database.is_some() && database < head, "the database, then HEAD: {done:?}");
}

/// Returns what was synced, in the order in which the syncs returned.
fn finished_syncs(lines: &[&str]) -> Vec<String> {
    let mut under_way: BTreeMap<&str, String> = BTreeMap::new();
    let mut finished = Vec::new();
    for line in lines {
        let (thread, call) = line.split_once(' ').expect("a thread and a call");
        let call = call.trim_start();
        let path = || {
            call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned())
        };
        if call.starts_with("fdatasync(") || call.starts_with("fsync(") {
            let path = path().expect("a path");
            if call.ends_with("<unfinished ...>") {
                under_way.insert(thread, path);
            } else if call.ends_with("= 0") {
                finished.push(path);
            }
        } else if call.starts_with("<... f") && call.contains("sync resumed>") && call.ends_with("= 0") {
            finished.extend(under_way.remove(thread));
        }
    }
    finished
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace; .ci/run installs it"]
async fn a_sync_that_the_kernel_refuses_ends_the_process_with_exit_3() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let known = process.signed_in(&house, MARISOL).await;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &process.id().to_string(), "-e", "trace=fsync,fdatasync"]);
    strace.args(["-e", "inject=fsync,fdatasync:error=EIO", "-o", "/dev/null"]);
    let path = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").expect("a path"))]);
    let tracer = Process::of(strace, house.dir.path(), path, 1);
    while !tracer.said("err").contains("attached") {
        tokio::task::yield_now().await;
    }
    let mut browser = process.browser();
    let begun = browser.begin("/api/auth/discord/login").await;
    // Somebody who has a key already: only the log is written.
    let callback = browser.authorize(house.discord(), &begun, MARISOL).await;
    // The answer may or may not come before the end.
    let _ = tokio::spawn(async move { browser.navigate(&callback).await }).await;
    let ended = process.ends().await;
    let sentence = one_sentence(&ended, 3);
    assert!(sentence.contains("the disk failed"), "{sentence}");
    drop(tracer);
    let process = Process::serve(&house).await;
    assert_eq!(process.visited_by(known.cookies).fetch("GET", "/api/auth/user").await.status, 200);
}

/// A file system of a few MiB, which only root can mount; it goes when this is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: PathBuf) -> SmallDisk {
        std::fs::create_dir(&at).expect("a directory");
        run("mount", &["-t", "tmpfs", "-o", "size=100m,mode=0700", "doorbook-test"], &at);
        SmallDisk(at)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Writes until less is free than doorbook wants to be.
    fn fill(&self) {
        self.fill_up_to(64 << 20);
    }

    /// Writes until fewer bytes are free.
    pub fn fill_up_to(&self, free: u64) {
        let mut filler = File::create(self.filler()).expect("a file");
        while RealDisk.free_space(&self.0).expect("it says how much is free") >= free {
            filler.write_all(&[1; 1 << 20]).expect("there is room");
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }

    fn can_only_be_read(&self) {
        run("mount", &["-o", "remount,ro"], &self.0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str], at: &Path) {
    let ran = Command::new(program).args(args).arg(at).output().expect("the program starts");
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root to mount a file system"]
async fn a_full_file_system_refuses_sign_ins_until_there_is_room_and_a_read_only_one_every_start() {
    if !rustix::process::geteuid().is_root() {
        // `.ci/run` need not be root.
        return;
    }
    let house = House::for_processes().await;
    let disk = SmallDisk::mount(house.data_dir());
    let mut process = Process::serve(&house).await;
    let mut known = process.signed_in(&house, MARISOL).await;

    disk.fill();
    let refused = come_back_in(&mut process.browser(), &house).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "log_unavailable"), "{refused}");
    let ready = known.fetch("GET", "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"log":"unavailable"}"#));
    assert_eq!(known.fetch("GET", "/api/auth/user").await.status, 200, "sessions are checked in memory");

    disk.make_room();
    process.until_readyz_says(r#"{"log":"ok"}"#).await;
    let mut browser = process.browser();
    let landed = come_back_in(&mut browser, &house).await;
    assert_eq!(landed.status, 200, "{landed}");
    assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
    let ended = process.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    disk.can_only_be_read();
    let sentence = refuses(&house, &[], &[], 3).await;
    assert!(sentence.contains("is on a file system that is mounted read-only"), "{sentence}");
    assert!(sentence.contains(&house.data_dir().display().to_string()), "{sentence}");

    // It is read from a copy, of which nothing stays: neither of this one nor of one that was killed.
    let temporary = house.dir.path().join("temporary");
    std::fs::create_dir_all(temporary.join("doorbook-aside-00112233445566ff/data")).expect("a directory");
    let env = [("TMPDIR", temporary.to_str().expect("text"))];
    let verified = Process::spawn(&house, &["audit", "verify"], &env).ends().await;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    assert_eq!(std::fs::read_dir(&temporary).expect("a directory").count(), 0);
}
