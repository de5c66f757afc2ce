//! Conversations over a real socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fake::{Fake, crowd};
use super::*;
use crate::audit::Records;
use crate::clock::ManualClock;

struct Running {
    fake: Arc<Fake>,
    clock: ManualClock,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

fn start(dir: &Path, fake: Fake) -> Running {
    let server = Server::bind(dir).unwrap();
    let (fake, clock) = (Arc::new(fake), ManualClock::new(Timestamp(0)));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(Arc::clone(&fake) as Arc<dyn Answers>, Arc::new(clock.clone()), async {
        let _ = stopped.await;
    });
    Running { fake, clock, stop, done: tokio::spawn(serving) }
}

async fn client(dir: &Path) -> Option<Client> {
    Client::connect(dir, Arc::new(ManualClock::new(Timestamp(0)))).await.unwrap()
}

/// Sends bytes as they are and returns what comes back.
async fn raw(dir: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(dir.join(SOCKET_NAME)).await.unwrap();
    // The server may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn questions_are_answered_over_the_socket() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(client.health().await.unwrap(), Health { ready: true, log_available: true });

    let all = client.sessions(SessionFilter::default()).await.unwrap();
    let own = running.fake.sessions(SessionFilter::default()).await.unwrap();
    assert_eq!(all, own, "nothing is lost on the way");
    let full = SessionFilter {
        user: Some("80351110224678912".to_owned()),
        session: Some(SessionId([1; 16])),
        since: Some(Timestamp(0)),
        key: Some(Fake::token().key()),
    };
    assert_eq!(client.sessions(full).await.unwrap().len(), 1);

    let ids = vec![SessionId([1; 16]), SessionId([9; 16])];
    assert_eq!(client.revoke(ids.clone(), Some("because".to_owned())).await.unwrap(), 1);
    assert_eq!(*running.fake.revoked.lock().unwrap(), [(ids, Some("because".to_owned()))]);
}

#[tokio::test]
async fn trouble_comes_over_as_the_same_trouble() {
    let dir = TempDir::new().unwrap();
    let _running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    let by_name = SessionFilter { user: Some("nelly".to_owned()), ..SessionFilter::default() };
    let Err(Trouble::Ambiguous(users)) = client.sessions(by_name).await else { panic!("a guess") };
    assert_eq!(users.len(), 2);
    let refused = client.revoke(vec![SessionId([1; 16])], Some("while the log is full".to_owned())).await;
    assert!(matches!(refused, Err(Trouble::LogUnavailable)), "{refused:?}");
}

#[tokio::test]
async fn a_data_directory_with_a_very_long_name_has_a_socket_too() {
    let dir = TempDir::new().unwrap();
    let long = dir.path().join("a".repeat(120)).join("b".repeat(120));
    std::fs::create_dir_all(&long).unwrap();
    assert!(client(&long).await.is_none());
    let running = start(&long, Fake::new());
    client(&long).await.unwrap().ping().await.unwrap();
    assert!(matches!(Server::bind(&long), Err(ControlError::Taken(_))));
    running.stop.send(()).unwrap();
    running.done.await.unwrap();
    assert!(client(&long).await.is_none());
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_with_the_server() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let path = dir.path().join(SOCKET_NAME);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    running.stop.send(()).unwrap();
    running.done.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_dead_server_left_is_replaced_and_a_live_one_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    assert!(client(dir.path()).await.is_none(), "nobody answers at a stale socket");
    let _running = start(dir.path(), Fake::new());
    client(dir.path()).await.unwrap().ping().await.unwrap();
    assert!(matches!(Server::bind(dir.path()), Err(ControlError::Taken(_))));
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(SOCKET_NAME);
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Server::bind(dir.path()), Err(ControlError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn no_directory_and_no_socket_mean_that_no_server_runs() {
    let dir = TempDir::new().unwrap();
    assert!(client(dir.path()).await.is_none());
    assert!(client(&dir.path().join("nowhere")).await.is_none());
}

#[tokio::test]
async fn another_version_is_told_which_one_is_spoken() {
    let dir = TempDir::new().unwrap();
    let _running = start(dir.path(), Fake::new());
    let answer = raw(dir.path(), b"{\"doorbook\":2,\"ask\":{\"something_new\":{}}}\n").await;
    assert_eq!(answer, "{\"doorbook\":1,\"say\":\"version\"}\n");
}

#[tokio::test]
async fn a_server_of_another_version_is_named_by_the_client() {
    for answer in ["{\"doorbook\":7,\"say\":\"version\"}\n", "{\"doorbook\":7,\"verdict\":\"anything\"}\n"] {
        let dir = TempDir::new().unwrap();
        let listener = tokio::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let found = client(dir.path()).await.unwrap().ping().await;
        assert!(matches!(found, Err(Trouble::Version { ours: 1, theirs: 7 })), "{found:?}");
    }
}

#[tokio::test]
async fn nonsense_is_answered_and_the_server_goes_on() {
    let dir = TempDir::new().unwrap();
    let _running = start(dir.path(), Fake::new());
    for nonsense in [
        "\n",
        "GET / HTTP/1.1\n",
        "{}\n",
        "{\"doorbook\":1}\n",
        "{\"doorbook\":1,\"ask\":\"open_the_door\"}\n",
        "{\"doorbook\":1,\"ask\":{\"sessions_list\":{\"session\":\"xyz\"}}}\n",
        "{\"doorbook\":1,\"ask\":{\"sessions_list\":{\"everybody\":true}}}\n",
        "{\"doorbook\":1,\"ask\":{\"sessions_revoke\":{\"sessions\":[\"..\"],\"reason\":null}}}\n",
    ] {
        let answer = raw(dir.path(), nonsense.as_bytes()).await;
        assert_eq!(answer, "{\"doorbook\":1,\"say\":\"not_understood\"}\n", "{nonsense}");
    }
    assert_eq!(raw(dir.path(), b"{\"doorbook\":1,\"ask\":\"ping\"}").await, "", "half a line is no question");
    client(dir.path()).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_on_both_sides() {
    let dir = TempDir::new().unwrap();
    let _running = start(dir.path(), Fake::new());
    let answer = raw(dir.path(), &vec![b'x'; 65_537]).await;
    assert!(answer.is_empty() || answer.contains("too_large"), "{answer}");
    let client = client(dir.path()).await.unwrap();
    let filter = SessionFilter { user: Some("x".repeat(70_000)), ..SessionFilter::default() };
    assert!(matches!(client.sessions(filter).await, Err(Trouble::TooLarge { limit: 65_536 })));
    client.ping().await.unwrap();
}

#[tokio::test]
async fn long_lists_and_many_ids_go_over_in_parts() {
    let dir = TempDir::new().unwrap();
    let fake = Fake::new();
    *fake.sessions.lock().unwrap() = crowd(2_500);
    let running = start(dir.path(), fake);
    let client = client(dir.path()).await.unwrap();
    let all = client.sessions(SessionFilter::default()).await.unwrap();
    assert_eq!(all.len(), 2_500);
    let ids = all.iter().map(|row| row.id).collect();
    assert_eq!(client.revoke(ids, None).await.unwrap(), 2_500);
    assert_eq!(running.fake.revoked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let mut silent = UnixStream::connect(dir.path().join(SOCKET_NAME)).await.unwrap();
    // One answer to another shows that the server has got to the silent one as well.
    client(dir.path()).await.unwrap().ping().await.unwrap();
    running.clock.advance(Duration::from_secs(11));
    let mut nothing = Vec::new();
    assert_eq!(silent.read_to_end(&mut nothing).await.unwrap(), 0);
}

/// A frame of this length, as far as its header says.
fn frame(n: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![n; length];
    let rest = u32::try_from(length - 7).unwrap();
    frame[3..7].copy_from_slice(&rest.to_be_bytes());
    frame
}

async fn all(records: &mut dyn Records) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(chunk) = records.next().await.unwrap() {
        all.extend(chunk.into_iter().map(|(position, frame)| (position.0, frame.to_vec())));
    }
    all
}

#[tokio::test]
async fn records_come_over_the_socket_as_they_stand_in_the_log() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    let source = client.source().unwrap();
    assert_eq!(source.head().await.unwrap(), None);
    // More than one chunk, and the longest frames there are.
    let frames: Vec<Vec<u8>> = (0..600).map(|n| frame(7, if n < 20 { 65_535 } else { 8 + n % 90 })).collect();
    running.fake.log.append(frames.clone(), None).await.unwrap();
    assert_eq!(source.head().await.unwrap(), Some(Position(599)));
    for (from, to) in [(0, 599), (0, 0), (300, 310), (599, 599)] {
        let mut records = source.records(Position(from), Some(Position(to))).await.unwrap();
        let index = |at: u64| usize::try_from(at).unwrap();
        let expected = (from..=to).zip(frames[index(from)..=index(to)].iter().cloned());
        assert!(all(&mut *records).await == expected.collect::<Vec<_>>(), "{from} to {to}");
    }
}

/// Asks for all records and takes nothing yet but the line before them; returns how many bytes are to come.
async fn slow_reader(dir: &Path) -> (UnixStream, usize) {
    let mut stream = UnixStream::connect(dir.join(SOCKET_NAME)).await.unwrap();
    let ask = wire::Ask::LogRecords { from: 0, to: Some(59) };
    let mut ask = serde_json::to_vec(&wire::Question { doorbook: wire::VERSION, ask }).unwrap();
    ask.push(b'\n');
    stream.write_all(&ask).await.unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await.unwrap());
    }
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let bytes = line["say"]["records"]["bytes"].as_u64().unwrap_or_else(|| panic!("{line}"));
    (stream, usize::try_from(bytes).unwrap())
}

#[tokio::test]
async fn who_takes_records_slowly_gets_them_all_and_who_takes_none_is_let_go() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    // Many times more than a socket holds.
    running.fake.log.append((0..60).map(|_| frame(7, 65_535)).collect(), None).await.unwrap();
    let client = client(dir.path()).await.unwrap();
    // While others are answered, the server comes as far with the slow one as it can.
    let others = async || {
        for _ in 0..5 {
            client.ping().await.unwrap();
        }
    };
    let (mut stream, bytes) = slow_reader(dir.path()).await;
    let mut some = vec![0; 600_000];
    let mut left = bytes;
    while left > 0 {
        others().await;
        running.clock.advance(Duration::from_secs(100));
        let taken = left.min(some.len());
        stream.read_exact(&mut some[..taken]).await.unwrap();
        left -= taken;
    }
    let mut end = Vec::new();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut end).await.unwrap();
    assert!(String::from_utf8(end).unwrap().contains("records_end"));

    let (mut stream, bytes) = slow_reader(dir.path()).await;
    others().await;
    running.clock.advance(Duration::from_secs(121));
    let mut rest = Vec::new();
    // Whatever is on the way already still comes.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < bytes, "{} of {bytes}", rest.len());
}

