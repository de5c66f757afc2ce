//! `doorbook explain`: the story of one person, or why they may open an address.

use std::net::IpAddr;

use serde::Serialize;

use super::access;
use super::audit::{named, not_begun, view, when, who, with_reading};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::json;
use super::outside::Outside;
use super::rows::{self, Format, Row, visible_lines};
use crate::audit::{Line, Story, When, Who};

/// Say why somebody may open an address, or tell their story: sign-ins, devices, denials and ends
///
/// With a URL: what the rules say about it, or said at that moment, with every session, fact and term that decides,
/// and the position of the record that proves each. Somebody who was never let in is answered for by what they were
/// when they were last refused. It is answered from the log alone. When Discord last confirmed a membership, or an
/// address where a rule asks for one, is not in it, so the answer says where it depends on that. Exit code 0 whatever
/// the answer is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook explain https://wiki.example.org/admin --user nelly\n  doorbook explain https://wiki.example.org/ --user nelly --method POST --at \"2026-11-17 14:03\"\n  doorbook explain --user 80351110224678912 --at 4711"
)]
pub(super) struct Args {
    /// The address, as a browser has it; without one, the story of that person
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Of that person: a Discord id, a username or a display name
    #[arg(long, value_name = "USER")]
    user: String,
    /// Opened by this method; GET, where it is left out
    #[arg(long, value_name = "METHOD", requires = "url")]
    method: Option<String>,
    /// Opened from this address; where it is left out, no rule for certain networks fits
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    ip: Option<IpAddr>,
    /// Only what was known then: 2h, 7d, a date, "2026-11-17 14:03", RFC 3339, or the position of a record
    #[arg(long, value_name = "TIME|POSITION")]
    at: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let at = args.at.as_deref().map_or(Ok(When::Now), |text| when("at", text, outside))?;
    if let Some(url) = args.url {
        let Args { user, method, ip, format, flags, .. } = args;
        return access::run(access::Question { url, user, method, ip, at, format }, flags, outside);
    }
    with_reading(args.flags, outside, async |reading, outside| {
        let reader = &reading.reader;
        // By the names of today: who changed theirs is still found.
        let today = view(reader, When::Now, outside).await?;
        let now = outside.clock.now();
        let Some(end) = reader.position(at).await? else { return Err(not_begun(reader).await) };
        let story = match who(&args.user, &today.people, end, reader).await? {
            Who::User(sub) => reader.story(sub, at, now).await?,
            Who::Stranger(stranger) => {
                let standing = reader.never_let_in(&stranger, now, access::parse).await?;
                Some(reader.story_of_stranger(&stranger, standing).await?)
            }
        };
        let Some(story) = story else { return Err(not_begun(reader).await) };
        if story.story.is_empty() {
            return Err(Failure::No("the log tells nothing about them by then".to_owned()));
        }
        print(&story, args.format, outside)
    })
}

fn print(story: &Story, format: Format, outside: &mut Outside) -> Result<(), Failure> {
    let screen = outside.screen();
    let out = &mut *outside.stdout;
    let written = match format {
        Format::Json => json::pretty(story).and_then(|text| writeln!(out, "{text}")),
        Format::Table => {
            let head = named(&story.person);
            let between = if story.person.sub.is_some() { '\n' } else { ' ' };
            let told = writeln!(out, "{head}{between}{}\n", visible_lines(&story.standing));
            told.and_then(|()| rows::write(out, format, screen, &story.story))
        }
        Format::Jsonl | Format::Csv => rows::write(out, format, screen, &story.story),
    };
    written.map_err(Failure::Output)
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["position", "time", "what", "by", "ip", "user_agent"];

    const WHOLE: &'static [usize] = &[0, 1, 4];

    const WEIGHT: &'static [usize] = &[0, 1, 2, 4, 3, 5];

    fn cells(&self) -> Vec<Option<String>> {
        let mut what = self.what.clone();
        what.push_str(if self.derived { " (derived)" } else { "" });
        vec![
            self.position.map(|position| position.to_string()),
            Some(self.time.clone()),
            Some(what),
            Some(self.by.clone()),
            self.ip.map(|ip| ip.to_string()),
            self.user_agent.clone(),
        ]
    }

    fn json(&self) -> impl Serialize {
        self
    }
}
