//! `doorbook audit log`: one row an event.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::listing::{Lines, Listing, Shown};
use super::{in_order, only, person, view, who, with_reading};
use crate::audit::{Filter, People, ReadError, Reader, Rows, When, Who};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::outside::Outside;
use crate::cli::rows::Format;
use crate::cli::sessions::{network, session_id};
use crate::domain::event::ActorKind;
use crate::domain::id::{Position, SessionId, Sub};
use crate::event_log::codec;

/// How long to wait before a server that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Print one row for every event, the newest last
///
/// What only time decides is there as well: `session.expired` stands in no record and is marked as derived. Rows are
/// printed as they are read; a table alone is kept in memory to the end, because the widest row decides on its columns.
/// For a long log use another format, or --limit.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit log --user nelly --since 7d\n  doorbook audit log --kind sign_in.denied --ip 203.0.113.0/24 --format csv\n  doorbook audit log --follow --format jsonl"
)]
pub(in crate::cli) struct Args {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// About that person, or caused by them: a Discord id, a username or a display name
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// About that session
    #[arg(long, value_name = "ID", value_parser = session_id)]
    session: Option<SessionId>,
    /// Of that kind, or of all kinds of that noun: session.opened, sign_in
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<String>,
    /// From that network or address
    #[arg(long, value_name = "CIDR", value_parser = network)]
    ip: Option<IpNet>,
    /// Then or later: 2h, 7d, a date, "2026-11-17 14:03" or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Caused by: operator, system, discord, user, unauthenticated, or a person
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// No more than the newest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on with what comes, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

fn kind(text: &str) -> Result<String, String> {
    let known = |name: &str| name == text || name.split_once('.').is_some_and(|(noun, _)| noun == text);
    if text == "session.expired" || codec::kinds().iter().any(|kind| known(kind.name)) {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = codec::kinds().iter().map(|kind| kind.name).collect();
    Err(format!("no such kind of event; there are {}", names.join(", ")))
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    if args.follow && args.until.is_some() {
        return Err(Failure::Usage("--follow has no end, so --until makes no sense with it".to_owned()));
    }
    let since = args.since.as_deref().map(|text| outside.moment("since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| outside.moment("until", text)).transpose()?;
    in_order(since, until)?;
    let filter = Filter {
        session: args.session,
        kind: args.kind.clone(),
        network: args.ip,
        since,
        until,
        ..Filter::default()
    };
    with_reading(args.flags.clone(), outside, async |reading, outside| {
        let reader = &reading.reader;
        if args.follow && !reading.is_live() {
            return Err(Failure::No(
                "no server is running here, so nothing will come to be followed".to_owned(),
            ));
        }
        let Some(head) = reader.head().await? else { return Ok(()) };
        let filter = people(&args, filter, head, reader, outside).await?;
        let (screen, now) = (outside.screen(), outside.clock.now());
        let mut listing = Listing::begin(args.format, screen, args.limit, args.follow);
        let mut row = |row| listing.push(Shown { row, now }, &mut *outside.stdout);
        let mut rows = if args.follow {
            let mut rows = Rows::new(reader.opener().clone(), filter);
            let mut records = reader.source().records(Position(0), Some(head)).await?;
            rows.read(&mut *records, &mut row).await?;
            rows
        } else {
            reader.rows_while(filter, head, &mut row).await?
        };
        rows.expired(outside.clock.now()).into_iter().all(&mut row);
        let lines = listing.end(&mut *outside.stdout).map_err(Failure::Output)?;
        match lines {
            Some(lines) => follow(reader, rows, head.next(), lines, outside).await,
            None => Ok(()),
        }
    })
}

/// Finds the people whom the filter names.
async fn people(
    args: &Args,
    mut filter: Filter,
    head: Position,
    reader: &Reader,
    outside: &Outside,
) -> Result<Filter, Failure> {
    if let Some(user) = &args.user {
        match People::named(user, reader.opener()) {
            Some(sub) => filter.users = Some(only(sub)),
            None => {
                let view = view(reader, When::Now, outside).await?;
                match who(user, &view.people, head, reader).await? {
                    Who::User(sub) => filter.users = Some(only(sub)),
                    Who::Stranger(stranger) => {
                        (filter.users, filter.stranger) = (Some(BTreeSet::new()), Some(stranger.id));
                    }
                }
            }
        }
    }
    if let Some(actor) = &args.actor {
        match ActorKind::ALL.iter().find(|kind| kind.to_string() == *actor) {
            Some(kind) => filter.actor = Some(*kind),
            None => filter.actors = Some(only(one(actor, reader, outside).await?)),
        }
    }
    Ok(filter)
}

/// Finds one person. A name takes a look through the log of its own; an id does not.
async fn one(text: &str, reader: &Reader, outside: &Outside) -> Result<Sub, Failure> {
    match People::named(text, reader.opener()) {
        Some(sub) => Ok(sub),
        None => person(text, &view(reader, When::Now, outside).await?.people, reader.opener()),
    }
}

/// Prints what comes. Where the server stops, its next start is waited for: nothing is left out in between.
async fn follow(
    reader: &Reader,
    mut rows: Rows,
    mut next: Position,
    mut lines: Lines,
    outside: &mut Outside,
) -> Result<(), Failure> {
    let mut waiting = false;
    loop {
        match come(reader, &mut rows, &mut next, &mut lines, &mut waiting, outside).await {
            Err(Failure::Read(ReadError::Closed | ReadError::Unavailable { .. })) => {}
            done => return done,
        }
        if !std::mem::replace(&mut waiting, true) {
            outside.say("the server does not answer; waiting for it")?;
        }
        outside.clock.sleep(RETRY).await;
    }
}

/// Prints what comes until the connection ends.
async fn come(
    reader: &Reader,
    rows: &mut Rows,
    next: &mut Position,
    lines: &mut Lines,
    waiting: &mut bool,
    outside: &mut Outside,
) -> Result<(), Failure> {
    let mut records = reader.source().records(*next, None).await?;
    while let Some(chunk) = records.next().await? {
        *waiting = false;
        for (position, frame) in chunk {
            let decoded = codec::decode_record(&frame);
            let record = decoded.map_err(|source| ReadError::Decode { position, source })?;
            let now = outside.clock.now();
            for row in rows.take(position, &record) {
                lines.print(&Shown { row, now }, &mut *outside.stdout).map_err(Failure::Output)?;
            }
            *next = position.next();
        }
    }
    Ok(())
}
