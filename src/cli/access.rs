//! `doorbook explain URL`: why somebody may open an address, or might not at some moment.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use super::audit::{named, not_begun, view, who, with_reading};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::json;
use super::outside::Outside;
use super::rows::{self, Format, Row, visible_lines};
use crate::audit::{Access, Ground, Request, Unanswered, When, Who};
use crate::control::Trouble;
use crate::domain::forwarded::Forwarded;
use crate::domain::rules::Rules;

/// What is asked.
pub(super) struct Question {
    pub(super) url: String,
    pub(super) user: String,
    pub(super) method: Option<String>,
    pub(super) ip: Option<IpAddr>,
    pub(super) at: When,
    pub(super) format: Format,
}

pub(super) fn run(question: Question, flags: BriefFlags, outside: &mut Outside) -> Result<(), Failure> {
    let request = request(&question)?;
    with_reading(flags, outside, async |reading, outside| {
        let reader = &reading.reader;
        // By the names of today: who changed theirs is still found.
        let today = view(reader, When::Now, outside).await?;
        let now = outside.clock.now();
        let Some(end) = reader.position(question.at).await? else { return Err(not_begun(reader).await) };
        let who = who(&question.user, &today.people, end, reader).await?;
        if let Who::User(sub) = who
            && today.state.user(sub).is_none()
            && !today.state.is_erased(sub)
        {
            return Err(Failure::No("the log tells nothing about them".to_owned()));
        }
        let access = reader.access(&who, &request, question.at, now, parse).await?;
        print(&access.map_err(unanswered)?, question.format, outside)
    })
}

/// Reads rules as the log has them.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    crate::config::rules(text, None).map_err(|wrong| wrong.to_string())
}

/// Returns how a question fails that the log does not answer.
pub(super) fn unanswered(why: Unanswered) -> Failure {
    match why {
        Unanswered::NotBegun | Unanswered::NoRules => Failure::No(why.to_string()),
        Unanswered::Sealed | Unanswered::Unreadable { .. } => {
            Failure::Trouble(Trouble::Failed(why.to_string()))
        }
    }
}

fn request(question: &Question) -> Result<Request, Failure> {
    let Question { url, method, ip, .. } = question;
    let method = method.as_deref().unwrap_or("GET").to_uppercase();
    if url.contains('#') {
        return Err(Failure::Usage(format!(
            "{url}: no browser sends a # or what is behind it; leave that out"
        )));
    }
    if !url.contains("://") {
        return Err(Failure::Usage(format!(
            "{url} has no https://; write it as a browser has it: https://{url}"
        )));
    }
    // As browsers do, where nothing stands behind the host.
    let bare = url.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#', '\\']));
    let whole = if bare { format!("{url}/") } else { url.clone() };
    let read = Forwarded::from_url(whole.as_bytes(), method.as_bytes()).map_err(|wrong| {
        Failure::Usage(format!("{url} is no address that a proxy could ask about: {wrong}"))
    })?;
    if read.is_finish() {
        return Err(Failure::No("there doorbook takes tickets itself, and no rule is asked".to_owned()));
    }
    Ok(Request {
        url: read.url(),
        host: read.host().clone(),
        path: read.path().clone(),
        method,
        address: ip.map(|ip| ip.to_canonical()),
    })
}

fn print(access: &Access, format: Format, outside: &mut Outside) -> Result<(), Failure> {
    let screen = outside.screen();
    let out = &mut *outside.stdout;
    let written = match format {
        Format::Json => json::pretty(access).and_then(|text| writeln!(out, "{text}")),
        Format::Table => writeln!(out, "{}\n", visible_lines(&head(access)))
            .and_then(|()| rows::write(out, format, screen, &access.lines)),
        Format::Jsonl | Format::Csv => {
            let verdict = Ground {
                about: "verdict".to_owned(),
                holds: None,
                what: format!("{}: {}", access.verdict, access.because),
                position: None,
                time: None,
            };
            let lines: Vec<Ground> = access.lines.iter().cloned().chain([verdict]).collect();
            rows::write(out, format, screen, &lines)
        }
    };
    written.map_err(Failure::Output)
}

/// Who, what, when, and the answer.
fn head(access: &Access) -> String {
    let mut head = named(&access.person);
    if access.person.sub.is_none() {
        head.push_str(", never let in");
    }
    let request = &access.request;
    let from = request.ip.map(|ip| format!(" from {ip}")).unwrap_or_default();
    let _ = write!(head, "\n{} {}{from}", request.method, request.url);
    let _ = write!(head, "\nat {}, after the record at position {}", access.at, access.up_to);
    let _ = write!(head, "\n\n{}: {}", access.verdict, access.because);
    if let Some(provided) = &access.provided {
        let within = span(provided.confirmed_within_secs);
        let _ = write!(head, "\n  if Discord had confirmed what it had said within the last {within};");
        let _ = write!(head, "\n  otherwise {}: {}", provided.otherwise.verdict, provided.otherwise.because);
    }
    if let Some(answer) = &access.if_signed_in {
        let _ = write!(head, "\n  signed in, it would be {}: {}", answer.verdict, answer.because);
    }
    head
}

/// Returns a duration as people say it: `1 h 15 min`.
fn span(secs: u64) -> String {
    let parts = [(secs / 3_600, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(many, _)| *many > 0).map(|(many, unit)| format!("{many} {unit}")).collect();
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

impl Row for Ground {
    const COLUMNS: &'static [&'static str] = &["about", "holds", "what", "position", "time"];

    const WHOLE: &'static [usize] = &[0, 1, 3, 4];

    const WEIGHT: &'static [usize] = &[0, 2, 1, 3, 4];

    fn cells(&self) -> Vec<Option<String>> {
        vec![
            Some(self.about.clone()),
            self.holds.map(str::to_owned),
            Some(self.what.clone()),
            self.position.map(|position| position.to_string()),
            self.time.clone(),
        ]
    }

    fn json(&self) -> impl Serialize {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<Request, Failure> {
        let (url, user) = (url.to_owned(), "nelly".to_owned());
        request(&Question { url, user, method: None, ip: None, at: When::Now, format: Format::Table })
    }

    #[test]
    fn an_address_is_read_as_a_proxy_would_send_it() {
        let read = asked("https://Wiki.Example.org:8443").unwrap();
        assert_eq!((read.host.as_str(), read.path.normal()), ("wiki.example.org", "/"));
        assert_eq!((read.url.as_str(), read.method.as_str()), ("https://wiki.example.org:8443/", "GET"));
        assert!(asked("https://wiki.example.org//x").unwrap().path.is_ambiguous());
        for wrong in
            ["wiki.example.org/x", "https://", "https://a.example/#x", "https://nelly@a.example/", "ftp://a/"]
        {
            assert!(matches!(asked(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
        let Err(Failure::Usage(said)) = asked("wiki.example.org/admin") else { panic!("it has no scheme") };
        assert!(said.ends_with("write it as a browser has it: https://wiki.example.org/admin"), "{said}");
        assert!(matches!(asked("https://a.example/.doorbook/finish?t=1"), Err(Failure::No(_))));
    }

    #[test]
    fn spans_are_said_in_the_units_that_they_have() {
        assert_eq!(
            [0, 59, 900, 4_500, 86_401].map(span),
            ["0 s", "59 s", "15 min", "1 h 15 min", "24 h 1 s"]
        );
    }
}
