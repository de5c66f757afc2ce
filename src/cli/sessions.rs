//! `doorbook sessions`: who is signed in, and ending it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::audit::with_reading;
use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::{Outside, block_on};
use super::rows::{self, Format, Row};
use crate::audit::{EventRow, Filter};
use crate::config::Local;
use crate::control::{Answers, Client, SessionFilter, SessionRow};
use crate::domain::app_cookie::AppCookie;
use crate::domain::id::{SessionId, SessionKey, SessionToken};
use crate::domain::time::Timestamp;
use crate::serve::World;

/// No reason is longer; it is kept, sealed, in the log.
const REASON_LIMIT: usize = 500;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(List),
    Revoke(Revoke),
}

/// List live sessions, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook sessions list --user nelly --since 7d --format jsonl")]
pub(super) struct List {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    flags: BriefFlags,
}

/// End live sessions, at once and for good
///
/// Says which ones and asks first; without a terminal it needs --yes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  doorbook sessions revoke --ip 203.0.113.0/24 --since 2h --reason \"stolen laptop\""
)]
pub(super) struct Revoke {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How to print the sessions that were ended
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    flags: BriefFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which sessions")]
struct Which {
    /// Of that person: a Discord id, a username or a display name
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The one with that id
    #[arg(long, value_name = "ID", value_parser = session_id)]
    session: Option<SessionId>,
    /// Ever used from that network or address, as far as the log says
    #[arg(long, value_name = "CIDR", value_parser = network)]
    ip: Option<IpNet>,
    /// Opened since then: 2h, 7d, a date, "2026-11-17 14:03" or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Opened by a leaked cookie, read from standard input
    #[arg(long)]
    token_stdin: bool,
}

pub(super) fn session_id(text: &str) -> Result<SessionId, String> {
    text.parse().map_err(|_| "a session's id is 32 hexadecimal digits".to_owned())
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address.to_canonical()));
    address
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "not a network such as 203.0.113.0/24, and not an address".to_owned())
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args, outside),
        Command::Revoke(args) => revoke(args, outside),
    }
}

fn list(args: List, outside: &mut Outside) -> Result<(), Failure> {
    let local = open_config(args.flags.clone(), outside)?;
    let chosen = args.which.chosen(args.flags, outside)?;
    let world = outside.world();
    let found = block_on(async {
        let answers = answers(local, world).await?;
        let found = chosen.find(&*answers).await;
        answers.close().await?;
        found
    })?;
    if found.is_empty() && !chosen.is_everything() {
        return Err(Failure::No("no live session fits".to_owned()));
    }
    outside.print(args.format, &found)
}

fn revoke(args: Revoke, outside: &mut Outside) -> Result<(), Failure> {
    if args.reason.as_ref().is_some_and(|reason| reason.len() > REASON_LIMIT) {
        return Err(Failure::Usage(format!("--reason is longer than {REASON_LIMIT} bytes")));
    }
    // Before anything is read: it would be asked for in vain.
    if !args.yes && !outside.stdin_is_terminal {
        outside.confirm("", false)?;
    }
    let local = open_config(args.flags.clone(), outside)?;
    let chosen = args.which.chosen(args.flags, outside)?;
    if chosen.is_everything() {
        return Err(Failure::Usage(
            "say which sessions: --user, --session, --ip, --since or --token-stdin".to_owned(),
        ));
    }
    let world = outside.world();
    let how = How { yes: args.yes, reason: args.reason, format: args.format };
    block_on(async {
        let answers = answers(local, world).await?;
        let ended = end(&*answers, &chosen, how, outside).await;
        answers.close().await?;
        ended
    })
}

/// How sessions are to be ended.
struct How {
    yes: bool,
    reason: Option<String>,
    format: Format,
}

async fn end(answers: &dyn Answers, chosen: &Chosen, how: How, outside: &mut Outside) -> Result<(), Failure> {
    let found = chosen.find(answers).await?;
    if found.is_empty() {
        return Err(Failure::No("no live session fits".to_owned()));
    }
    let all = count(found.len());
    if !how.yes {
        let screen = outside.screen();
        rows::write(&mut *outside.stderr, Format::Table, screen, &found).map_err(Failure::Output)?;
    }
    if !outside.confirm(&format!("End {all}?"), how.yes)? {
        return Err(Failure::No("nothing was changed".to_owned()));
    }
    let ids = found.iter().map(|row| row.id).collect();
    let ended = answers.revoke(ids, how.reason).await?;
    // Whoever was asked has just read the table.
    let known = !how.yes && outside.stdout_is_terminal && how.format == Format::Table;
    if !known {
        outside.print(how.format, &found)?;
    }
    outside.say(format_args!("{} ended", count(usize::try_from(ended).unwrap_or(usize::MAX))))
}

fn count(sessions: usize) -> String {
    if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") }
}

pub(super) fn open_config(flags: BriefFlags, outside: &Outside) -> Result<Local, Failure> {
    let local = Local::read(&outside.sources(flags.0))?;
    (outside.diagnostics)(local.log_format, local.filter.as_deref().unwrap_or("warn"));
    Ok(local)
}

/// Finds who answers: the running server, or this program itself.
pub(super) async fn answers(local: Local, world: World) -> Result<Box<dyn Answers>, Failure> {
    match Client::connect(&local.data_dir, world.clock.clone()).await? {
        Some(client) => Ok(Box::new(client)),
        None => Ok(crate::serve::open_local(local, world).await?),
    }
}

