//! Who would gain and who would lose access under other rules: both are asked the same questions about the same people.
//!
//! The people are those who signed in, were signed in, or were turned away since some moment, and whoever is not
//! signed in at all. The facts are those last seen. What is unknown grants nothing, so who has access now and
//! would depend on a fact that nobody has asked for may lose it.

mod crowd;
mod questions;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::crowd::Whom;
use self::crowd::{Came, Crowd, Somebody};
use self::questions::Question;
use super::access::{Known, Places, RulesThen, Unanswered, code, flat, reason_name, sentence};
use super::{People, ReadError, Reader, View, When};
use crate::domain::access::{Person as Asked, Reason, Truth, Verdict, check};
use crate::domain::id::{Position, RecordId, Sub};
use crate::domain::rules::{DefaultPolicy, Grants, Rule, Rules, Term};
use crate::domain::state::{State, Verdict as Counts};
use crate::domain::time::Timestamp;

/// So many differences of each sort are told; the others are only counted.
const TOLD: usize = 10_000;

/// What would be different under other rules.
#[derive(Debug)]
pub struct Replay {
    /// Where the rules stand that decide now.
    pub rules_at: Option<Position>,
    /// The settings that are part of these and of the others not.
    pub lacking: Vec<&'static str>,
    /// Of how many people it was asked.
    pub people: usize,
    /// How many questions.
    pub questions: usize,
    /// Whether there would have been more questions.
    pub is_cut: bool,
    /// For how many people it changes something, by what becomes of it.
    pub changed: BTreeMap<AccessChange, usize>,
    /// What it changes for whoever is not signed in.
    pub changed_for_anybody: BTreeSet<AccessChange>,
    /// How many differences were found and are not told.
    pub untold: usize,
    /// The differences, losses first.
    pub shifts: Vec<Shift>,
}

/// What becomes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessChange {
    /// It is gone.
    Loses,
    /// It depends on a fact that is not known, or did so before.
    MayLose,
    /// It is new.
    Gains,
    /// It is new if a fact holds that is not known, or it was there already if that fact held.
    MayGain,
}

/// One person and one question that have another answer.
#[derive(Clone, Debug, Serialize)]
pub struct Shift {
    /// What becomes of it.
    pub change: AccessChange,
    /// Who; `None` for anybody who is not signed in.
    pub user: Option<Whom>,
    /// `open`, `sign_in` or `admin`.
    pub question: &'static str,
    /// As a rule names it.
    pub host: Option<String>,
    /// The path.
    pub path: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// From where, where rules of the place tell networks apart.
    pub ip: Option<std::net::IpAddr>,
    /// The address that was asked about.
    pub url: Option<String>,
    /// The answer of the rules that decide now.
    pub before: &'static str,
    /// The answer of the others.
    pub after: &'static str,
    /// Both in a sentence.
    pub why: String,
    /// Where the newest fact stands on which either answer depends; without one, where they came in or were turned
    /// away.
    pub position: Option<u64>,
    #[serde(skip)]
    depends: Vec<RecordId>,
    #[serde(skip)]
    place: Came,
}

impl AccessChange {
    /// Returns whether somebody has access now and may not have it then.
    pub fn is_loss(self) -> bool {
        matches!(self, AccessChange::Loses | AccessChange::MayLose)
    }

    /// Returns how people call it.
    pub fn word(self) -> &'static str {
        match self {
            AccessChange::Loses => "loses",
            AccessChange::MayLose => "may lose",
            AccessChange::Gains => "gains",
            AccessChange::MayGain => "may gain",
        }
    }

    fn of(before: Truth, after: Truth) -> Option<AccessChange> {
        match (before, after) {
            (Truth::Yes, Truth::No) => Some(AccessChange::Loses),
            (Truth::Yes, Truth::Unknown) | (Truth::Unknown, Truth::No) => Some(AccessChange::MayLose),
            (Truth::No, Truth::Yes) => Some(AccessChange::Gains),
            (Truth::Unknown, Truth::Yes) | (Truth::No, Truth::Unknown) => Some(AccessChange::MayGain),
            (Truth::Yes, Truth::Yes) | (Truth::No, Truth::No) | (Truth::Unknown, Truth::Unknown) => None,
        }
    }
}

