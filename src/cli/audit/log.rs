//! `doorbook audit log`: one row an event.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::{only, person, view, with_reading};
use crate::audit::{EventRow, Filter, Person, ReadError, Reader, Rows, When};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::outside::Outside;
use crate::cli::rows::{self, Format, Row, Screen, visible};
use crate::cli::sessions::{network, session_id};
use crate::domain::event::ActorKind;
use crate::domain::id::{Position, SessionId};
use crate::domain::time::Timestamp;
use crate::event_log::codec;

/// What a line shows of a row where there is no table around it: no position in its record, no data.
const LINE: [usize; 7] = [0, 2, 4, 6, 8, 9, 10];

/// How long to wait before a server that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Print one row for every event, the newest last
///
/// What only time decides is there as well: `session.expired` stands in no record and is marked as derived.
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
        let filter = people(&args, filter, reader, outside).await?;
        let mut found = Found { limit: args.limit, rows: VecDeque::new() };
        let mut rows = if args.follow {
            let mut rows = Rows::new(reader.opener().clone(), filter);
            let mut records = reader.source().records(Position(0), Some(head)).await?;
            rows.read(&mut *records, |row| found.push(row)).await?;
            rows
        } else {
            let push = |row| {
                found.push(row);
            };
            reader.rows(filter, head, push).await?
        };
        for row in rows.expired(outside.clock.now()) {
            found.push(row);
        }
        let now = outside.clock.now();
        let shown: Vec<Shown> = found.rows.into_iter().map(|row| Shown { row, now }).collect();
        if args.follow {
            if args.format == Format::Csv {
                rows::write::<Shown>(&mut *outside.stdout, Format::Csv, Screen::PIPE, &[])
                    .map_err(Failure::Output)?;
            }
            for row in &shown {
                print_line(row, args.format, outside)?;
            }
            return follow(reader, rows, head.next(), args.format, outside).await;
        }
        outside.print(args.format, &shown)
    })
}

/// Finds the people whom the filter names; that takes a look through the log of its own.
async fn people(
    args: &Args,
    mut filter: Filter,
    reader: &Reader,
    outside: &Outside,
) -> Result<Filter, Failure> {
    if args.user.is_none() && args.actor.is_none() {
        return Ok(filter);
    }
    let view = view(reader, When::Now, outside).await?;
    if let Some(user) = &args.user {
        filter.users = Some(only(person(user, &view.people, reader.opener())?));
    }
    if let Some(actor) = &args.actor {
        match ActorKind::ALL.iter().find(|kind| kind.to_string() == *actor) {
            Some(kind) => filter.actor = Some(*kind),
            None => filter.actors = Some(only(person(actor, &view.people, reader.opener())?)),
        }
    }
    Ok(filter)
}

struct Found {
    limit: Option<usize>,
    rows: VecDeque<EventRow>,
}

impl Found {
    fn push(&mut self, row: EventRow) -> bool {
        self.rows.push_back(row);
        if self.limit.is_some_and(|limit| self.rows.len() > limit) {
            self.rows.pop_front();
        }
        true
    }
}

/// Prints what comes. Where the server stops, its next start is waited for: nothing is left out in between.
async fn follow(
    reader: &Reader,
    mut rows: Rows,
    mut next: Position,
    format: Format,
    outside: &mut Outside,
) -> Result<(), Failure> {
    let mut waiting = false;
    loop {
        match come(reader, &mut rows, &mut next, format, &mut waiting, outside).await {
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
    format: Format,
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
                print_line(&Shown { row, now }, format, outside)?;
            }
            *next = position.next();
        }
    }
    Ok(())
}

/// Prints one row at once; a table has no frame then, because its last row is never known.
fn print_line(shown: &Shown, format: Format, outside: &mut Outside) -> Result<(), Failure> {
    match format {
        Format::Table => {
            let cells =
                shown.cells().into_iter().map(|cell| cell.map_or_else(|| "-".into(), |text| visible(&text)));
            let cells: Vec<String> =
                cells.enumerate().filter(|(at, _)| LINE.contains(at)).map(|(_, cell)| cell).collect();
            writeln!(outside.stdout, "{}", cells.join("  "))
        }
        Format::Csv => rows::write_csv_row(&mut *outside.stdout, shown),
        Format::Json | Format::Jsonl => {
            rows::write(&mut *outside.stdout, Format::Jsonl, Screen::PIPE, std::slice::from_ref(shown))
        }
    }
    .and_then(|()| outside.stdout.flush())
    .map_err(Failure::Output)
}

/// A row, and the moment it is looked at.
struct Shown {
    row: EventRow,
    now: Timestamp,
}

fn name(person: &Person) -> String {
    let name = person.username.clone().or_else(|| person.id.clone());
    name.unwrap_or_else(|| person.sub.clone())
}

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &[
        "position", "index", "time", "age", "kind", "user_id", "user", "session", "actor", "ip", "summary",
        "data",
    ];

    const WHOLE: &'static [usize] = &[0, 2];

    fn shown(width: Option<u16>) -> Vec<usize> {
        match width {
            Some(..100) => vec![0, 2, 6, 9, 10],
            Some(..160) => vec![0, 2, 3, 6, 9, 10],
            _ => vec![0, 2, 3, 4, 6, 7, 8, 9, 10],
        }
    }

    fn stands_out(&self) -> bool {
        self.row.kind.starts_with("sign_in.") || self.row.kind == "log.loss_accepted"
    }

    fn cells(&self) -> Vec<Option<String>> {
        let row = &self.row;
        let user = row.user.as_ref();
        let actor = match &row.actor.user {
            Some(person) if Some(person) != user => format!("{} {}", row.actor.kind, name(person)),
            _ => row.actor.kind.clone(),
        };
        let mut kind = row.kind.clone();
        kind.push_str(if row.derived { " (derived)" } else { "" });
        if let Some(why) = row.without_effect {
            kind.push_str(&format!(" ({why})"));
        }
        vec![
            row.position.map(|position| position.to_string()),
            row.index.map(|index| index.to_string()),
            Some(row.time.to_string()),
            Some(rows::age(self.now, row.time)),
            Some(kind),
            user.and_then(|person| person.id.clone()),
            user.map(name),
            row.session.clone(),
            Some(actor),
            row.ip.map(|ip| ip.to_string()),
            Some(row.summary.clone()),
            (!row.data.is_empty()).then(|| serde_json::Value::Object(row.data.clone()).to_string()),
        ]
    }

    fn json(&self) -> impl Serialize {
        &self.row
    }
}