/// What was chosen, and the sessions that the log has seen in the network that was named.
struct Chosen {
    filter: SessionFilter,
    network: Option<(IpNet, BTreeSet<String>)>,
}

impl Which {
    fn chosen(self, flags: BriefFlags, outside: &mut Outside) -> Result<Chosen, Failure> {
        let since = self.since.as_deref().map(|text| outside.moment("since", text)).transpose()?;
        let mut filter = SessionFilter { user: self.user, session: self.session, since, key: None };
        match self.token_stdin.then(|| read_token(outside)).transpose()? {
            None => {}
            Some(Leaked::Account(key)) => filter.key = Some(key),
            Some(Leaked::App(session)) if filter.session.is_none_or(|wanted| wanted == session) => {
                filter.session = Some(session);
            }
            Some(Leaked::App(_)) => {
                return Err(Failure::Usage(
                    "the cookie is not of the session that --session names".to_owned(),
                ));
            }
        }
        let network = match self.ip {
            Some(network) => Some((network, used_from(network, flags, outside)?)),
            None => None,
        };
        Ok(Chosen { filter, network })
    }
}

impl Chosen {
    fn is_everything(&self) -> bool {
        self.filter.is_everything() && self.network.is_none()
    }

    async fn find(&self, answers: &dyn Answers) -> Result<Vec<SessionRow>, Failure> {
        let mut found = answers.sessions(self.filter.clone()).await?;
        if let Some((network, used)) = &self.network {
            let is_seen_there = |ip: &IpAddr| network.contains(&ip.to_canonical());
            found.retain(|row| {
                row.ip.as_ref().is_some_and(is_seen_there) || used.contains(&row.id.to_string())
            });
        }
        Ok(found)
    }
}

/// Finds every session that was ever used from a network: what is shown of a session is only where it was last.
fn used_from(network: IpNet, flags: BriefFlags, outside: &mut Outside) -> Result<BTreeSet<String>, Failure> {
    with_reading(flags, outside, async |reading, _| {
        let Some(head) = reading.reader.head().await? else { return Ok(BTreeSet::new()) };
        let filter = Filter { network: Some(network), ..Filter::default() };
        let mut used = BTreeSet::new();
        let note = |row: EventRow| used.extend(row.session.into_iter().chain(row.actor.via));
        reading.reader.rows(filter, head, note).await?;
        Ok(used)
    })
}

/// A cookie that somebody found.
enum Leaked {
    /// Of the account.
    Account(SessionKey),
    /// Of guarded apps.
    App(SessionId),
}

/// Reads a cookie from standard input: its value, or `name=value` as browsers' tools copy it.
fn read_token(outside: &mut Outside) -> Result<Leaked, Failure> {
    let mut line = String::new();
    outside.stdin.by_ref().take(4_096).read_line(&mut line).map_err(Failure::Input)?;
    let value = line.trim().trim_end_matches(';');
    let value = value.rsplit_once('=').map_or(value, |(_, value)| value).trim_matches('"');
    // What was read is never repeated: it may be worth something.
    let account = SessionToken::from_cookie(value).map(|token| Leaked::Account(token.key()));
    account
        .or_else(|| AppCookie::names(value).map(Leaked::App))
        .ok_or_else(|| Failure::Usage("what came on standard input is not a session cookie".to_owned()))
}

#[derive(Serialize)]
struct Json<'a> {
    id: String,
    user: Option<JsonUser<'a>>,
    opened_at: String,
    last_seen_at: String,
    expires_at: String,
    ip: Option<std::net::IpAddr>,
    user_agent: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonUser<'a> {
    id: String,
    username: &'a str,
    display_name: &'a str,
}

impl Row for SessionRow {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "user_id",
        "username",
        "display_name",
        "opened_at",
        "last_seen_at",
        "expires_at",
        "ip",
        "user_agent",
    ];

    /// All but the user agent.
    const WHOLE: &'static [usize] = &[0, 1, 2, 3, 4, 5, 6, 7];

    /// Which one, whose, when and from where; then the rest.
    const WEIGHT: &'static [usize] = &[0, 2, 5, 7, 8, 4, 3, 1, 6];

    fn cells(&self) -> Vec<Option<String>> {
        let user = self.user.as_ref();
        vec![
            Some(self.id.to_string()),
            user.map(|user| user.id.to_string()),
            user.map(|user| user.username.clone()),
            user.map(|user| user.display_name.clone()),
            Some(self.opened_at.to_string()),
            Some(self.last_seen_at.to_string()),
            Some(self.expires_at.to_string()),
            self.ip.map(|ip| ip.to_string()),
            self.user_agent.clone(),
        ]
    }

    fn shown(&self) -> Vec<Option<String>> {
        // People read seconds; whoever counts milliseconds is a program.
        let to_the_second = |at: Timestamp| Timestamp(at.0 - at.0.rem_euclid(1_000));
        let (opened_at, last_seen_at) = (to_the_second(self.opened_at), to_the_second(self.last_seen_at));
        SessionRow { opened_at, last_seen_at, expires_at: to_the_second(self.expires_at), ..self.clone() }
            .cells()
    }

    fn json(&self) -> impl Serialize {
        Json {
            id: self.id.to_string(),
            user: self.user.as_ref().map(|user| JsonUser {
                id: user.id.to_string(),
                username: &user.username,
                display_name: &user.display_name,
            }),
            opened_at: self.opened_at.to_string(),
            last_seen_at: self.last_seen_at.to_string(),
            expires_at: self.expires_at.to_string(),
            ip: self.ip,
            user_agent: self.user_agent.as_deref(),
        }
    }
}
