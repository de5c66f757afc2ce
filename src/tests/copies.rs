//! Copies of the log: taken beside a running server and without one, and made a log again elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use doorbook::domain::event::{Event, Question, RestoredFrom};
use doorbook::domain::id::Position;

use crate::harness::{Ended, House, MARISOL, Process, QUIETFOX, binary};

/// A second data directory, in the same house.
struct Elsewhere<'a> {
    house: &'a House,
    data_dir: PathBuf,
}

impl<'a> Elsewhere<'a> {
    fn new(house: &'a House, name: &str) -> Elsewhere<'a> {
        Elsewhere { house, data_dir: house.dir.path().join(name) }
    }

    /// With the keys of the house.
    fn with_keys(house: &'a House, name: &str) -> Elsewhere<'a> {
        let elsewhere = Elsewhere::new(house, name);
        fs::create_dir_all(&elsewhere.data_dir).unwrap();
        copy_dir(&house.data_dir().join("keys"), &elsewhere.data_dir.join("keys"));
        elsewhere
    }

    fn env(&self) -> String {
        self.data_dir.display().to_string()
    }

    async fn run(&self, args: &[&str]) -> Ended {
        Process::spawn(self.house, args, &[("DOORBOOK_DATA_DIR", &self.env())]).ends().await
    }

    #[track_caller]
    fn is_untouched(&self, before: &BTreeMap<PathBuf, Vec<u8>>) {
        let now = files(&self.data_dir);
        assert!(now == *before, "{:?}", now.keys());
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    all
}

async fn run(house: &House, args: &[&str]) -> Ended {
    Process::spawn(house, args, &[]).ends().await
}

#[track_caller]
fn fine(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    &ended.stdout
}

/// A house in which people have signed in, and its log as text; nobody runs in it any more.
async fn exported() -> (House, String) {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    process.signed_in(&house, QUIETFOX).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let text = fine(&run(&house, &["export"]).await).to_owned();
    (house, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_exported_from_a_running_server_is_served_elsewhere_and_owns_up_to_it() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    let done = run(&house, &["export", "--output", "log.jsonl"]).await;
    fine(&done);
    assert!(done.stderr.contains("exported ") && done.stderr.contains("root "), "{}", done.stderr);
    assert_eq!(process.terminate().await.code, Some(0));

    let text = fs::read_to_string(house.dir.path().join("log.jsonl")).unwrap();
    let records = text.lines().count() as u64 - 2;
    // It was written down once, behind the last record that the copy has.
    let taken: Vec<_> =
        house.events().into_iter().filter(|(_, event)| matches!(event, Event::AuditExported(_))).collect();
    let [(position, Event::AuditExported(audit))] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((audit.question, audit.to), (Question::Export, Some(Position(records - 1))));
    assert_eq!((audit.rows, *position), (Some(records), records));
    assert!(!text.contains("audit.exported") && !text.contains("marisol") && !text.contains("Marisol"));

    let elsewhere = Elsewhere::with_keys(&house, "elsewhere");
    let imported = elsewhere.run(&["import", "log.jsonl"]).await;
    assert!(fine(&imported).starts_with(&format!("{records} records of ")), "{}", imported.stdout);
    assert!(imported.stderr.contains("ends every session"), "{}", imported.stderr);

    let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_DATA_DIR", &elsewhere.env())]);
    process.ready().await;
    let mut old = process.visited_by(marisol.cookies.clone());
    assert_eq!(old.fetch("GET", "/api/auth/user").await.status, 401, "it ended when the log was put back");
    let mut again = process.signed_in(&house, MARISOL).await;
    assert_eq!(again.fetch("GET", "/api/auth/user").await.json()["username"], "marisol.k");
    assert_eq!(process.terminate().await.code, Some(0));

    let log = elsewhere.run(&["audit", "log", "--format", "jsonl"]).await;
    let rows = fine(&log).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let restored = rows.filter(|row| row["position"] == records).collect::<Vec<_>>();
    assert_eq!(restored.len(), 1);
    assert_eq!(restored[0]["kind"], "log.restored");
    assert_eq!(restored[0]["data"]["size"], records);
    assert_eq!(restored[0]["data"]["source"], "import");
    let trailer: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(restored[0]["data"]["root"], trailer["root"]);
    let verified = elsewhere.run(&["audit", "verify"]).await;
    let words = fine(&verified);
    assert!(words.starts_with("intact: "), "{words}");
    let owned_up = format!("put back from a copy at position {records}, as the operator recorded");
    assert!(words.contains(&owned_up), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_import_export_is_the_same_text_with_keys_and_without() {
    let (house, text) = exported().await;
    fs::write(house.dir.path().join("log.jsonl"), &text).unwrap();
    for (name, has_keys) in [("with", true), ("without", false)] {
        let elsewhere = match has_keys {
            true => Elsewhere::with_keys(&house, name),
            false => Elsewhere::new(&house, name),
        };
        fine(&elsewhere.run(&["import", "log.jsonl"]).await);
        let again = elsewhere.run(&["export"]).await;
        assert!(fine(&again) == text, "{name}");
        assert_eq!(again.stderr.contains("is not written down"), !has_keys, "{}", again.stderr);
        let served = elsewhere.run(&["audit", "log", "--format", "jsonl", "--kind", "log.restored"]).await;
        // Where it could be written down, that it was put back was so first.
        assert_eq!(fine(&served).lines().count(), usize::from(has_keys), "{}", served.stdout);
    }
    // From standard input as well.
    let elsewhere = Elsewhere::new(&house, "piped");
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &format!("cat log.jsonl | {} import -", binary().display())]);
    let mut env: BTreeMap<String, String> = house.env().into_iter().collect();
    env.insert("DOORBOOK_DATA_DIR".into(), elsewhere.env());
    fine(&Process::of(command, house.dir.path(), env, 0).ends().await);
    assert!(elsewhere.data_dir.join("HEAD").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_command_that_opens_a_log_that_was_put_back_says_so_in_it_first() {
    let (house, text) = exported().await;
    fs::write(house.dir.path().join("log.jsonl"), &text).unwrap();
    let elsewhere = Elsewhere::with_keys(&house, "elsewhere");
    fine(&elsewhere.run(&["import", "log.jsonl"]).await);
    let listed = elsewhere.run(&["sessions", "list", "--format", "jsonl"]).await;
    assert_eq!(fine(&listed), "", "every session has ended");
    let log = elsewhere.run(&["audit", "log", "--format", "jsonl"]).await;
    let records = text.lines().count() - 2;
    let last: serde_json::Value = serde_json::from_str(
        fine(&log).lines().rfind(|line| line.contains(&format!("\"position\":{records},"))).unwrap(),
    )
    .unwrap();
    assert_eq!(last["kind"], "log.restored", "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_beside_a_running_server_and_restored_with_its_keys() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    let done = run(&house, &["backup", "backups/monday"]).await;
    let words = fine(&done);
    assert!(words.contains("records of localhost:3001/doorbook/") && words.contains("  root  "), "{words}");
    assert!(done.stderr.contains("keys/ is NOT in this backup"), "{}", done.stderr);
    let in_it = files(&house.dir.path().join("backups"));
    assert_eq!(in_it.len(), 1, "{:?}", in_it.keys());
    let again = run(&house, &["backup", "backups/monday"]).await;
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert_eq!(process.terminate().await.code, Some(0));
    let taken = house.events().into_iter().find_map(|(_, event)| match event {
        Event::AuditExported(audit) => Some(audit.question),
        _ => None,
    });
    assert_eq!(taken, Some(Question::Backup));

    let no_keys = Elsewhere::new(&house, "no-keys");
    let refused = no_keys.run(&["restore", "backups/monday"]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--without-keys") && !no_keys.data_dir.exists(), "{}", refused.stderr);
    let restored = no_keys.run(&["restore", "backups/monday", "--without-keys"]).await;
    fine(&restored);
    assert!(restored.stderr.contains("every box is lost"), "{}", restored.stderr);
    fine(&no_keys.run(&["audit", "verify"]).await);
    let served = no_keys.run(&["serve"]).await;
    assert_eq!(served.code, Some(3), "{}", served.stderr);
    assert!(served.stderr.contains("keys/kek"), "{}", served.stderr);

    let elsewhere = Elsewhere::with_keys(&house, "elsewhere");
    fine(&elsewhere.run(&["restore", "backups/monday"]).await);
    let before = files(&elsewhere.data_dir);
    let twice = elsewhere.run(&["restore", "backups/monday"]).await;
    assert_eq!(twice.code, Some(2), "{}", twice.stderr);
    elsewhere.is_untouched(&before);
    let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_DATA_DIR", &elsewhere.env())]);
    process.ready().await;
    let mut old = process.visited_by(marisol.cookies.clone());
    assert_eq!(old.fetch("GET", "/api/auth/user").await.status, 401);
    process.signed_in(&house, MARISOL).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let log = elsewhere.run(&["audit", "log", "--kind", "log.restored", "--format", "jsonl"]).await;
    let row: serde_json::Value = serde_json::from_str(fine(&log).trim()).unwrap();
    assert_eq!(row["data"]["source"], RestoredFrom::Backup.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_after_its_backup_comes_back_with_what_can_still_be_read_of_it() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    let marisol = process.signed_in(&house, MARISOL).await;
    fine(&run(&house, &["backup", "backups/monday"]).await);
    let running = run(&house, &["restore", "--salvage", "backups/monday"]).await;
    assert_eq!(running.code, Some(3), "{}", running.stderr);
    process.signed_in(&house, QUIETFOX).await;
    assert_eq!(process.terminate().await.code, Some(0));
    let before = fs::read(house.data_dir().join("log/db")).unwrap();
    let records = house.events().len();

    // sled begins with nothing of this, and does not open it.
    let mut damaged = before.clone();
    damaged[..64].fill(0);
    fs::write(house.data_dir().join("log/db"), &damaged).unwrap();
    let refused = run(&house, &["serve"]).await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("doorbook restore --salvage"), "{}", refused.stderr);
    let restored = run(&house, &["restore", "--salvage", "backups/monday"]).await;
    fine(&restored);
    assert!(restored.stderr.contains(" records of the damaged log "), "{}", restored.stderr);
    assert!(restored.stderr.contains("nobody is signed out"), "{}", restored.stderr);
    let kept = fs::read_dir(house.data_dir()).unwrap().flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.to_string_lossy().contains("log.lost-")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 1);
    assert!(fs::read(kept[0].join("db")).unwrap() == damaged, "the damaged log is kept as it was");

    fine(&run(&house, &["audit", "verify"]).await);
    assert_eq!(house.events().len(), records);
    let mut process = Process::serve(&house).await;
    let mut marisol = process.visited_by(marisol.cookies.clone());
    assert_eq!(marisol.fetch("GET", "/api/auth/user").await.status, 200);
    assert_eq!(process.terminate().await.code, Some(0));

    let nothing = Elsewhere::new(&house, "nothing");
    let refused = nothing.run(&["restore", "--salvage", "backups/monday"]).await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(!nothing.data_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_before_an_erasure_is_served_once_whoever_was_erased_is_so_in_it_too() {
    let house = House::for_processes().await;
    let mut process = Process::serve(&house).await;
    process.signed_in(&house, MARISOL).await;
    process.signed_in(&house, QUIETFOX).await;
    fine(&run(&house, &["backup", "backups/monday"]).await);
    fine(&run(&house, &["user", "erase", "marisol.k", "--yes"]).await);
    assert_eq!(process.terminate().await.code, Some(0));
    let certified = house.events().into_iter().filter(|(_, event)| matches!(event, Event::UserErased { .. }));
    assert_eq!(certified.count(), 1);

    let elsewhere = Elsewhere::with_keys(&house, "elsewhere");
    fine(&elsewhere.run(&["restore", "backups/monday"]).await);
    let refused = elsewhere.run(&["serve"]).await;
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("lacks 1 of the log's users"), "{}", refused.stderr);
    assert!(refused.stderr.contains("doorbook serve --without-keys"), "{}", refused.stderr);

    let args = ["serve", "--without-keys"];
    let mut process = Process::spawn(&house, &args, &[("DOORBOOK_DATA_DIR", &elsewhere.env())]);
    process.ready().await;
    let said = process.said("err");
    assert!(said.contains("users whose keys are gone were erased") && said.contains("\"users\":1"), "{said}");
    // Both may come back; she is somebody whom this log has never seen.
    let mut quietfox = process.signed_in(&house, QUIETFOX).await;
    let mut marisol = process.signed_in(&house, MARISOL).await;
    for browser in [&mut quietfox, &mut marisol] {
        assert_eq!(browser.fetch("GET", "/api/auth/user").await.status, 200);
    }
    assert_eq!(process.terminate().await.code, Some(0));

    let log = elsewhere.run(&["audit", "log", "--format", "jsonl"]).await;
    let rows: Vec<serde_json::Value> =
        fine(&log).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let after_the_copy = rows.iter().skip_while(|row| row["kind"] != "log.restored");
    let kinds: Vec<&str> = after_the_copy.map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["log.restored", "user.erased", "server.started"]);
    assert!(kinds[3..].iter().all(|kind| *kind != "user.erased"), "{kinds:?}");
    let erased = rows.iter().find(|row| row["kind"] == "user.erased").unwrap();
    assert_eq!(
        (&erased["data"]["requested_by"], &erased["data"]["confirmed"]),
        (&"operator".into(), &false.into())
    );
    // From then on it is a log like any other, for every start and every command.
    let mut process = Process::spawn(&house, &["serve"], &[("DOORBOOK_DATA_DIR", &elsewhere.env())]);
    process.ready().await;
    assert_eq!(process.terminate().await.code, Some(0));
    assert!(fine(&elsewhere.run(&["audit", "verify"]).await).starts_with("intact: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_copy_is_refused_and_nothing_is_left_behind() {
    let (house, text) = exported().await;
    let path = |name: &str| house.dir.path().join(name);
    let lines: Vec<&str> = text.lines().collect();
    let edited = text.replacen("\"kind\":\"user\"", "\"kind\":\"operator\"", 1);
    assert_ne!(edited, text);
    let rows = [
        ("edited", edited, 1, "`event` is not what `raw` says"),
        ("cut", lines[..lines.len() - 1].join("\n") + "\n", 1, "its last line is missing"),
        ("not-json", "hello\n".to_owned(), 1, "is not an export of doorbook"),
        ("newer", text.replacen("\"format\":1", "\"format\":2", 1), 1, "written by a newer doorbook"),
        ("none", String::new(), 3, ""),
    ];
    for (name, text, code, said) in rows {
        if code == 1 {
            fs::write(path(name), text).unwrap();
        }
        for has_keys in [false, true] {
            let elsewhere = match has_keys {
                true => Elsewhere::with_keys(&house, &format!("{name}-with-keys")),
                false => Elsewhere::new(&house, &format!("{name}-empty")),
            };
            let before = files(&elsewhere.data_dir);
            let refused = elsewhere.run(&["import", name]).await;
            assert_eq!(refused.code, Some(code), "{name}: {}", refused.stderr);
            assert!(refused.stderr.contains(said) && refused.stdout.is_empty(), "{}", refused.stderr);
            elsewhere.is_untouched(&before);
            assert_eq!(elsewhere.data_dir.exists(), has_keys, "{name}");
        }
    }

    fs::write(path("log.jsonl"), &text).unwrap();
    let before = files(&house.data_dir());
    let there = run(&house, &["import", "log.jsonl"]).await;
    assert_eq!(there.code, Some(2), "{}", there.stderr);
    assert!(there.stderr.contains("there is a log in"), "{}", there.stderr);
    assert!(files(&house.data_dir()) == before);

    let other = House::for_processes().await;
    assert_eq!(Process::serve(&other).await.terminate().await.code, Some(0));
    let strangers = Elsewhere::with_keys(&other, "strangers");
    let before = files(&strangers.data_dir);
    let refused = strangers.run(&["import", path("log.jsonl").to_str().unwrap()]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("holds the keys of log"), "{}", refused.stderr);
    strangers.is_untouched(&before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_kept_and_a_full_disk_is_said() {
    let (house, text) = exported().await;
    let path = house.dir.path().join("log.jsonl");
    fs::write(&path, "precious").unwrap();
    let kept = run(&house, &["export", "--output", "log.jsonl"]).await;
    assert_eq!(kept.code, Some(2), "{}", kept.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fine(&run(&house, &["export", "--output", "log.jsonl", "--force"]).await);
    let longer = fs::read_to_string(&path).unwrap();
    assert_eq!(
        longer.matches("\"kind\":\"audit.exported\"").count(),
        1,
        "it has the first one's record as well"
    );
    assert!(longer.lines().count() > text.lines().count());
    let nowhere = run(&house, &["export", "--output", "no/such/place"]).await;
    assert_eq!(nowhere.code, Some(3), "{}", nowhere.stderr);

    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &format!("{} export > /dev/full", binary().display())]);
    let full = Process::of(command, house.dir.path(), house.env().into_iter().collect(), 0).ends().await;
    assert_eq!(full.code, Some(3), "{}", full.stderr);
    assert!(full.stderr.contains("cannot write the result"), "{}", full.stderr);
}