impl Replay {
    /// Returns whether anybody loses access, or may lose it.
    pub fn has_losses(&self) -> bool {
        self.changed.keys().chain(&self.changed_for_anybody).any(|change| change.is_loss())
    }
}

impl Reader {
    /// Compares the rules that decide now with others, for everybody who came since then.
    pub async fn replay(
        &self,
        new: &Rules,
        since: Timestamp,
        now: Timestamp,
        parse: impl Fn(&str) -> Result<Rules, String>,
    ) -> Result<Result<Replay, Unanswered>, ReadError> {
        let Some(head) = self.head().await? else { return Ok(Err(Unanswered::NotBegun)) };
        let nothing = || View { state: State::default(), people: People::default(), now: since };
        let mut view = self.view(When::At(since), now).await?.unwrap_or_else(nothing);
        let mut came = Crowd::at(&view, since);
        let from = view.state.position().map_or(Position(0), Position::next);
        if from <= head {
            self.each(from, head, |position, record| {
                let counts = view.state.apply(position, record) == Counts::Applied;
                view.people.hear(record);
                came.hear(self, position, record, view.state.eff(), counts);
            })
            .await?;
        }
        view.now = now;
        let RulesThen { rules, position } = match self.rules_of(&view, head, parse).await? {
            Ok(then) => then,
            Err(unanswered) => return Ok(Err(unanswered)),
        };
        let everybody = came.everybody(self, &view);
        let (questions, is_cut) = questions::of(&rules, new);
        let comparison = Comparison { old: &rules, new };
        let mut replay = comparison.of(&everybody, &questions);
        (replay.rules_at, replay.is_cut) = (position, is_cut);
        replay.lacking = lacking(&rules, new);
        self.locate(&mut replay.shifts, head).await?;
        Ok(Ok(replay))
    }

    /// Finds where the facts stand on which the answers depend.
    async fn locate(&self, shifts: &mut [Shift], up_to: Position) -> Result<(), ReadError> {
        let users: BTreeSet<Sub> = shifts.iter().filter_map(|shift| shift.place.sub).collect();
        let records = shifts.iter().flat_map(|shift| shift.depends.iter().copied());
        let sessions = shifts.iter().filter_map(|shift| shift.place.session);
        let mut places = Places::wanted(records, sessions);
        if !users.is_empty() {
            places = self.find_places(places, users, up_to).await?;
        }
        for shift in shifts {
            let fact = shift.depends.iter().filter_map(|record| places.of(*record)).max();
            let came = || shift.place.at.or_else(|| places.opened(shift.place.session?));
            shift.position = fact.or_else(came).map(|position| position.0);
        }
        Ok(())
    }
}

/// Returns the settings that the old rules are made of and the new ones are not.
fn lacking(old: &Rules, new: &Rules) -> Vec<&'static str> {
    let is_deny = |rules: &Rules| rules.default_policy == DefaultPolicy::Deny;
    let gone = [
        ("DOORBOOK_ALLOW", old.allow.is_some() && new.allow.is_none()),
        ("DOORBOOK_ADMINS", !old.admins.is_empty() && new.admins.is_empty()),
        ("DOORBOOK_DEFAULT_POLICY", !is_deny(old) && is_deny(new)),
    ];
    gone.into_iter().filter_map(|(variable, is_gone)| is_gone.then_some(variable)).collect()
}

/// What rules say to a question.
enum Said<'r> {
    /// About a request.
    Request(Verdict<'r>),
    /// About somebody who wants to sign in, or to open the pages of an administrator.
    List(Truth),
}

impl Said<'_> {
    fn truth(&self) -> Truth {
        match self {
            Said::Request(Verdict::Unknown(_)) => Truth::Unknown,
            Said::Request(verdict) => Truth::from(verdict.is_granted()),
            Said::List(truth) => *truth,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Said::Request(verdict) => code(verdict),
            Said::List(Truth::Yes) => "allowed",
            Said::List(Truth::No) => "not_allowed",
            Said::List(Truth::Unknown) => "membership_unknown",
        }
    }
}

struct Comparison<'a> {
    old: &'a Rules,
    new: &'a Rules,
}