#[tokio::test]
async fn who_follows_gets_what_comes_and_frees_its_seat_when_it_hangs_up() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    let source = client.source().unwrap();
    for n in 0..20 {
        let mut records = source.records(Position(n), None).await.unwrap();
        running.fake.log.append(vec![frame(1, 20)], None).await.unwrap();
        let chunk = records.next().await.unwrap().expect("it goes on");
        assert_eq!(chunk[0].0, Position(n));
    }
}

#[tokio::test]
async fn no_more_than_a_few_may_follow_and_the_others_are_told() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    running.fake.log.append(vec![frame(1, 20)], None).await.unwrap();
    let source = client.source().unwrap();
    let mut following = Vec::new();
    for _ in 0..8 {
        let mut records = source.records(Position(0), None).await.unwrap();
        records.next().await.unwrap().expect("a seat");
        following.push(records);
    }
    let mut ninth = source.records(Position(0), None).await.unwrap();
    let told = ninth.next().await.unwrap_err().to_string();
    assert!(told.contains("too many follow the log already"), "{told}");
    let mut bounded = source.records(Position(0), Some(Position(0))).await.unwrap();
    assert_eq!(all(&mut *bounded).await.len(), 1, "who reads to an end is not one of them");
}

#[tokio::test]
async fn who_asks_for_more_than_there_is_gets_what_there_is_and_does_not_stay() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let source = client(dir.path()).await.unwrap().source().unwrap();
    for (there, from, to, come) in
        [(0, 0, 9, 0), (3, 0, 9, 3), (3, 2, u64::MAX, 1), (3, 3, 9, 0), (3, 7, 9, 0)]
    {
        while running.fake.log.head().await.unwrap().map_or(0, |head| head.0 + 1) < there {
            running.fake.log.append(vec![frame(1, 20)], None).await.unwrap();
        }
        // More of them than may follow or ask at once.
        for _ in 0..20 {
            let mut records = source.records(Position(from), Some(Position(to))).await.unwrap();
            let found = tokio::time::timeout(Duration::from_secs(30), all(&mut *records)).await;
            assert_eq!(found.expect("it ends").len(), come, "{from} to {to} of {there}");
        }
    }
}

