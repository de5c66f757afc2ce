//! A narrow question has the same answer by the index as by reading everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::*;
use crate::audit::town::Town;
use crate::audit::{LogSource, Opener, Records, Source, When};
use crate::clock::Clock as _;
use crate::domain::event::ActorKind;
use crate::event_log::{Chunk, Found};

/// Counts what is read of a log, and the most at once.
struct Counting {
    source: LogSource,
    picked: Mutex<Vec<usize>>,
    scanned: AtomicU64,
}

impl Counting {
    fn of(town: &Town) -> (Arc<Counting>, Reader) {
        let source = LogSource(town.app.log().clone());
        let counting = Arc::new(Counting { source, picked: Mutex::default(), scanned: AtomicU64::new(0) });
        let reader = Reader::new(Arc::clone(&counting) as _, Opener::new(Some(town.app.keys().clone())));
        (counting, reader)
    }

    fn picked(&self) -> Vec<usize> {
        self.picked.lock().unwrap().clone()
    }
}

impl Source for Counting {
    fn head(&self) -> BoxFuture<'_, Result<Option<Position>, ReadError>> {
        self.source.head()
    }

    fn find(&self, lookup: Lookup) -> BoxFuture<'_, Result<Option<Found>, ReadError>> {
        self.source.find(lookup)
    }

    fn pick(&self, positions: Vec<Position>) -> BoxFuture<'_, Result<Chunk, ReadError>> {
        self.picked.lock().unwrap().push(positions.len());
        self.source.pick(positions)
    }

    fn records(
        &self,
        from: Position,
        to: Option<Position>,
    ) -> BoxFuture<'_, Result<Box<dyn Records>, ReadError>> {
        self.scanned.fetch_add(to.map_or(u64::MAX / 2, |to| to.0 + 1 - from.0), Ordering::Relaxed);
        self.source.records(from, to)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_question_reads_little_and_never_much_at_once() {
    let mut town = Town::founded().await;
    town.live_until(1_600).await;
    town.app.log().keep_index().unwrap();
    let (counting, reader) = Counting::of(&town);
    let head = reader.head().await.unwrap().unwrap();
    settled(&reader, head).await;
    // Enough seeds for more than one piece, and fewer than a quarter of the log.
    let some = (1..4).map(|who| town.sub(who).unwrap()).collect();
    let filter = Filter { users: Some(some), ..Filter::default() };
    let mut rows = 0;
    reader.rows(filter, head, |_| rows += 1).await.unwrap();
    let picked = counting.picked();
    assert!(rows > PIECE && picked.len() > 2 && picked.iter().all(|count| *count <= PIECE), "{picked:?}");
    assert_eq!(counting.scanned.load(Ordering::Relaxed), 0, "the index knows all of it");

    // Whoever has seen enough ends it.
    let session = town.app.state().sessions().next().unwrap().id;
    for filter in [Filter { session: Some(session), ..Filter::default() }, Filter::default()] {
        let mut seen = 0;
        let enough = |_| {
            seen += 1;
            false
        };
        reader.rows_while(filter, head, enough).await.unwrap();
        assert_eq!(seen, 1);
    }
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_person_is_the_same_by_the_index_and_is_not_searched_for() {
    let mut town = Town::founded().await;
    town.live_until(400).await;
    let stories = async |reader: &Reader, town: &Town| {
        let mut stories = Vec::new();
        for who in 0..10 {
            for when in [When::Now, When::After(Position(200)), When::At(town.clock.now())] {
                let story = reader.story(town.sub(who).unwrap(), when, town.clock.now()).await.unwrap();
                stories.push(serde_json::to_value(story.unwrap()).unwrap());
            }
        }
        stories
    };
    let searched = stories(&town.reader(), &town).await;
    assert!(searched.iter().filter(|story| story["story"].as_array().unwrap().len() > 5).count() > 20);
    town.app.log().keep_index().unwrap();
    let (counting, reader) = Counting::of(&town);
    settled(&reader, reader.head().await.unwrap().unwrap()).await;
    assert_eq!(stories(&reader, &town).await, searched);
    assert!(!counting.picked().is_empty(), "it was asked");
    town.app.close().await.unwrap();
}

async fn by_reading(reader: &Reader, filter: &Filter, up_to: Position) -> Vec<EventRow> {
    let mut rows = Rows::new(reader.opener().clone(), filter.clone());
    let mut records = reader.source().records(Position(0), Some(up_to)).await.unwrap();
    let mut all = Vec::new();
    let push = |row| {
        all.push(row);
        true
    };
    rows.read(&mut *records, push).await.unwrap();
    all
}

/// Waits until the index reaches the end of the log.
async fn settled(reader: &Reader, head: Position) {
    loop {
        let found = reader.source().find(Lookup::Kind(codec::LOG_RESTORED)).await.unwrap();
        if found.and_then(|found| found.up_to).is_some_and(|(position, _)| position >= head) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_finds_what_reading_everything_finds() {
    let mut town = Town::founded().await;
    town.live_until(400).await;
    town.app.log().keep_index().unwrap();
    let reader = town.reader();
    let head = reader.head().await.unwrap().unwrap();
    settled(&reader, head).await;
    let user = |who| Some(BTreeSet::from([town.sub(who).unwrap()]));
    let sessions: Vec<_> = town.app.state().sessions().map(|session| session.id).take(5).collect();
    let mut filters: Vec<Filter> =
        (0..10).map(|who| Filter { users: user(who), ..Filter::default() }).collect();
    filters.extend(sessions.into_iter().map(|id| Filter { session: Some(id), ..Filter::default() }));
    for kind in
        ["sign_in", "sign_in.denied", "server", "checkpoint.signed", "discord.unavailable", "user.erased"]
    {
        filters.push(Filter { kind: Some(kind.into()), ..Filter::default() });
    }
    let middle = town.clock.now().minus(std::time::Duration::from_secs(10 * 86_400));
    filters.push(Filter { users: user(1), since: Some(middle), ..Filter::default() });
    filters.push(Filter { users: user(2), network: "203.0.113.0/24".parse().ok(), ..Filter::default() });
    filters.push(Filter { users: user(3), actor: Some(ActorKind::Operator), ..Filter::default() });
    let mut narrow = 0;
    for filter in filters {
        for up_to in [head, Position(head.0 / 2), Position(3)] {
            let mut found = Vec::new();
            reader.rows(filter.clone(), up_to, |row| found.push(row)).await.unwrap();
            assert_eq!(found, by_reading(&reader, &filter, up_to).await, "{filter:?} up to {up_to}");
            narrow += usize::from(reader.narrow(&filter, up_to).await.unwrap().is_some());
        }
    }
    assert!(narrow > 20, "most of them are narrow enough: {narrow}");
    town.app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_has_not_come_to_is_read() {
    let mut town = Town::founded().await;
    town.live_until(150).await;
    town.app.log().keep_index().unwrap();
    let reader = town.reader();
    settled(&reader, reader.head().await.unwrap().unwrap()).await;
    // The index is not kept after this start.
    town.restart().await;
    town.live_until(300).await;
    let reader = town.reader();
    let head = reader.head().await.unwrap().unwrap();
    let found = reader.source().find(Lookup::Kind(codec::LOG_RESTORED)).await.unwrap().unwrap();
    assert!(found.up_to.unwrap().0 < Position(160), "{found:?}");
    for who in 0..5 {
        let filter = Filter { users: Some([town.sub(who).unwrap()].into()), ..Filter::default() };
        let mut rows = Vec::new();
        reader.rows(filter.clone(), head, |row| rows.push(row)).await.unwrap();
        assert_eq!(rows, by_reading(&reader, &filter, head).await);
    }
    town.app.close().await.unwrap();
}
