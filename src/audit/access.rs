//! Why somebody may open an address, or might not at some moment: every line with the record that proves it.
//!
//! Answered from the log alone: the facts as last seen, and the rules as they stood. How fresh a membership was is
//! in no log, because what Discord confirms without news is not written down; so an answer that depends on it says
//! on what.

mod facts;
mod verdict;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use self::verdict::{ALLOW, roles, standing, why};
use super::{Person, ReadError, Reader, View, When};
use crate::domain::access::{Choice, Reason, Verdict, Wanted, check, choose};
use crate::domain::host::Host;
use crate::domain::id::{Position, Sub};
use crate::domain::path::RequestPath;
use crate::domain::rules::{Grants, Rule, Rules, Term};
use crate::domain::state::Session;
use crate::domain::time::Timestamp;

pub(super) use self::facts::{Known, Places, Seen, flat};
pub(super) use self::verdict::{code, reason_name, sentence, truth};

/// What somebody wants to open.
#[derive(Clone, Debug)]
pub struct Request {
    /// As it was typed.
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
    /// As it was typed.
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
    /// Discord had confirmed the memberships within so many seconds.
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
        sub: Sub,
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
        let known = Known::of(&view.state, sub, self.opener());
        let live: Vec<&Session> =
            view.state.sessions_of(sub).filter(|session| session.is_live(view.now)).collect();
        let places = Places::wanted(known.records(), live.iter().map(|session| session.id));
        let places = self.find_places(places, BTreeSet::from([sub]), up_to).await?;
        let person = view.people.person(sub, self.opener());
        let case =
            Case { view: &view, up_to, then: &then, known: &known, live: &live, places: &places, request };
        Ok(Ok(case.access(sub, person)))
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

/// Everything that an answer is made of.
struct Case<'a> {
    view: &'a View,
    up_to: Position,
    then: &'a RulesThen,
    known: &'a Known,
    live: &'a [&'a Session],
    places: &'a Places,
    request: &'a Request,
}

