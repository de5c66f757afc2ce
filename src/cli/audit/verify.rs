//! `doorbook audit verify`: whether anybody changed the log, and what nobody can say.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::with_reading;
use crate::audit::{
    Certificate, MAX_CERTIFICATE, Proven, Signed, UNSIGNED_LIMIT, Verdict, VerifyError, counted,
};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::json;
use crate::cli::outside::Outside;
use crate::cli::progress::Progress;
use crate::cli::rows::visible;
use crate::config::duration;
use crate::control::in_one_line;
use crate::domain::id::Position;
use crate::domain::time::Timestamp;
use crate::event_log::note::VerifierKey;

/// Check that no record was changed, removed or moved
///
/// Exit code 0: the log is what was signed. 1: it is not, and the first bad position is named. 3: it could not be
/// read. Whoever owns the machine can cut the end off and sign again; only a checkpoint that you keep elsewhere,
/// from `audit checkpoint`, shows that.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit verify\n  doorbook audit verify --checkpoint monday.txt --checkpoint friday.txt"
)]
pub(in crate::cli) struct Args {
    /// A checkpoint that was kept elsewhere; may be given more than once
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The newest of those must not be older: 7d, 48h
    #[arg(long, value_name = "AGE", requires = "checkpoint", value_parser = duration)]
    require_anchor: Option<Duration>,
    /// A certificate of erasure instead of the log: it is checked with nothing but itself and, where you have it, --key
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoint")]
    certificate: Option<PathBuf>,
    /// The key that the certificate must be of, from `audit checkpoint --key`; without it nobody knows whose word it is
    #[arg(long, value_name = "KEY", requires = "certificate")]
    key: Option<VerifierKey>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

/// No checkpoint is longer.
const LONGEST: u64 = 4_096;

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    if let Some(file) = &args.certificate {
        return certificate(file, args.key.as_ref(), outside);
    }
    let kept =
        args.checkpoint.iter().map(|file| read(file, LONGEST, outside)).collect::<Result<Vec<_>, _>>()?;
    let looked = with_reading(args.flags, outside, async |reading, outside| {
        let records = reading.reader.head().await?.map_or(0, |head| head.0 + 1);
        let progress = Progress::new(outside, "verifying", records);
        let outcome = reading.reader.verify(&kept, |done| progress.done(done)).await;
        drop(progress);
        match outcome {
            Ok(verdict) => {
                let text =
                    if args.json { in_json(&verdict).map_err(Failure::Output)? } else { in_words(&verdict) };
                write!(outside.stdout, "{text}").map_err(Failure::Output)?;
                args.require_anchor.map_or(Ok(()), |age| anchored(&verdict, age, outside.clock.now()))
            }
            Err(VerifyError::Tampered(tampered)) => {
                let (first, last) = (tampered.position(), tampered.last());
                tampered_with(&Found { why: in_one_line(&tampered), first, last }, args.json, outside)
            }
            Err(VerifyError::Read(error)) => Err(Failure::Read(error)),
        }
    });
    match looked {
        // Found before anything was read: the last record is not the one that was acknowledged.
        Err(Failure::Serve(error)) if error.changed_at().is_some() => tampered_with(
            &Found { why: in_one_line(&error), first: error.changed_at(), last: None },
            args.json,
            outside,
        ),
        looked => looked,
    }
}

/// What is wrong with the log, and where.
struct Found {
    why: String,
    first: Option<Position>,
    last: Option<Position>,
}

/// Says so: to programs as a result too, and to people where nobody overlooks it.
fn tampered_with(found: &Found, json: bool, outside: &mut Outside) -> Result<(), Failure> {
    let Found { why, first, last } = found;
    if json {
        let (position, to) = (first.map(|first| first.0), last.or(*first).map(|last| last.0));
        let json = JsonTampered { verdict: "tampered", why, position, to };
        json::pretty(&json).and_then(|text| writeln!(outside.stdout, "{text}")).map_err(Failure::Output)?;
    }
    let place = match (first, last) {
        (Some(first), Some(last)) if first < last => {
            format!("; the first bad record stands at one of the positions {first} to {last}")
        }
        (Some(first), _) => format!("; the first bad position is {first}"),
        (None, _) => String::new(),
    };
    Err(Failure::No(format!("TAMPERED: {why}{place}")))
}

#[derive(Serialize)]
struct JsonTampered<'a> {
    verdict: &'static str,
    why: &'a str,
    /// The first bad record stands there or, where only roots can be compared, not later than at `to`.
    position: Option<u64>,
    to: Option<u64>,
}

/// Says what a certificate proves, to somebody who may have nothing else.
fn certificate(file: &Path, key: Option<&VerifierKey>, outside: &mut Outside) -> Result<(), Failure> {
    let text = read(file, MAX_CERTIFICATE, outside)?;
    let proven = Certificate::read(&text).and_then(|certificate| certificate.verify(key));
    let proven = proven.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Failure::No(format!("NOT PROVEN: {error}{}", cause.unwrap_or_default()))
    })?;
    write!(outside.stdout, "{}", proven_in_words(&proven, key.is_some())).map_err(Failure::Output)
}

