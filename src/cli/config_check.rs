//! `doorbook config check`.

use serde::Serialize;

use super::failure::Failure;
use super::flags::AllFlags;
use super::outside::{Outside, block_on};
use super::rows::{Format, Row};
use crate::config::{Config, GuardedHost, InForce, Place, Reach};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Check(Check),
}

/// Read the configuration as `serve` would, and say what is wrong and where
///
/// Prints every setting that is in force and where it was set; secrets are never shown. For each host of a rule it
/// says whether the app cookie reaches it, or whether its visitors get there by a ticket.
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
    let settings = config.report.iter().map(Line::Setting);
    let lines: Vec<Line<'_>> = settings.chain(config.hosts.iter().map(Line::Host)).collect();
    outside.print(args.format, &lines)?;
    for warning in &config.warnings {
        outside.say(format_args!("warning: {warning}"))?;
    }
    crate::serve::check_keys(&config.local)?;
    if args.online {
        (outside.diagnostics)(config.local.log_format, config.local.filter.as_deref().unwrap_or("warn"));
        block_on(async { Ok(crate::serve::check_online(&config).await?) })?;
        outside.say("Discord knows this id and this secret")?;
    }
    let asked = config.local.rules.asked(&config.scopes);
    if asked != config.scopes {
        outside.say(format_args!("for the rules Discord is asked for more: {}", asked.join(" ")))?;
    }
    outside.say(format_args!(
        "the configuration is good; the redirect URL to register is {}",
        config.discord.redirect_url
    ))
}

/// One line of what is in force.
enum Line<'a> {
    Setting(&'a InForce),
    Host(&'a GuardedHost),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    Setting {
        setting: &'static str,
        value: Option<&'a str>,
        from: String,
    },
    Host {
        host: String,
        reached_by: &'static str,
        /// Where it is the cookie, if not everywhere.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cookie_at: Vec<String>,
        from: String,
    },
}

impl Row for Line<'_> {
    const COLUMNS: &'static [&'static str] = &["setting", "value", "from"];

    fn cells(&self) -> Vec<Option<String>> {
        let cells = match self {
            Line::Setting(line) => {
                let value = line.value.as_deref().unwrap_or("(secret)");
                [line.variable.to_owned(), value.to_owned(), origin(line.variable, &line.place)]
            }
            Line::Host(guarded) => {
                [format!("host {}", guarded.host), guarded.reach.to_string(), origin("", &guarded.place)]
            }
        };
        cells.map(Some).into()
    }

    fn json(&self) -> impl Serialize {
        match self {
            Line::Setting(line) => Json::Setting {
                setting: line.variable,
                value: line.value.as_deref(),
                from: origin(line.variable, &line.place),
            },
            Line::Host(guarded) => {
                let (reached_by, cookie_at) = match &guarded.reach {
                    Reach::Cookie => ("cookie", Vec::new()),
                    Reach::Ticket => ("ticket", Vec::new()),
                    Reach::CookieAt(some) => ("both", some.iter().map(ToString::to_string).collect()),
                };
                let host = guarded.host.to_string();
                Json::Host { host, reached_by, cookie_at, from: origin("", &guarded.place) }
            }
        }
    }
}

fn origin(variable: &str, place: &Place) -> String {
    match place {
        Place::Variable(name) if name == variable => "environment".to_owned(),
        Place::Variable(name) => format!("environment: {name}"),
        Place::DotEnv { line, .. } => format!(".env:{line}"),
        Place::File { path, line, .. } => format!("{}:{line}", path.display()),
        other => other.to_string(),
    }
}