#[tokio::test]
async fn a_log_that_ends_ends_the_reading_with_its_reason() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let source = client(dir.path()).await.unwrap().source().unwrap();
    let mut records = source.records(Position(0), None).await.unwrap();
    running.fake.log.close().await.unwrap();
    let error = records.next().await.unwrap_err();
    assert!(error.to_string().contains("the log was closed while it was read"), "{error}");
}

#[tokio::test]
async fn somebody_is_erased_over_the_socket_and_a_no_comes_over_as_one() {
    let dir = TempDir::new().unwrap();
    let _running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    let erased = client.erase(Sub([1; 16]), Requester::User, true).await.unwrap();
    assert_eq!(erased, Erased { position: Position(4711), sessions_ended: 2, confirmed: Some(false) });
    let refused = client.erase(Sub([2; 16]), Requester::User, false).await.unwrap_err();
    assert!(matches!(&refused, Trouble::No(why) if why == "there is no such user"), "{refused}");
}

#[tokio::test]
async fn an_erasure_is_waited_for_ten_minutes() {
    for (answers_after, is_answered) in [(599, true), (601, false)] {
        let (dir, clock) = (TempDir::new().unwrap(), ManualClock::new(Timestamp(0)));
        let listener = tokio::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let client = Client::connect(dir.path(), Arc::new(clock.clone())).await.unwrap().unwrap();
        let erasing =
            tokio::spawn(async move { client.erase(Sub([1; 16]), Requester::User, false).await.map(drop) });
        // The first one who comes only looks whether somebody is there.
        let mut asking = loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if stream.read(&mut [0; 1_024]).await.unwrap() > 0 {
                break stream;
            }
        };
        clock.advance(Duration::from_secs(answers_after));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let answer = "{\"doorbook\":1,\"say\":{\"erased\":{\"position\":7,\"sessions_ended\":1,\"confirmed\":true}}}\n";
        let _ = asking.write_all(answer.as_bytes()).await;
        let erased = erasing.await.unwrap();
        assert_eq!(erased.is_ok(), is_answered, "{answers_after}: {erased:?}");
        assert!(is_answered || matches!(erased, Err(Trouble::Timeout)));
    }
}

