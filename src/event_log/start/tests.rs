//! Every way in which a log can be found, and what a start makes of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Begun, StartError, Started, begin};
use crate::disk::Synced;
use crate::domain::event::Event;
use crate::domain::id::{Hash, LogId, Position};
use crate::event_log::codec::{decode_record, encode_record, leaf_hash};
use crate::event_log::engine::FollowError;
use crate::event_log::head::{self, DataFile, Head, HeadFile, StopState};
use crate::event_log::probe::Probe;
use crate::event_log::rig::{Rig, append, bytes_of, copy_tree, created, frame, read_all, read_to, record};
use crate::event_log::sled_guard;

/// Changes the database behind doorbook's back.
fn tamper(rig: &Rig, change: impl FnOnce(&sled_guard::Db)) {
    let db = sled_guard::open(&rig.path().join("log")).expect("a database");
    change(&db);
    sled_guard::close(db).expect("closed");
}

/// Writes `HEAD` anew, as the creation of another log would.
fn rewrite_head(rig: &Rig, change: impl FnOnce(&mut Head)) {
    let file = HeadFile::open(&rig.path(), Arc::clone(&rig.disk) as _).expect("HEAD");
    let mut head = *file.current();
    drop(file);
    change(&mut head);
    drop(HeadFile::create(&rig.path(), head, Arc::clone(&rig.disk) as _).expect("HEAD"));
}

fn inode(rig: &Rig) -> u64 {
    fs::metadata(rig.db()).expect("the database").ino()
}