impl Comparison<'_> {
    fn of(&self, everybody: &[Somebody], questions: &[Question]) -> Replay {
        let (mut told, mut changed) = (BTreeMap::<AccessChange, Vec<Shift>>::new(), BTreeMap::new());
        let (mut untold, mut changed_for_anybody) = (0, BTreeSet::new());
        for somebody in everybody {
            let mut of_them = BTreeSet::new();
            for question in questions {
                let Some(shift) = self.shift(somebody, question) else { continue };
                of_them.insert(shift.change);
                let told = told.entry(shift.change).or_default();
                if told.len() < TOLD { told.push(shift) } else { untold += 1 }
            }
            match somebody.whom {
                None => changed_for_anybody = of_them,
                Some(_) => of_them.into_iter().for_each(|change| *changed.entry(change).or_default() += 1),
            }
        }
        Replay {
            rules_at: None,
            lacking: Vec::new(),
            people: everybody.len() - 1,
            questions: questions.len(),
            is_cut: false,
            changed,
            changed_for_anybody,
            untold,
            shifts: told.into_values().flatten().collect(),
        }
    }

    fn shift(&self, somebody: &Somebody, question: &Question) -> Option<Shift> {
        let person = somebody.known.as_ref().and_then(Known::person);
        let before = said(self.old, question, person.as_ref())?;
        let after = said(self.new, question, person.as_ref())?;
        let change = AccessChange::of(before.truth(), after.truth())?;
        let then = words(self.old, question, person.as_ref(), &before);
        let now = words(self.new, question, person.as_ref(), &after);
        let mut depends = Vec::new();
        for (rules, said) in [(self.old, &before), (self.new, &after)] {
            let terms = flat(rules, terms(rules, question, said));
            let facts = terms.into_iter().filter_map(|term| somebody.known.as_ref()?.decides(term));
            depends.extend(facts.map(|seen| seen.record));
        }
        let place = match question {
            Question::Open(place) => Some(place),
            Question::SignIn | Question::Admin => None,
        };
        Some(Shift {
            change,
            user: somebody.whom.clone(),
            question: match question {
                Question::SignIn => "sign_in",
                Question::Admin => "admin",
                Question::Open(_) => "open",
            },
            host: place.map(|place| place.pattern.to_string()),
            path: place.map(|place| place.path.normal().to_owned()),
            method: place.map(|place| place.method.clone()),
            ip: place.and_then(|place| place.address),
            url: place.map(|place| format!("https://{}{}", place.host, place.path.normal())),
            before: before.code(),
            after: after.code(),
            why: format!("before: {then}; after: {now}"),
            position: None,
            depends,
            place: somebody.came,
        })
    }
}

/// Asks; `None` where the question is not for whoever is not signed in.
fn said<'r>(rules: &'r Rules, question: &Question, person: Option<&Asked<'_>>) -> Option<Said<'r>> {
    Some(match question {
        Question::SignIn => Said::List(rules.allows(person?)),
        Question::Admin => Said::List(rules.holds(&Term::Admin, person?)),
        Question::Open(place) => Said::Request(check(rules, &place.wanted(), person)),
    })
}

fn words(rules: &Rules, question: &Question, person: Option<&Asked<'_>>, said: &Said<'_>) -> String {
    let list = match (question, said) {
        (Question::Open(place), Said::Request(verdict)) => {
            return sentence(rules, &place.wanted(), person, verdict);
        }
        (Question::Admin, _) => "DOORBOOK_ADMINS".to_owned(),
        _ => reason_name(rules, Reason::Allow),
    };
    match said.truth() {
        Truth::Yes => format!("{list} names them"),
        Truth::No => format!("{list} does not name them"),
        Truth::Unknown => format!("{list} depends on what is not known"),
    }
}

/// Returns the terms of which the answer was made.
fn terms<'r>(rules: &'r Rules, question: &Question, said: &Said<'r>) -> Vec<&'r Term> {
    let reason = match (question, said) {
        (Question::Admin, _) => return rules.admins.iter().collect(),
        (_, Said::List(_)) => Reason::Allow,
        (
            _,
            Said::Request(Verdict::Allowed(reason) | Verdict::Unknown(reason) | Verdict::NotAllowed(reason)),
        ) => *reason,
        (_, Said::Request(_)) => return Vec::new(),
    };
    let denied = match reason {
        Reason::Rule(Rule { grant: Grants::To { deny, .. }, .. }) => deny.as_slice(),
        _ => &[],
    };
    reason.terms(rules).iter().chain(denied).collect()
}

#[cfg(test)]
mod tests;