/// Says no more than is known: whose key it is, nobody can tell from the certificate alone.
fn proven_in_words(proven: &Proven, key_is_known: bool) -> String {
    let Proven { origin, position, size, says, key } = proven;
    let about = format!(
        "  record       position {position} of {}\n  signed       for {size} records\n",
        visible(origin)
    );
    let key = visible(&key.to_string());
    if key_is_known {
        return format!("proven: {}\n{about}  key          {key}, as given\n", visible(says));
    }
    format!(
        "proven, if this is the key of the log: {key}\n  says         {}\n{about}  not proven   whose key that is: ask whoever runs the log for it, by another way than the certificate came\n               (`doorbook audit checkpoint --key` prints it), and give it with --key\n",
        visible(says)
    )
}

fn read(file: &Path, longest: u64, outside: &Outside) -> Result<String, Failure> {
    use std::io::Read as _;

    let path = outside.path(file);
    let opened = std::fs::File::open(&path);
    let mut text = String::new();
    opened
        .and_then(|opened| opened.take(longest + 1).read_to_string(&mut text))
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok(text)
}

/// Says no where no checkpoint that was kept elsewhere is young enough.
fn anchored(verdict: &Verdict, age: Duration, now: Timestamp) -> Result<(), Failure> {
    let newest = verdict.kept.iter().filter_map(|kept| kept.at).max();
    match newest {
        Some(at) if now.since(at) <= age => Ok(()),
        Some(at) => Err(Failure::No(format!(
            "the newest checkpoint that was kept elsewhere is of {at}, which is too long ago: keep a new one"
        ))),
        None => Err(Failure::No("no checkpoint that was kept elsewhere says when it is from".to_owned())),
    }
}

fn in_words(verdict: &Verdict) -> String {
    let mut text = String::new();
    let Some(root) = verdict.root else { return "the log is empty\n".to_owned() };
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!(
        "intact: {} records of {}",
        verdict.records,
        visible(verdict.origin.as_deref().unwrap_or("an unknown log"))
    ));
    line(format!("  root         {root}"));
    line(match verdict.newest {
        Some(newest) => format!(
            "  signed       {}, the newest for {} at position {}",
            counted(verdict.checkpoints, "checkpoint"),
            counted(newest.size, "record"),
            newest.position.map_or(0, |position| position.0)
        ),
        None => "  signed       never: no checkpoint stands in it".to_owned(),
    });
    if verdict.states > 0 {
        line(format!("  states       {} as the records give them", counted(verdict.states, "stored state")));
    }
    for kept in &verdict.kept {
        line(format!("  kept         the checkpoint for {} records fits", kept.size));
    }
    for position in &verdict.keys {
        line(format!("  key          another one signs since position {position}"));
    }
    for owned_up in &verdict.breaks {
        let what = if owned_up.restored { "put back from a copy" } else { "gone on with after a loss" };
        line(format!("  break        {what} at position {}, as the operator recorded", owned_up.position));
    }
    if let Some((position, why)) = &verdict.not_understood {
        line(format!("  not read     from position {position} on, {why}"));
    }
    for unproven in not_proven(verdict) {
        line(format!("  not proven   {unproven}"));
    }
    text
}

/// What no look at the log alone can show.
fn not_proven(verdict: &Verdict) -> Vec<String> {
    let mut all = Vec::new();
    let kept = verdict.kept.iter().map(|kept| kept.size).max();
    match kept {
        None => all.push(
            "that nothing was cut off its end and signed again: give a checkpoint kept elsewhere with --checkpoint".into(),
        ),
        Some(kept) if kept < verdict.records => all.push(format!(
            "that nothing was cut off or changed behind the first {kept} records, the last that a kept checkpoint has"
        )),
        Some(_) => {}
    }
    if verdict.unsigned > 0 {
        all.push(format!(
            "{} at its end: nobody has signed for that yet (at most {UNSIGNED_LIMIT} may be so)",
            counted(verdict.unsigned, "record")
        ));
    }
    all.push("what was never written: a log shows what is in it".into());
    all
}

#[derive(Serialize)]
struct Json<'a> {
    verdict: &'static str,
    log: Option<String>,
    origin: Option<&'a str>,
    records: u64,
    root: Option<String>,
    checkpoints: u64,
    states: u64,
    newest: Option<JsonSigned>,
    unsigned: u64,
    kept: Vec<u64>,
    breaks: Vec<u64>,
    keys: Vec<u64>,
    not_understood: Option<u64>,
    not_proven: Vec<String>,
}

#[derive(Serialize)]
struct JsonSigned {
    position: Option<u64>,
    size: u64,
    at: Option<String>,
}

fn in_json(verdict: &Verdict) -> io::Result<String> {
    let signed = |signed: Signed| JsonSigned {
        position: signed.position.map(|position| position.0),
        size: signed.size,
        at: signed.at.map(|at| at.to_string()),
    };
    let json = Json {
        verdict: "intact",
        log: verdict.log.map(|log| log.to_string()),
        origin: verdict.origin.as_deref(),
        records: verdict.records,
        root: verdict.root.map(|root| root.to_string()),
        checkpoints: verdict.checkpoints,
        states: verdict.states,
        newest: verdict.newest.map(signed),
        unsigned: verdict.unsigned,
        kept: verdict.kept.iter().map(|kept| kept.size).collect(),
        breaks: verdict.breaks.iter().map(|owned_up| owned_up.position.0).collect(),
        keys: verdict.keys.iter().map(|position| position.0).collect(),
        not_understood: verdict.not_understood.as_ref().map(|(position, _)| position.0),
        not_proven: not_proven(verdict),
    };
    Ok(json::pretty(&json)? + "\n")
}
