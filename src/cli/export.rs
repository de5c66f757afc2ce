//! `doorbook export`: the whole log as text, to be read by others or carried elsewhere.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use super::failure::Failure;
use super::flags::BriefFlags;
use super::new_file::NewFile;
use super::outside::{Outside, block_on};
use super::progress::Progress;
use super::sessions::open_config;
use crate::audit::{Copied, ExportError, Opener, Survey};
use crate::config::Local;
use crate::domain::event::Question;
use crate::domain::id::{Position, Sub};
use crate::serve::Taking;

/// Write the whole log as text, one JSON object per line
///
/// With a running server or without one. Every record is there twice: as its bytes, and in the clear. What is
/// sealed stays sealed, so the text holds no name, address or token; keys/ is not in it. That a copy was taken is
/// written down in the log.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook export --output log.jsonl\n  doorbook export | zstd > log.jsonl.zst"
)]
pub(super) struct Args {
    /// Where to write it; standard output, where it is left out
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace that file if it is there
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let output = args.output.as_ref().map(|path| outside.path(path));
    if let Some(path) = output.as_ref().filter(|path| !args.force && path.exists()) {
        return Err(Failure::Usage(format!("{} is there already; --force replaces it", path.display())));
    }
    let copied = with_taking(args.flags, outside, async |taking, outside| {
        let (survey, head) = survey(taking, outside).await?;
        match output {
            Some(path) => {
                let mut file = NewFile::create(&path)?;
                note(taking, Question::Export, None, head, outside).await?;
                let copied = write(taking, &survey, head, &mut file, outside).await;
                let copied = copied.map_err(|error| of_export(error, |error| file.failed(error)))?;
                file.finish()?;
                Ok(copied)
            }
            None => {
                note(taking, Question::Export, None, head, outside).await?;
                let progress = Progress::new(outside, "exporting", head.next().0);
                let mut out = BufWriter::new(&mut *outside.stdout);
                let reader = &taking.reader;
                let copied = reader.export(&survey, head, &mut out, |done| progress.done(done)).await;
                copied.map_err(|error| of_export(error, Failure::Output))
            }
        }
    })?;
    outside.say(format_args!("exported {} records of {}", copied.records, copied.origin))?;
    outside.say(format_args!("root {}", copied.root))
}

/// Opens the log, lets `work` take its copy, and closes it whatever came of that.
pub(super) fn with_taking<T>(
    flags: BriefFlags,
    outside: &mut Outside,
    work: impl AsyncFnOnce(&Taking, &mut Outside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let local = open_config(flags, outside)?;
    with_taking_of(local, Opener::default(), outside, work)
}

/// The same for a copy in which something is opened.
pub(super) fn with_taking_of<T>(
    local: Local,
    opener: Opener,
    outside: &mut Outside,
    work: impl AsyncFnOnce(&Taking, &mut Outside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let world = outside.world();
    block_on(async {
        let taking = Taking::open(&local, opener, world).await?;
        let done = work(&taking, outside).await;
        taking.close().await?;
        done
    })
}

/// Looks through the log up to where it ends now.
pub(super) async fn survey(taking: &Taking, outside: &Outside) -> Result<(Survey, Position), Failure> {
    let head = taking.head().await?.ok_or_else(|| Failure::No("the log is empty".to_owned()))?;
    let progress = Progress::new(outside, "looking through", head.next().0);
    let survey = taking.reader.survey(head, |done| progress.done(done)).await?;
    Ok((survey, head))
}

/// Writes down that a copy is taken, or says why that is not possible.
pub(super) async fn note(
    taking: &Taking,
    question: Question,
    user: Option<Sub>,
    to: Position,
    outside: &mut Outside,
) -> Result<(), Failure> {
    if let Some(why) = &taking.not_noted {
        let mut text = why.to_string();
        let mut source = std::error::Error::source(why);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        outside.say(format_args!("doorbook: that a copy is taken is not written down, because {text}"))?;
    }
    Ok(taking.note(question, user, to).await?)
}

/// Writes the records up to `to`.
pub(super) async fn write(
    taking: &Taking,
    survey: &Survey,
    to: Position,
    out: &mut dyn Write,
    outside: &Outside,
) -> Result<Copied, ExportError> {
    let progress = Progress::new(outside, "writing", to.next().0);
    taking.reader.export(survey, to, out, |done| progress.done(done)).await
}

pub(super) fn of_export(error: ExportError, write: impl FnOnce(std::io::Error) -> Failure) -> Failure {
    match error {
        ExportError::Read(error) => error.into(),
        ExportError::Write(error) => write(error),
    }
}
