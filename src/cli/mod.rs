//! The command line: one file per family of commands, and what they share.
//!
//! Results go to standard output and everything else to standard error. The exit code is 0 where all is
//! well, 1 where the answer is "no", 2 for wrong use or configuration, 3 where the environment failed.

mod access;
mod advice;
mod audit;
mod backup;
mod config_check;
mod demo;
mod explain;
mod export;
mod failure;
mod flags;
mod health;
mod import;
mod json;
mod keys;
mod mock_discord;
mod new_file;
mod outside;
mod progress;
mod proxy;
mod restore;
mod retention;
pub mod rows;
mod rules;
mod serve;
mod sessions;
mod shell;
mod user;
pub mod when;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::failure::Failure;
pub use self::outside::{AskHidden, Outside};

/// A Discord login server whose source of truth is an append-only event log.
#[derive(Debug, Parser)]
#[command(
    name = "doorbook",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    after_help = "Example:\n  doorbook demo    # try it: no Discord account and no configuration needed"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    MockDiscord(mock_discord::Args),
    /// List and end live sessions
    #[command(subcommand, after_help = "Example:\n  doorbook sessions list")]
    Sessions(sessions::Command),
    /// Read the log: who signed in, when, from where, and what became of it
    #[command(subcommand, after_help = "Example:\n  doorbook audit log --since 7d --kind sign_in")]
    Audit(audit::Command),
    Explain(explain::Args),
    /// What is held on one person, and erasing them
    #[command(subcommand, after_help = "Example:\n  doorbook user erase nelly > nelly.certificate.json")]
    User(user::Command),
    Export(export::Args),
    Import(import::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    /// Other keys for those there are, and all of them in escrow
    #[command(subcommand, after_help = "Example:\n  doorbook keys escrow /mnt/usb/doorbook.escrow")]
    Keys(keys::Command),
    /// Let old addresses and user agents fade
    #[command(subcommand, after_help = "Example:\n  doorbook retention apply")]
    Retention(retention::Command),
    /// What other rules would change
    #[command(subcommand, after_help = "Example:\n  doorbook rules replay --rules new.toml --since 30d")]
    Rules(rules::Command),
    /// Look at the configuration
    #[command(subcommand, after_help = "Example:\n  doorbook config check")]
    Config(config_check::Command),
    Proxy(proxy::Args),
    Health(health::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
    /// Open a copy of the database and read all of it; `serve` calls this after an unclean stop
    #[command(hide = true)]
    ProbeLog {
        /// The copy, and the position whose record is asked for
        args: Vec<OsString>,
    },
}

/// Does what the arguments say.
pub fn run(args: impl IntoIterator<Item = OsString>, outside: &mut Outside) -> ExitCode {
    let done = match parse(args, outside) {
        Ok(cli) => dispatch(cli, outside),
        Err(error) => return usage(&error, outside),
    };
    // A reader that has seen enough hangs up; that is no failure.
    let done = done.and_then(|()| outside.stdout.flush().map_err(Failure::Output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                let _ = writeln!(outside.stderr, "doorbook: {failure}");
            }
            ExitCode::from(code)
        }
    }
}

fn parse(args: impl IntoIterator<Item = OsString>, outside: &Outside) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if let Some(width) = outside.width {
        command = command.term_width(width.into());
    }
    let mut matches = command.try_get_matches_from(args)?;
    Cli::from_arg_matches_mut(&mut matches)
}

fn dispatch(cli: Cli, outside: &mut Outside) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => serve::run(args, outside),
        Command::Demo(args) => demo::run(args, outside),
        Command::MockDiscord(args) => mock_discord::run(args, outside),
        Command::Sessions(command) => sessions::run(command, outside),
        Command::Explain(args) => explain::run(args, outside),
        Command::User(command) => user::run(command, outside),
        Command::Audit(command) => audit::run(command, outside),
        Command::Export(args) => export::run(args, outside),
        Command::Import(args) => import::run(args, outside),
        Command::Backup(args) => backup::run(args, outside),
        Command::Restore(args) => restore::run(args, outside),
        Command::Keys(command) => keys::run(command, outside),
        Command::Retention(command) => retention::run(command, outside),
        Command::Rules(command) => rules::run(command, outside),
        Command::Config(command) => config_check::run(command, outside),
        Command::Proxy(args) => proxy::run(args, outside),
        Command::Health(args) => health::run(args, outside),
        Command::Completions(args) => shell::completions(args, Cli::command(), outside),
        Command::Man(args) => shell::man(args, Cli::command(), outside),
        Command::ProbeLog { args } => {
            // Its panics are sled's, and its parent says in a sentence what they mean.
            (outside.diagnostics)(None, "warn");
            match crate::event_log::probe_child(&args) {
                ExitCode::SUCCESS => Ok(()),
                _ => Err(Failure::No("the copy cannot be read".to_owned())),
            }
        }
    }
}

/// Prints what clap has to say: help and version are results, everything else is wrong use.
fn usage(error: &clap::Error, outside: &mut Outside) -> ExitCode {
    let (out, terminal) = if error.use_stderr() {
        (&mut outside.stderr, outside.stderr_is_terminal)
    } else {
        (&mut outside.stdout, outside.stdout_is_terminal)
    };
    let plain =
        !terminal || outside.env.get(std::ffi::OsStr::new("NO_COLOR")).is_some_and(|value| !value.is_empty());
    let text = error.render();
    let written = if plain { write!(out, "{text}") } else { write!(out, "{}", text.ansi()) };
    let code = if error.use_stderr() { 2 } else { 0 };
    match written.and_then(|()| out.flush()) {
        Err(error) if code == 0 => ExitCode::from(Failure::Output(error).exit_code()),
        _ => ExitCode::from(code),
    }
}

/// Compares with a file in `snapshots/`, under exactly that name.
#[cfg(test)]
#[macro_export]
#[doc(hidden)]
macro_rules! snapshot {
    ($name:expr, $text:expr) => {{
        let mut settings = ::insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| ::insta::assert_snapshot!($name, $text));
    }};
}

#[cfg(test)]
mod tests;
