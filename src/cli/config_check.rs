//! `doorbook config check`.

use serde::Serialize;

use super::failure::Failure;
use super::flags::AllFlags;
use super::outside::{Outside, block_on};
use super::rows::{Format, Row};
use crate::config::{Config, InForce, Place};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Check(Check),
}

/// Read the configuration as `serve` would, and say what is wrong and where
///
/// Prints every setting that is in force and where it was set; secrets are never shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook config check --online")]
pub(super) struct Check {
    /// Prove the application's id and secret to Discord with one call
    #[arg(long)]
    online: bool,
    /// How to print the settings
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    flags: AllFlags,
}

pub(super) fn run(command: Command, outside: &mut Outside) -> Result<(), Failure> {
    let Command::Check(args) = command;
    let config = Config::read(&outside.sources(args.flags.0))?;
    outside.print(args.format, &config.report)?;
    for warning in &config.warnings {
        outside.say(format_args!("warning: {warning}"))?;
    }
    crate::serve::check_keys(&config.local)?;
    if args.online {
        (outside.diagnostics)(config.local.log_format, config.local.filter.as_deref().unwrap_or("warn"));
        block_on(async { Ok(crate::serve::check_online(&config).await?) })?;
        outside.say("Discord knows this id and this secret")?;
    }
    outside.say(format_args!(
        "the configuration is good; the redirect URL to register is {}",
        config.discord.redirect_url
    ))
}

#[derive(Serialize)]
struct Json<'a> {
    setting: &'static str,
    value: Option<&'a str>,
    from: String,
}

impl Row for InForce {
    const COLUMNS: &'static [&'static str] = &["setting", "value", "from"];

    fn cells(&self) -> Vec<Option<String>> {
        let value = self.value.as_deref().unwrap_or("(secret)");
        vec![Some(self.variable.to_owned()), Some(value.to_owned()), Some(origin(self))]
    }

    fn json(&self) -> impl Serialize {
        Json { setting: self.variable, value: self.value.as_deref(), from: origin(self) }
    }
}

fn origin(line: &InForce) -> String {
    match &line.place {
        Place::Variable(name) if name == line.variable => "environment".to_owned(),
        Place::Variable(name) => format!("environment: {name}"),
        Place::DotEnv { line, .. } => format!(".env:{line}"),
        Place::File { path, line, .. } => format!("{}:{line}", path.display()),
        other => other.to_string(),
    }
}
