//! What a start writes down first on a log that was put back.

use std::fs;
use std::path::Path;

use futures_util::future::join_all;

use super::*;
use crate::clock::ManualClock;
use crate::disk::RealDisk;
use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;
use crate::event_log::start::Import;
use crate::event_log::tree::Frontier;

fn server() -> Role {
    Role::Server {
        made_by: MadeBy::Serve,
        origin: "https://login.example.org".into(),
        config: Hash([0; 32]),
        accepted: Accepted::default(),
    }
}

async fn open(dir: &Path, clock: &ManualClock, role: Role) -> Arc<App> {
    let settings = Settings {
        data_dir: dir.into(),
        encrypt_secret: None,
        cookie_secret: None,
        role,
        version: "0.1.0".into(),
        rules: Rules::default(),
        probe: Probe::InProcess,
    };
    let seed = format!("a start at {}", clock.now());
    clock.advance(Duration::from_secs(1));
    let (clock, entropy) = (Arc::new(clock.clone()), Arc::new(SeededEntropy::new(&seed)));
    let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
    opening.await.unwrap().unwrap().replay().await.unwrap().0
}

async fn frames(app: &App) -> Vec<bytes::Bytes> {
    let records = usize::try_from(app.frontier().size()).unwrap();
    let mut follow = app.log().follow(Position(0));
    let mut all = Vec::new();
    while all.len() < records {
        all.extend(follow.next().await.unwrap().into_iter().map(|(_, frame)| frame));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_log_was_put_back_is_its_first_record_even_where_a_signature_is_overdue() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(1_767_323_045_000));
    let first = dir.path().join("first");
    let app = open(&first, &clock, server()).await;
    while app.state().unsigned().records < 1_024 {
        let wanted = (1_024 - app.state().unsigned().records).min(64);
        join_all((0..wanted).map(|_| app.execute(Command::StopServer { clean: true }, &By::SYSTEM))).await;
    }
    let copied = frames(&app).await;
    let log_id = app.keys().log_id();
    app.close().await.unwrap();
    let mut tree = Frontier::new();
    copied.iter().for_each(|frame| tree.push(codec::leaf_hash(frame)));

    for (name, role, source) in
        [("server", server(), RestoredFrom::Backup), ("command", Role::Command, RestoredFrom::Import)]
    {
        let data_dir = dir.path().join(name);
        fs::create_dir_all(data_dir.join("keys")).unwrap();
        for entry in fs::read_dir(first.join("keys")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, data_dir.join("keys").join(path.file_name().unwrap())).unwrap();
        }
        let settings = StartSettings {
            data_dir: data_dir.clone(),
            accept_loss: false,
            probe: Probe::InProcess,
            disk: Arc::new(RealDisk),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new("nothing")),
            pace: Pace::default(),
        };
        let mut import = Import::begin(&settings, log_id).unwrap();
        copied.iter().for_each(|frame| import.push(frame.clone()).unwrap());
        import.finish(source).unwrap();

        let app = open(&data_dir, &clock, role).await;
        let all = frames(&app).await;
        assert!(all.starts_with(&copied), "{name}");
        let record = codec::decode_record(&all[copied.len()]).unwrap();
        let expected = Event::LogRestored { size: tree.size(), root: tree.root(), source };
        assert_eq!(record.events, [expected], "{name}");
        app.close().await.unwrap();
        let restored = open(&data_dir, &clock, Role::Command).await;
        let again = frames(&restored).await;
        let said = again.iter().filter(|frame| {
            let events = codec::decode_record(frame).unwrap().events;
            events.iter().any(|event| matches!(event, Event::LogRestored { .. }))
        });
        assert_eq!(said.count(), 1, "{name}: it is said once");
        restored.close().await.unwrap();
    }
}
