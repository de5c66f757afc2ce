//! `doorbook audit show`: one record, whole.

use std::io::Write as _;

use super::with_reading;
use crate::audit::WholeRecord;
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::json;
use crate::cli::outside::Outside;
use crate::cli::rows::{visible, visible_lines};
use crate::domain::id::Position;

/// The kind whose text has many lines.
const RULES: &str = "rules.changed";

/// Print one record, everything in it, what led to it and what followed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit show 4711 --json\n  doorbook audit show 4711 --proof > 4711.tlog-proof"
)]
pub(in crate::cli) struct Args {
    /// Where it stands, as `audit log` says
    #[arg(value_name = "POSITION")]
    position: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Print the proof that it stands in the log instead: a `.tlog-proof` as C2SP has it
    #[arg(long, conflicts_with = "json")]
    proof: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    with_reading(args.flags, outside, async |reading, outside| {
        let position = Position(args.position);
        let head = reading.reader.head().await?;
        if head.is_none_or(|head| position > head) {
            let end = head.map_or_else(|| "is empty".to_owned(), |head| format!("ends at position {head}"));
            return Err(Failure::No(format!("there is no record at position {position}: the log {end}")));
        }
        if args.proof {
            let proof = reading.reader.prove(position).await?;
            let nobody =
                "nobody has signed for that record yet: that comes within an hour, and at every stop";
            let proof = proof.ok_or_else(|| Failure::No(nobody.to_owned()))?;
            let mut text = proof.to_string();
            if outside.stdout_is_terminal {
                text = visible_lines(&text);
            }
            return write!(outside.stdout, "{text}").map_err(Failure::Output);
        }
        let whole = reading.reader.whole(position).await?;
        if args.json {
            let written = json::pretty(&whole).and_then(|text| writeln!(outside.stdout, "{text}"));
            return written.map_err(Failure::Output);
        }
        write!(outside.stdout, "{}", in_words(&whole)).map_err(Failure::Output)
    })
}

fn in_words(whole: &WholeRecord) -> String {
    let mut lines = vec![
        ("position", Some(whole.position.to_string())),
        ("time", Some(whole.time.clone())),
        ("written at", (whole.at != whole.time).then(|| whole.at.clone())),
        ("effect", (whole.verdict != "applied").then(|| whole.verdict.to_owned())),
        ("user", whole.user.as_ref().map(person)),
        ("by", Some(by(whole))),
        (
            "from",
            whole.ip.as_ref().map(|ip| format!("{ip} ({})", whole.learned.as_deref().unwrap_or("unknown"))),
        ),
        ("with", whole.user_agent.clone()),
        ("route", whole.route.clone()),
        ("request", whole.request.clone()),
        ("led to by", whole.cause.map(|cause| cause.to_string())),
        ("writer", Some(whole.writer.clone())),
        ("record id", Some(whole.id.clone())),
        ("leaf", Some(format!("{} ({} bytes)", whole.leaf, whole.bytes))),
    ];
    for (index, event) in whole.events.iter().enumerate() {
        lines.push(("", None));
        lines.push(("event", Some(format!("{index} {}", event.kind))));
        for (name, value) in &event.data {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if event.kind == RULES && name == "text" {
                // Line by line, so that it can be compared with the file that it came from.
                lines.push(("  ", Some(format!("{name} ="))));
                lines.extend(value.lines().map(|line| ("  ", Some(format!("  {line}")))));
                continue;
            }
            lines.push(("  ", Some(format!("{name} = {value}"))));
        }
    }
    for sealed in &whole.boxes {
        let opened = if sealed.opened { "opened" } else { "these keys do not open it" };
        lines.push(("box", Some(format!("of {}: {opened} ({} bytes)", sealed.owner, sealed.bytes))));
    }
    for related in &whole.followed_by {
        lines.push(("followed by", Some(format!("{} {}", related.position, related.kinds.join(", ")))));
    }
    let lines = lines.into_iter().filter(|(name, value)| value.is_some() || name.is_empty());
    lines
        .map(|(name, value)| {
            format!("{name:<12}{}\n", visible(&value.unwrap_or_default())).trim_end().to_owned() + "\n"
        })
        .collect()
}

fn person(person: &crate::audit::Person) -> String {
    let name = person.name.as_deref().unwrap_or("unknown");
    let id = person.id.as_deref().unwrap_or("erased, or no keys");
    format!("{name} ({id}), pseudonym {}", person.sub.as_deref().unwrap_or("none"))
}

fn by(whole: &WholeRecord) -> String {
    let mut by = whole.actor.kind.clone();
    if let Some(user) = &whole.actor.user {
        by = format!("{by} {}", user.by_name());
    }
    if let Some(via) = &whole.actor.via {
        by = format!("{by}, in session {via}");
    }
    by
}