fn names(rig: &Rig) -> Vec<String> {
    let entries = fs::read_dir(rig.path()).expect("the data directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

async fn holds(started: &Started, last: u64) {
    assert_eq!(started.head, Some(Position(last)));
    let read = read_to(&mut started.engine.follow(Position(0)), last).await;
    assert_eq!(read.len() as u64, last + 1);
    assert!(read.iter().skip(1).all(|(position, bytes)| *bytes == frame(*position)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_the_log_is_opened_as_it_stands() {
    let rig = Rig::filled(300, true).await;
    let before = inode(&rig);
    let started = rig.start().expect("a start");
    assert!(started.clean && started.loss.is_none());
    assert_eq!(inode(&rig), before);
    holds(&started, 299).await;
    append(&*started.engine, 300..302).await;
    started.engine.close().await.expect("closed");
    holds(&rig.start().expect("a start"), 301).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_from_which_nothing_came_leaves_every_byte_as_it_was() {
    let rig = Rig::filled(300, true).await;
    let (before, bytes_of_log) = (bytes_of(&rig.path()), bytes_of(&rig.path().join("log")));
    let started = rig.start().expect("a start");
    assert!(started.clean);
    holds(&started, 299).await;
    drop(started);
    assert_eq!(bytes_of(&rig.path()), before, "dropped");
    let started = rig.start().expect("a start");
    started.engine.close().await.expect("closed");
    assert_eq!(bytes_of(&rig.path().join("log")), bytes_of_log, "closed");
    assert!(rig.start().expect("a start").clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unclean_stop_a_copy_that_is_whole_takes_the_place_of_the_log() {
    let rig = Rig::filled(300, false).await;
    fs::create_dir(rig.path().join("log.probe")).expect("a leftover");
    let before = inode(&rig);
    let started = rig.start().expect("a start");
    assert!(!started.clean && started.loss.is_none());
    assert_ne!(inode(&rig), before);
    assert_eq!(names(&rig), ["HEAD", "log"]);
    holds(&started, 299).await;
    append(&*started.engine, 300..302).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_nobody_was_told_about_are_made_durable_before_they_are_seen() {
    let rig = Rig::filled(5, true).await;
    let started = rig.start().expect("a start");
    append(&*started.engine, 5..6).await;
    let older = fs::read(head::path(&rig.path())).expect("HEAD");
    append(&*started.engine, 6..8).await;
    drop(started);
    fs::write(head::path(&rig.path()), older).expect("HEAD");
    rig.disk.forget();
    let started = rig.start().expect("a start");
    holds(&started, 7).await;
    assert!(rig.disk.count(crate::disk::Synced::Database) > 0);
    drop(started);
    let head = HeadFile::open(&rig.path(), Arc::clone(&rig.disk) as _).expect("HEAD");
    assert_eq!(head.current().last.expect("a record").position, Position(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_cut_short_is_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(400, clean).await;
        let length = fs::metadata(rig.db()).expect("the database").len();
        let whole = rig.dir.join("whole");
        copy_tree(&rig.path(), &whole);
        let mut refused = 0;
        for part in 0..8 {
            fs::remove_dir_all(rig.path()).expect("removed");
            copy_tree(&whole, &rig.path());
            let file = fs::File::options().write(true).open(rig.db()).expect("the database");
            file.set_len(length * part / 8).expect("cut");
            drop(file);
            // The end of the file may hold nothing: then nothing is lost.
            let before = bytes_of(&rig.path());
            match rig.start() {
                Ok(started) => holds(&started, 399).await,
                Err(error) => {
                    assert!(error.can_be_accepted(), "{error}");
                    assert_eq!(bytes_of(&rig.path()), before);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_emptied_is_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(5, clean).await;
        fs::write(rig.db(), b"").expect("emptied");
        let error = rig.refused();
        assert!(matches!(error, StartError::Loss { .. } | StartError::Damaged { .. }), "{error}");
        // Without sled's other files it opens without a word and holds nothing.
        fs::remove_dir_all(rig.path().join("log")).expect("removed");
        fs::create_dir(rig.path().join("log")).expect("made");
        fs::write(rig.db(), b"").expect("emptied");
        let error = rig.refused();
        assert_eq!(
            error.to_string(),
            "the log is empty, but the record at position 4 was acknowledged; \
             bring the log back with `doorbook restore --salvage`, or go on without the missing records with --accept-loss"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_removed_is_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(5, clean).await;
        fs::remove_file(rig.db()).expect("removed");
        assert!(matches!(rig.refused(), StartError::DatabaseMissing { acknowledged: Position(4), .. }));
        fs::remove_dir_all(rig.path().join("log")).expect("removed");
        assert!(matches!(rig.refused(), StartError::DatabaseMissing { acknowledged: Position(4), .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_another_log_is_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(5, clean).await;
        tamper(&rig, |db| drop(db.insert(0_u64.to_be_bytes(), created(LogId([5; 16])))));
        assert!(matches!(rig.refused(), StartError::Replaced { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_record_at_the_last_acknowledged_position_is_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(5, clean).await;
        tamper(&rig, |db| drop(db.insert(4_u64.to_be_bytes(), frame(77))));
        assert!(matches!(rig.refused(), StartError::Changed { position: Position(4) }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_gone_from_the_end_are_refused() {
    for clean in [true, false] {
        let rig = Rig::filled(6, clean).await;
        tamper(&rig, |db| {
            drop(db.remove(4_u64.to_be_bytes()));
            drop(db.remove(5_u64.to_be_bytes()));
        });
        let error = rig.refused();
        assert_eq!(
            error.to_string(),
            "the log ends at position 3, but the record at position 5 was acknowledged; \
             bring the log back with `doorbook restore --salvage`, or go on without the missing records with --accept-loss"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_refused_with_its_position() {
    for clean in [true, false] {
        let rig = Rig::filled(9, clean).await;
        tamper(&rig, |db| drop(db.remove(5_u64.to_be_bytes())));
        let error = rig.refused();
        assert_eq!(
            error.to_string(),
            "the log is broken at position 5: it is missing; the next one stands at 6 (3 records stand \
             behind it); bring the log back with `doorbook restore --salvage`, or go on from there with --accept-loss"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_a_start_has_no_reason_to_look_for_is_met_by_the_replay_which_changes_nothing() {
    let rig = Rig::filled(9, true).await;
    tamper(&rig, |db| drop(db.remove(5_u64.to_be_bytes())));
    tamper(&rig, |_| {});
    let found = DataFile::of(&fs::metadata(rig.db()).expect("the database"));
    rewrite_head(&rig, |head| head.db = found);
    let bytes = bytes_of(&rig.path());
    let started = rig.start().expect("a start");
    let follow = started.engine.follow(Position(0));
    let (records, error) = tokio::task::spawn_blocking(move || read_all(follow)).await.expect("read");
    assert_eq!(records, 5);
    assert!(matches!(error, FollowError::Broken { position: Position(5), .. }), "{error}");
    drop(started);
    assert_eq!(bytes_of(&rig.path()), bytes);
    // Whoever changed it has left a trace; from now on a start looks closely.
    fs::File::options()
        .write(true)
        .open(rig.db())
        .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
        .expect("touched");
    assert!(matches!(rig.refused(), StartError::Broken { position: Position(5), .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_never_give_another_record_and_never_a_panic() {
    for clean in [true, false] {
        let rig = Rig::filled(200, clean).await;
        let whole = rig.dir.join("whole");
        copy_tree(&rig.path(), &whole);
        let length = fs::metadata(rig.db()).expect("the database").len();
        for part in 0..12 {
            fs::remove_dir_all(rig.path()).expect("removed");
            copy_tree(&whole, &rig.path());
            let mut bytes = fs::read(rig.db()).expect("the database");
            let at = usize::try_from(length * part / 12 + 77).expect("small");
            bytes[at] ^= 0x10;
            fs::write(rig.db(), bytes).expect("written");
            let before = bytes_of(&rig.path());
            match rig.start() {
                Ok(started) => {
                    let last = started.head.expect("a record");
                    assert_eq!(last, Position(199));
                    let mut follow = started.engine.follow(Position(0));
                    let mut next = 0;
                    while next < 200 {
                        let Ok(chunk) = follow.next().await else { break };
                        for (position, bytes) in chunk {
                            assert!(position.0 == 0 || bytes[..] == frame(position.0)[..]);
                            next = position.0 + 1;
                        }
                    }
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert_eq!(bytes_of(&rig.path()), before, "{error}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_doorbook_is_refused_with_its_kind() {
    let rig = Rig::filled(5, true).await;
    let started = rig.start().expect("a start");
    let mut newer = frame(5);
    let at = newer.windows(3).position(|bytes| bytes == [21, 1, 17]).expect("kind, version, length");
    newer[at] = 61;
    started.engine.append(vec![newer], None).await.expect("written");
    drop(started);
    assert_eq!(
        rig.refused().to_string(),
        "the record at position 5 cannot be read: this log was written by a newer doorbook (kind 61 v1); \
         start the doorbook that wrote it"
    );
    // Whoever only reads need not understand it.
    let Ok(Begun::Existing(log)) = begin(rig.settings(false)) else { panic!("there is a log") };
    assert_eq!(log.open_to_read().expect("it is whole").head, Some(Position(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_damaged_head_is_refused_and_one_bad_slot_is_not() {
    let rig = Rig::filled(5, true).await;
    let good = fs::read(head::path(&rig.path())).expect("HEAD");
    fs::remove_file(head::path(&rig.path())).expect("removed");
    assert!(matches!(rig.refused(), StartError::HeadMissing { beside: "log", .. }));
    fs::write(head::path(&rig.path()), vec![0; good.len()]).expect("written");
    assert!(matches!(rig.refused(), StartError::HeadDamaged { .. }));
    for slot in [0, 4_096] {
        let mut bad = good.clone();
        bad[slot + 50] ^= 1;
        fs::write(head::path(&rig.path()), bad).expect("written");
        holds(&rig.start().expect("a start"), 4).await;
    }
    let empty = Rig::new();
    fs::create_dir_all(empty.path().join("keys")).expect("made");
    fs::write(empty.path().join("keys/kek"), b"a key").expect("written");
    assert!(matches!(empty.refused(), StartError::HeadMissing { beside: "keys", .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_doorbook_is_refused_before_it_changes_anything() {
    let rig = Rig::filled(5, true).await;
    let started = rig.start().expect("a start");
    let error = rig.refused();
    assert!(error.to_string().contains(&rig.path().display().to_string()), "{error}");
    assert!(matches!(error, StartError::Locked { .. }));
    drop(started);
    rig.start().expect("a start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_ours_to_write_is_not_taken_for_a_damaged_one() {
    let rig = Rig::filled(5, true).await;
    let closed = |mode| {
        let closed = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(rig.db(), closed).expect("closed");
    };
    closed(0o000);
    // Whoever is root may write all the same.
    if !rustix::process::geteuid().is_root() {
        let error = rig.start_with(true).expect_err("it cannot be opened");
        assert!(matches!(error, StartError::NotWritable { .. }), "{error}");
    }
    closed(0o600);
    holds(&rig.start().expect("a start"), 4).await;
}

#[test]
fn a_directory_of_somebody_else_is_refused_with_the_line_that_hands_it_over() {
    let rig = Rig::new();
    fs::create_dir(rig.path()).expect("made");
    let line = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(rig.path(), Some(12_345), None).expect("handed over");
        "belongs to user 12345"
    } else {
        let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o500);
        fs::set_permissions(rig.path(), read_only).expect("closed");
        "cannot be written to"
    };
    let error = rig.refused().to_string();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert!(error.contains(line), "{error}");
    assert!(error.ends_with(&format!("chown -R {uid}:{gid} {}", rig.path().display())), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_room_for_the_copy_is_refused_with_the_bytes_that_are_needed() {
    let rig = Rig::filled(5, false).await;
    rig.disk.free.store(4_096, Ordering::SeqCst);
    let StartError::NoRoom { needed, free: 4_096, .. } = rig.refused() else { panic!("another error") };
    assert!(needed > fs::metadata(rig.db()).expect("the database").len());
    rig.disk.free.store(needed, Ordering::SeqCst);
    rig.start().expect("a start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blob_files_are_refused() {
    let rig = Rig::filled(5, true).await;
    fs::write(rig.path().join("log/blobs/1"), b"x").expect("written");
    assert!(matches!(rig.refused(), StartError::Blobs { .. }));
}

#[test]
fn a_child_that_crashes_or_talks_nonsense_is_damage_and_its_word_counts_otherwise() {
    let child =
        |script: &str| Probe::Child { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    let look = |script: &str| child(script).run(std::path::Path::new("/nowhere"), Some(Position(7)));
    let crash = look("kill -ABRT $$").expect_err("it crashed");
    assert!(crash.why.contains("signal"), "{}", crash.why);
    look("echo nonsense").expect_err("nonsense");
    assert_eq!(
        look(r#"echo '{"Err":{"why":"it is torn","damage":true}}'; exit 3"#).expect_err("an error").why,
        "it is torn"
    );
    assert!(crash.damage && !look("kill -KILL $$").expect_err("it was killed").damage);
    let absent = Probe::Child { program: "/nowhere/doorbook".into(), args: Vec::new() };
    assert!(!absent.run(std::path::Path::new("/nowhere"), None).expect_err("no program").damage);
    let found = r#"{"Ok":{"end":'$1',"log":"'$0'","leaf":null,"broken":null,"behind":0,"unreadable":null,"is_newer":false,"accepted":null}}"#;
    let found = look(&format!("echo '{found}'")).expect("an answer");
    assert_eq!((found.end, found.log.as_deref()), (Some(7), Some("/nowhere")));
}

// ---- Creation

fn begun(rig: &Rig) -> super::NewLog {
    match begin(rig.settings(false)).expect("begun") {
        Begun::New(new) => new,
        Begun::Existing(_) => panic!("there is a log"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_was_interrupted_goes_on_with_the_same_id() {
    let rig = Rig::new();
    let first = begun(&rig);
    assert!(!first.resumed());
    let log = first.log_id();
    assert_eq!(fs::metadata(rig.path()).expect("made").mode() & 0o777, 0o700);
    drop(first);
    let second = begun(&rig);
    assert!(second.resumed());
    assert_eq!(second.log_id(), log);
    let started = second.finish(created(log)).expect("created");
    holds(&started, 0).await;
    drop(started);

    // Killed between the first record and the last write of HEAD.
    rewrite_head(&rig, |head| {
        head.state = StopState::Creating;
        head.last = None;
    });
    let third = begun(&rig);
    assert_eq!((third.log_id(), third.resumed()), (log, true));
    let started = third.finish(b"not this one".to_vec()).expect("created");
    let read = read_to(&mut started.engine.follow(Position(0)), 0).await;
    assert_eq!(read, [(0, created(log))]);
    append(&*started.engine, 1..3).await;
}

/// A power cut after the first start kept the records and not sled's `conf`, and nothing opened them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sled_does_not_sync_is_synced_before_anything_is_acknowledged() {
    let rig = Rig::new();
    let started = rig.start().expect("a new log");
    let made = fs::read_dir(rig.path().join("log")).expect("a database");
    let made = made.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file())).count();
    assert_eq!(rig.disk.count(Synced::Other) + 1, made, "all but `db`, which is synced as itself");
    started.engine.close().await.expect("closed");
    rig.disk.forget();
    rig.start().expect("a start");
    assert!(rig.disk.count(Synced::Other) > 0, "what an earlier doorbook left unsynced");
}

/// A power cut, or a kill, while sled wrote a snapshot: it opened nothing any more beside an unfinished one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_sled_did_not_finish_is_not_taken_for_one() {
    let rig = Rig::filled(9, false).await;
    fs::write(rig.path().join("log/snap.00000000000E7943.generating"), b"").expect("written");
    holds(&rig.start().expect("a start"), 8).await;
}

/// A power cut while the very first records are written tears them, and nobody was told of any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_database_is_torn_goes_on_and_keeps_what_was_there() {
    let rig = Rig::new();
    let log = begun(&rig).log_id();
    let started = begun(&rig).finish(created(log)).expect("created");
    drop(started);
    rewrite_head(&rig, |head| {
        head.state = StopState::Creating;
        head.last = None;
    });
    fs::write(rig.path().join("log/conf"), b"segment_size").expect("torn");
    let again = begun(&rig);
    assert_eq!((again.log_id(), again.resumed()), (log, true));
    holds(&again.finish(created(log)).expect("created"), 0).await;
    let kept = fs::read_dir(rig.path()).expect("a directory").flatten();
    assert!(kept.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("log.lost-")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_says_creating_beside_a_log_is_refused() {
    let rig = Rig::filled(5, true).await;
    rewrite_head(&rig, |head| {
        head.state = StopState::Creating;
        head.last = None;
    });
    assert!(matches!(rig.refused(), StartError::NeverFinished { .. }));
    let rig = Rig::filled(1, true).await;
    rewrite_head(&rig, |head| {
        head.state = StopState::Creating;
        head.last = None;
        head.log = LogId([1; 16]);
    });
    assert!(matches!(rig.refused(), StartError::Replaced { .. }));
}

// ---- Accepted losses

/// Appends what the app appends first after a loss, and returns the position after it.
async fn own_up(started: &Started) -> u64 {
    let loss = started.loss.as_ref().expect("a loss");
    let mut records = Vec::new();
    if loss.is_total() {
        let log = LogId([1; 16]);
        records.push(created(log));
    }
    records.push(encode_record(&record(900, loss.event())).expect("a frame"));
    let first = started.engine.append(records, None).await.expect("written");
    assert_eq!(Some(first), Some(loss.last_found.map_or(Position(0), Position::next)));
    started.engine.head().await.expect("a head").expect("a record").0 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_end_is_accepted_once_and_owned_up_to() {
    for clean in [true, false] {
        let rig = Rig::filled(6, clean).await;
        tamper(&rig, |db| {
            drop(db.remove(4_u64.to_be_bytes()));
            drop(db.remove(5_u64.to_be_bytes()));
        });
        let started = rig.start_with(true).expect("accepted");
        let loss = started.loss.clone().expect("a loss");
        assert_eq!((loss.head_position, loss.last_found), (Some(Position(5)), Some(Position(3))));
        assert_eq!(loss.head_leaf, leaf_hash(&frame(5)));
        assert_eq!((loss.salvaged, loss.set_aside), (None, None));
        drop(started);
        // Nothing was said about it yet, so nothing was accepted yet.
        assert!(matches!(rig.refused(), StartError::Loss { .. }));

        let started = rig.start_with(true).expect("accepted");
        assert_eq!(own_up(&started).await, 5);
        let sequence = loss.head_sequence;
        drop(started);
        let started = rig.start().expect("a start");
        assert_eq!((started.head, &started.loss), (Some(Position(4)), &None));
        drop(started);
        let head = HeadFile::open(&rig.path(), Arc::clone(&rig.disk) as _).expect("HEAD");
        assert!(head.current().sequence > sequence);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_that_was_owned_up_to_just_before_a_kill_stays_accepted() {
    for lost in [5, 4, 2] {
        let rig = Rig::filled(6, false).await;
        tamper(&rig, |db| {
            for position in lost..6_u64 {
                drop(db.remove(position.to_be_bytes()));
            }
        });
        let started = rig.start_with(true).expect("accepted");
        let before = fs::read(head::path(&rig.path())).expect("HEAD");
        assert_eq!(own_up(&started).await, lost + 1);
        drop(started);
        // The record is in the database, but HEAD did not get as far.
        fs::write(head::path(&rig.path()), before).expect("HEAD");
        let started = rig.start().expect("a start");
        assert_eq!((started.head, &started.loss), (Some(Position(lost)), &None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_goes_on_at_a_hole_and_what_stood_behind_it_is_kept() {
    for clean in [true, false] {
        let rig = Rig::filled(9, clean).await;
        tamper(&rig, |db| drop(db.remove(5_u64.to_be_bytes())));
        let started = rig.start_with(true).expect("accepted");
        let loss = started.loss.clone().expect("a loss");
        assert_eq!((loss.head_position, loss.last_found), (Some(Position(8)), Some(Position(4))));
        let (path, hash) = loss.salvaged.expect("salvaged");
        let text = fs::read_to_string(&path).expect("the salvaged records");
        assert_eq!(hash, Hash::of(text.as_bytes()));
        for (line, position) in text.lines().zip(6..) {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["position"], position);
            let raw = STANDARD.decode(line["raw"].as_str().expect("text")).expect("base64");
            assert_eq!(raw, frame(position));
        }
        assert_eq!(text.lines().count(), 3);
        assert!(loss.set_aside.expect("kept").join("db").exists());
        assert_eq!(own_up(&started).await, 6);
        drop(started);
        let started = rig.start().expect("a start");
        assert_eq!(started.head, Some(Position(5)));
        let read = read_to(&mut started.engine.follow(Position(0)), 5).await;
        let last = decode_record(&read[5].1).expect("a record");
        assert!(matches!(last.events[0], Event::LogLossAccepted { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_begins_again_where_the_operator_accepts_it() {
    for what in ["removed", "emptied", "torn"] {
        let rig = Rig::filled(6, false).await;
        rewrite_head(&rig, |head| head.log = LogId([1; 16]));
        match what {
            "removed" => fs::remove_file(rig.db()).expect("removed"),
            "emptied" => fs::write(rig.db(), b"").expect("emptied"),
            _ => fs::write(rig.db(), vec![0xA5; 100_000]).expect("torn"),
        }
        let error = rig.refused();
        assert!(error.can_be_accepted(), "{what}: {error}");
        let started = rig.start_with(true).expect("accepted");
        let loss = started.loss.as_ref().expect("a loss");
        assert!(loss.is_total(), "{what}");
        assert_eq!(loss.head_position, Some(Position(5)));
        assert_eq!(own_up(&started).await, 2);
        drop(started);
        assert_eq!(rig.start().expect("a start").head, Some(Position(1)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_loss_cannot_be_accepted() {
    let rig = Rig::filled(5, false).await;
    tamper(&rig, |db| drop(db.insert(4_u64.to_be_bytes(), frame(77))));
    let before = bytes_of(&rig.path());
    assert!(matches!(rig.start_with(true), Err(StartError::Changed { .. })));
    assert_eq!(bytes_of(&rig.path()), before);
}
