//! A narrow question has the same answer by the index as by reading everything.

use super::*;
use crate::audit::town::Town;
use crate::clock::Clock as _;
use crate::domain::event::ActorKind;

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
    town.app.log().keep_index().await.unwrap();
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
    town.app.log().keep_index().await.unwrap();
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