#[tokio::test]
async fn what_is_asked_is_written_down_over_the_socket() {
    use crate::domain::event::Question;

    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    let copy = Audit {
        question: Question::Export,
        user: None,
        from: None,
        to: Some(Position(4_711)),
        rows: Some(4_712),
    };
    let all = [
        Asked { audit: copy, networks: vec![], exported: true },
        Asked {
            audit: Audit {
                question: Question::Log,
                user: Some(Sub([1; 16])),
                from: Some(Position(3)),
                to: None,
                rows: None,
            },
            networks: vec!["203.0.113.0/24".into()],
            exported: false,
        },
    ];
    for asked in &all {
        client.note_audit(asked.clone()).await.unwrap();
    }
    assert_eq!(*running.fake.noted.lock().unwrap(), all);
}

#[tokio::test]
async fn keys_are_changed_and_months_ended_over_the_socket() {
    let dir = TempDir::new().unwrap();
    let running = start(dir.path(), Fake::new());
    let client = client(dir.path()).await.unwrap();
    for (which, position) in [(RotatedKey::Root, 4712), (RotatedKey::Signer, 4713)] {
        let own = running.fake.rotate_key(which).await.unwrap();
        assert_eq!((client.rotate_key(which).await.unwrap(), own.position), (own, Position(position)));
    }
    let due = vec![Month(202_410), Month(202_411)];
    for (only_look, months) in [(true, due.clone()), (false, due), (true, vec![]), (false, vec![])] {
        assert_eq!(client.apply_retention(only_look).await.unwrap(), months);
    }
}
