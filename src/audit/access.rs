//! Why somebody may open an address, or might not at some moment: every line with the record that proves it.
//!
//! Answered from the log alone: the facts as last seen, and the rules as they stood. How fresh a membership or an
//! address was is in no log, because what Discord confirms without news is not written down; so an answer that
//! depends on it says on what.

mod case;
mod facts;
mod verdict;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use self::case::Case;
use super::{Person, ReadError, Reader, View, When, Who};
use crate::domain::access::Wanted;
use crate::domain::host::Host;
use crate::domain::id::Position;
use crate::domain::path::RequestPath;
use crate::domain::rules::Rules;
use crate::domain::state::Session;
use crate::domain::time::Timestamp;

pub(super) use self::facts::{Known, Places, Seen, flat};
pub(super) use self::verdict::{ALLOW, code, lacking, reason_name, sentence};

/// What somebody wants to open.
#[derive(Clone, Debug)]
pub struct Request {
    /// As a browser would have it.
    pub url: String,
    /// On which host.
    pub host: Host,
    /// Which path.
    pub path: RequestPath,
    /// By which method.
    pub method: String,
    /// From where, where that is said.
    pub address: Option<IpAddr>,
}

/// What the rules say about a request, and why.
#[derive(Debug, Serialize)]
pub struct Access {
    /// Who.
    pub person: Person,
    /// At which moment.
    pub at: String,
    /// After which record.
    pub up_to: u64,
    /// What was to be opened.
    pub request: RequestRow,
    /// `public`, `allowed`, `not_signed_in`, `membership_unknown`, `not_allowed` or `no_rule`.
    pub verdict: &'static str,
    /// The same in a sentence.
    pub because: String,
    /// On what that depends, where it depends on what no log has.
    pub provided: Option<Provided>,
    /// What the rules would say if they were signed in, where they were not and it matters.
    pub if_signed_in: Option<Answer>,
    /// The rule that was asked.
    pub rule: Option<RuleRow>,
    /// The sessions that counted; any of them is as good as another.
    pub sessions: Vec<SessionRow>,
    /// Everything that decided, one line each.
    pub lines: Vec<Ground>,
}

/// A request, as an answer shows it.
#[derive(Debug, Serialize)]
pub struct RequestRow {
    /// As a browser would have it.
    pub url: String,
    /// The host that rules are compared with.
    pub host: String,
    /// The path that rules are compared with.
    pub path: String,
    /// Whether an app may read another path in it.
    pub ambiguous: bool,
    /// The method.
    pub method: String,
    /// The address of the client, where it was said.
    pub ip: Option<IpAddr>,
}

/// A verdict, in a word and in a sentence.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// In a word.
    pub verdict: &'static str,
    /// In a sentence.
    pub because: String,
}

/// What no log has and the answer depends on.
#[derive(Debug, Serialize)]
pub struct Provided {
    /// Discord had confirmed the memberships and the address within so many seconds.
    pub confirmed_within_secs: u64,
    /// What the rules say otherwise.
    pub otherwise: Answer,
}

/// A rule, by its place in the file.
#[derive(Debug, Serialize)]
pub struct RuleRow {
    /// From 1.
    pub number: usize,
    /// Its hosts.
    pub host: String,
    /// Its path.
    pub path: String,
}

/// A session that counted.
#[derive(Debug, Serialize)]
pub struct SessionRow {
    /// The public id.
    pub session: String,
    /// When it was opened.
    pub opened_at: String,
    /// When it ends unless it is used.
    pub expires_at: String,
    /// Where the log says so.
    pub position: Option<u64>,
}

