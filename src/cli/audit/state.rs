//! `doorbook audit state`: who is signed in, now or at any moment that the log has seen.

use serde::Serialize;

use super::{view, when, with_reading};
use crate::audit::{SignedIn, When};
use crate::cli::failure::Failure;
use crate::cli::flags::BriefFlags;
use crate::cli::outside::Outside;
use crate::cli::rows::{Format, Row};

/// Print who is signed in at some moment
///
/// Last seen is exact to an eighth of the idle time, because that is how often a use is recorded.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  doorbook audit state --at \"2026-11-17 14:03\"\n  doorbook audit state --at 4711 --format json"
)]
pub(in crate::cli) struct Args {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Then: 2h, 7d, a date, "2026-11-17 14:03", RFC 3339, or the position of a record
    #[arg(long, value_name = "TIME|POSITION")]
    at: Option<String>,
    #[command(flatten)]
    flags: BriefFlags,
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let when = args.at.as_deref().map_or(Ok(When::Now), |text| when("at", text, outside))?;
    with_reading(args.flags, outside, async |reading, outside| {
        let view = view(&reading.reader, when, outside).await?;
        let found = view.signed_in(reading.reader.opener());
        if let (When::At(_), Some(position)) = (when, view.state.position()) {
            outside.say(format_args!("after the record at position {position}"))?;
        }
        outside.print(args.format, &found)
    })
}

impl Row for SignedIn {
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "user_id",
        "username",
        "name",
        "opened_at",
        "last_seen_at",
        "expires_at",
        "ip",
        "user_agent",
        "grant",
        "scopes",
        "memberships",
    ];

    const WHOLE: &'static [usize] = &[0, 4, 5, 6, 7];

    const WEIGHT: &'static [usize] = &[2, 4, 5, 7, 0, 8, 6, 3, 1];

    fn cells(&self) -> Vec<Option<String>> {
        vec![
            Some(self.session.clone()),
            self.user.id.clone(),
            self.user.username.clone(),
            self.user.name.clone(),
            Some(self.opened_at.clone()),
            Some(self.last_seen_at.clone()),
            Some(self.expires_at.clone()),
            self.ip.map(|ip| ip.to_string()),
            self.user_agent.clone(),
            self.grant.as_ref().map(|grant| grant.id.clone()),
            self.grant.as_ref().map(|grant| grant.scopes.join(" ")),
            memberships(self),
        ]
    }

    fn json(&self) -> impl Serialize {
        self
    }
}

/// Writes guilds and roles as a rule names them: `guild:1 role:1/2`.
fn memberships(row: &SignedIn) -> Option<String> {
    let member = row.memberships.iter().filter(|seen| seen.member && !seen.pending);
    let terms: Vec<String> = member
        .flat_map(|seen| {
            let guild = &seen.guild;
            let roles = seen.roles.iter().map(move |role| format!("role:{guild}/{role}"));
            std::iter::once(format!("guild:{guild}")).chain(roles)
        })
        .collect();
    (!terms.is_empty()).then(|| terms.join(" "))
}