impl Case<'_> {
    fn access(&self, sub: Sub, person: Person) -> Access {
        let (rules, wanted) = (&self.then.rules, self.request.wanted());
        let signed_in = self.known.person().filter(|_| !self.live.is_empty());
        let found = check(rules, &wanted, signed_in.as_ref());
        let Answer { verdict, because } = self.answer(&found, signed_in.is_some().then_some(self.known));
        let if_signed_in = match found {
            Verdict::NotSignedIn if self.known.person().is_some() => {
                let person = self.known.person();
                Some(self.answer(&check(rules, &wanted, person.as_ref()), Some(self.known)))
            }
            _ => None,
        };
        Access {
            person,
            at: self.view.now.to_string(),
            up_to: self.up_to.0,
            request: RequestRow {
                url: self.request.url.clone(),
                host: self.request.host.to_string(),
                path: self.request.path.normal().to_owned(),
                ambiguous: self.request.path.is_ambiguous(),
                method: self.request.method.clone(),
                ip: self.request.address,
            },
            verdict,
            because,
            provided: self.provided(&found),
            if_signed_in,
            rule: self.decider(&found).map(|rule| RuleRow {
                number: verdict::number(rules, rule),
                host: rule.host.to_string(),
                path: rule.path.to_string(),
            }),
            sessions: self.sessions(),
            lines: self.lines(sub, &found),
        }
    }

    fn answer(&self, verdict: &Verdict<'_>, known: Option<&Known>) -> Answer {
        let person = known.and_then(Known::person);
        let because = sentence(&self.then.rules, &self.request.wanted(), person.as_ref(), verdict);
        Answer { verdict: code(verdict), because }
    }

    /// What was recorded lately counts for sure; the rest only if Discord has confirmed it since.
    fn provided(&self, found: &Verdict<'_>) -> Option<Provided> {
        let rules = &self.then.rules;
        let counts = rules.membership_max_age + rules.membership_grace;
        let sure = self.known.since(self.view.now.minus(counts));
        let person = sure.person().filter(|_| !self.live.is_empty())?;
        let otherwise = check(rules, &self.request.wanted(), Some(&person));
        (code(&otherwise) != code(found)).then(|| Provided {
            confirmed_within_secs: counts.as_secs(),
            otherwise: self.answer(&otherwise, Some(&sure)),
        })
    }

    /// Returns the rule that decided, or the one that chose the place.
    fn decider(&self, found: &Verdict<'_>) -> Option<&Rule> {
        let rules = &self.then.rules;
        let number = match (found, choose(rules, &self.request.wanted())) {
            (Verdict::Public(rule), _)
            | (
                Verdict::Allowed(Reason::Rule(rule))
                | Verdict::Unknown(Reason::Rule(rule))
                | Verdict::NotAllowed(Reason::Rule(rule)),
                _,
            ) => verdict::number(rules, rule),
            (_, Choice::Rule(rule) | Choice::NotFitting(rule)) => verdict::number(rules, rule),
            _ => return None,
        };
        rules.rules.get(number.checked_sub(1)?)
    }

    fn sessions(&self) -> Vec<SessionRow> {
        let row = |session: &&Session| SessionRow {
            session: session.id.to_string(),
            opened_at: session.opened_at.to_string(),
            expires_at: session.deadline().to_string(),
            position: self.places.opened(session.id).map(|position| position.0),
        };
        self.live.iter().map(row).collect()
    }

    fn lines(&self, sub: Sub, found: &Verdict<'_>) -> Vec<Ground> {
        let mut lines = Vec::new();
        self.who(sub, &mut lines);
        let rules = &self.then.rules;
        let many = rules.rules.len();
        lines.push(Ground {
            position: self.then.position.map(|position| position.0),
            ..ground("rules", format!("{many} {}", if many == 1 { "rule" } else { "rules" }))
        });
        match (choose(rules, &self.request.wanted()), self.decider(found)) {
            (_, Some(rule)) => {
                lines.push(ground(&format!("rule {}", verdict::number(rules, rule)), in_words(rule)));
                self.asked(rule, &mut lines);
            }
            (Choice::DefaultPolicy, None) => {
                lines.push(ground("default policy", "whoever is signed in".to_owned()));
                self.allow(&mut lines);
            }
            (_, None) => {}
        }
        lines
    }

    /// Who it is and what is known of them.
    fn who(&self, sub: Sub, lines: &mut Vec<Ground>) {
        for session in self.live {
            lines.push(Ground {
                position: self.places.opened(session.id).map(|position| position.0),
                time: Some(session.opened_at.to_string()),
                ..ground("session", format!("{}, live until {}", session.id, session.deadline()))
            });
        }
        if self.live.is_empty() {
            let why = match self.view.state.is_erased(sub) {
                true => "none: they were erased",
                false => "none that counted then",
            };
            lines.push(ground("session", why.to_owned()));
        }
        if let Some((profile, seen)) = &self.known.profile {
            let address = match (&profile.email, profile.email_verified) {
                (_, None) => "Discord was not asked for an address",
                (None, Some(_)) => "without an address",
                (Some(_), Some(true)) => "with a verified address",
                (Some(_), Some(false)) => "with an address that is not verified",
            };
            lines.push(
                self.from(
                    seen,
                    ground("profile", format!("{} ({}), {address}", profile.username, profile.id)),
                ),
            );
        }
        for (membership, seen) in self.known.memberships() {
            let roles = roles(&self.then.rules, membership);
            let what = format!("guild {}: {}{roles}", membership.guild, standing(membership));
            lines.push(self.from(seen, ground("membership", what)));
        }
    }

    /// The terms that a rule asks, and before it the list of those who may sign in.
    fn asked(&self, rule: &Rule, lines: &mut Vec<Ground>) {
        let Grants::To { allow, deny } = &rule.grant else { return };
        self.allow(lines);
        let number = verdict::number(&self.then.rules, rule);
        for (word, terms) in [("deny", deny), ("allow", allow)] {
            self.terms(&format!("rule {number} {word}"), terms, lines);
        }
    }

    fn allow(&self, lines: &mut Vec<Ground>) {
        match &self.then.rules.allow {
            Some(terms) => self.terms(ALLOW, terms, lines),
            None => lines.push(ground(ALLOW, "anyone with a Discord account".to_owned())),
        }
    }

    /// Each term, and below it those to which it leads.
    fn terms(&self, about: &str, terms: &[Term], lines: &mut Vec<Ground>) {
        let rules = &self.then.rules;
        for term in terms {
            self.term(about, term, lines);
            match term {
                Term::Group(name) => {
                    let of_group = flat(rules, [term]);
                    of_group.into_iter().for_each(|term| self.term(&format!("group {name}"), term, lines));
                }
                Term::Admin => {
                    let of_admins = flat(rules, [term]);
                    of_admins.into_iter().for_each(|term| self.term("administrators", term, lines));
                }
                _ => {}
            }
        }
    }

    fn term(&self, about: &str, term: &Term, lines: &mut Vec<Ground>) {
        let rules = &self.then.rules;
        let holds = self.known.person().map(|person| truth(rules.holds(term, &person)));
        let line = ground(about, format!("{term}: {}", why(rules, term, self.known)));
        let line = Ground { holds: Some(holds.unwrap_or("unknown")), ..line };
        lines.push(match self.known.decides(term) {
            Some(seen) => self.from(seen, line),
            None => line,
        });
    }

    fn from(&self, seen: &Seen, line: Ground) -> Ground {
        let position = self.places.of(seen.record).map(|position| position.0);
        Ground { position, time: Some(seen.at.to_string()), ..line }
    }
}

fn ground(about: &str, what: String) -> Ground {
    Ground { about: about.to_owned(), holds: None, what, position: None, time: None }
}

/// Writes a rule in one line, as far as it says whom it is for.
fn in_words(rule: &Rule) -> String {
    let mut words = format!("{}{}", rule.host, rule.path);
    if let Some(methods) = &rule.methods {
        words.push_str(&format!(", only {}", methods.join(", ")));
    }
    if let Some(networks) = &rule.networks {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        words.push_str(&format!(", only from {}", networks.join(", ")));
    }
    match &rule.grant {
        Grants::Public => words.push_str(": everybody"),
        Grants::To { .. } if rule.allow_preflight => words.push_str("; a preflight passes"),
        Grants::To { .. } => {}
    }
    words
}

#[cfg(test)]
mod tests;
