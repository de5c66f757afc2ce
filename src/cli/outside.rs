//! Everything a command touches outside itself: passed in, so that tests can be the terminal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::rows::{self, Format, Row, Screen};
use super::{Failure, when};
use crate::clock::{Clock, SystemClock};
use crate::config::{LogFormat, Sources};
use crate::domain::time::Timestamp;
use crate::event_log::Probe;
use crate::serve::World;

/// Asks a question, and returns the line that was typed.
pub type AskHidden = Box<dyn FnMut(&str) -> io::Result<String>>;

/// The world as a command sees it.
pub struct Outside {
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The configuration file of the system.
    pub system_file: PathBuf,
    /// Standard input.
    pub stdin: Box<dyn BufRead>,
    /// Standard output: results.
    pub stdout: Box<dyn Write>,
    /// Standard error: everything else.
    pub stderr: Box<dyn Write>,
    /// Whether a person types.
    pub stdin_is_terminal: bool,
    /// Whether a person reads the results.
    pub stdout_is_terminal: bool,
    /// Whether a person reads the rest.
    pub stderr_is_terminal: bool,
    /// How wide the terminal is, where there is one.
    pub width: Option<u16>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How a copy of the log is looked through after an unclean stop.
    pub probe: Probe,
    /// Asks a person for a line, without showing what is typed.
    pub ask_hidden: AskHidden,
    /// In which zone times without an offset are meant.
    pub zone: TimeZone,
    /// Sets diagnostics up.
    pub diagnostics: fn(Option<LogFormat>, &str),
}

impl Outside {
    /// Returns the world of this process.
    pub fn of_process() -> io::Result<Outside> {
        let Sources { env, cwd, system_file, .. } = Sources::of_process(BTreeMap::new())?;
        let stdout_is_terminal = io::stdout().is_terminal();
        Ok(Outside {
            env,
            cwd,
            system_file,
            stdin: Box::new(BufReader::new(io::stdin())),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            stdin_is_terminal: io::stdin().is_terminal(),
            stdout_is_terminal,
            stderr_is_terminal: io::stderr().is_terminal(),
            width: if stdout_is_terminal { comfy_table::Table::new().width() } else { None },
            clock: Arc::new(SystemClock::new()),
            probe: World::real().probe,
            ask_hidden: Box::new(|question| rpassword::prompt_password(question)),
            zone: TimeZone::system(),
            diagnostics: crate::telemetry::init,
        })
    }

    pub(super) fn sources(&self, flags: BTreeMap<&'static str, String>) -> Sources {
        Sources { flags, env: self.env.clone(), cwd: self.cwd.clone(), system_file: self.system_file.clone() }
    }

    /// Returns what results are printed on.
    pub(super) fn screen(&self) -> Screen {
        let plain = self.env.get(std::ffi::OsStr::new("NO_COLOR")).is_some_and(|value| !value.is_empty());
        Screen { width: self.width, colour: self.stdout_is_terminal && !plain }
    }

    /// Prints rows as a result.
    pub(super) fn print<R: Row>(&mut self, format: Format, rows: &[R]) -> Result<(), Failure> {
        let screen = self.screen();
        // Standard output by itself writes each line at once.
        let mut out = BufWriter::new(&mut *self.stdout);
        rows::write(&mut out, format, screen, rows).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Returns the world that a log is opened in.
    pub(super) fn world(&self) -> World {
        World { clock: Arc::clone(&self.clock), probe: self.probe.clone(), ..World::real() }
    }

    /// Resolves a path against the working directory.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }

    /// Says something that is not a result.
    pub(super) fn say(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.stderr, "{}", rows::visible_lines(&text.to_string())).map_err(Failure::Output)
    }

    /// Reads a moment that somebody typed, and echoes it in UTC where something had to be supposed.
    pub(super) fn moment(&mut self, word: &str, text: &str) -> Result<Timestamp, Failure> {
        let moment = when::parse(text, self.clock.now(), &self.zone);
        let moment = moment.map_err(|error| Failure::Usage(error.to_string()))?;
        if !moment.exact {
            self.say(format_args!("{word} {}", moment.at))?;
        }
        Ok(moment.at)
    }

    /// Asks before something changes; without a terminal there is nobody to ask, and only `yes` counts.
    pub(super) fn confirm(&mut self, question: &str, yes: bool) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        if !self.stdin_is_terminal {
            return Err(Failure::Usage(
                "this changes something: without a terminal it needs --yes".to_owned(),
            ));
        }
        write!(self.stderr, "{} [y/N] ", rows::visible_lines(question))
            .and_then(|()| self.stderr.flush())
            .map_err(Failure::Output)?;
        let mut answer = String::new();
        self.stdin.read_line(&mut answer).map_err(Failure::Input)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// How long to wait for what still reads or writes when the work is done.
const LAST_WAIT: Duration = Duration::from_secs(20);

/// Runs async work to its end.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    let done = runtime.block_on(work);
    // A disk that does not answer must not keep the process from ending.
    runtime.shutdown_timeout(LAST_WAIT);
    done
}