/// One line of what decided.
#[derive(Clone, Debug, Serialize)]
pub struct Ground {
    /// For example `membership`, or `rule 2 allow` for a term of it.
    pub about: String,
    /// Of a term, whether it holds: `yes`, `no` or `unknown`.
    pub holds: Option<&'static str>,
    /// In a few words.
    pub what: String,
    /// Where the log says so.
    pub position: Option<u64>,
    /// When it was recorded.
    pub time: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The log had not begun.
    #[error("the log had not begun by then")]
    NotBegun,
    /// Nothing in the log says what the rules were.
    #[error("the log does not say what the rules were by then")]
    NoRules,
    /// The keys that are there do not open the rules.
    #[error("the rules cannot be opened without the keys of the log")]
    Sealed,
    /// The rules make no sense to this version.
    #[error("the rules at position {position} cannot be read: {why}")]
    Unreadable {
        /// Where they stand.
        position: Position,
        /// What is wrong with them.
        why: String,
    },
}

/// The rules that counted at some moment.
pub(super) struct RulesThen {
    pub(super) rules: Rules,
    pub(super) position: Option<Position>,
}

impl Request {
    fn wanted(&self) -> Wanted<'_> {
        let Request { host, path, method, address, .. } = self;
        Wanted { host, path, method, address: *address, is_preflight: false }
    }
}

impl Reader {
    /// Says whether somebody may open that, or might at that moment, and why.
    ///
    /// `parse` reads the rules as the log has them.
    pub async fn access(
        &self,
        who: &Who,
        request: &Request,
        when: When,
        now: Timestamp,
        parse: impl Fn(&str) -> Result<Rules, String>,
    ) -> Result<Result<Access, Unanswered>, ReadError> {
        let Some(view) = self.view(when, now).await? else { return Ok(Err(Unanswered::NotBegun)) };
        let Some(up_to) = view.state.position() else { return Ok(Err(Unanswered::NotBegun)) };
        let then = match self.rules_of(&view, up_to, parse).await? {
            Ok(then) => then,
            Err(unanswered) => return Ok(Err(unanswered)),
        };
        let live: Vec<&Session> = match who {
            Who::User(sub) => {
                view.state.sessions_of(*sub).filter(|session| session.is_live(view.now)).collect()
            }
            Who::Stranger(_) => Vec::new(),
        };
        let (person, known, places) = match who {
            Who::User(sub) => {
                let known = Known::of(&view.state, *sub, self.opener());
                let places = Places::wanted(known.records(), live.iter().map(|session| session.id));
                let places = self.find_places(places, BTreeSet::from([*sub]), up_to).await?;
                (view.people.person(*sub, self.opener()), known, places)
            }
            Who::Stranger(stranger) => {
                let mut places = Places::default();
                places.know(stranger.record, stranger.position);
                (stranger.person(), stranger.known(), places)
            }
        };
        let why_not = match who {
            Who::Stranger(_) => "none: they were never let in",
            Who::User(sub) if view.state.is_erased(*sub) => "none: they were erased",
            Who::User(_) => "none that counted then",
        };
        let case = Case {
            view: &view,
            up_to,
            then: &then,
            known: &known,
            live: &live,
            why_not,
            places: &places,
            request,
        };
        Ok(Ok(case.access(person)))
    }

    /// Returns the rules that counted at the moment of a view.
    pub(super) async fn rules_of(
        &self,
        view: &View,
        up_to: Position,
        parse: impl Fn(&str) -> Result<Rules, String>,
    ) -> Result<Result<RulesThen, Unanswered>, ReadError> {
        let Some(fact) = view.state.rules().and_then(|known| known.fact.as_ref()) else {
            return Ok(Err(Unanswered::NoRules));
        };
        let Some(text) = self.opener().rules(fact) else { return Ok(Err(Unanswered::Sealed)) };
        let position = self.place_of_rules(fact.record, up_to).await?;
        Ok(match parse(&text) {
            Ok(rules) => Ok(RulesThen { rules, position }),
            Err(why) => Err(Unanswered::Unreadable { position: position.unwrap_or(up_to), why }),
        })
    }
}

#[cfg(test)]
mod tests;
