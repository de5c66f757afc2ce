//! One person, one request and one moment: the answer, and every line of what decided it.

use super::facts::{Known, Places, Seen, flat};
use super::verdict::{ALLOW, code, roles, sentence, standing, truth, why};
use super::{Access, Answer, Ground, Provided, Request, RequestRow, RuleRow, RulesThen, SessionRow};
use crate::audit::{Person, View};
use crate::domain::access::{Choice, Reason, Verdict, check, choose, is_ambiguous};
use crate::domain::id::Position;
use crate::domain::rules::{Grants, Rule, Term};
use crate::domain::state::Session;

/// Everything that an answer is made of.
pub(super) struct Case<'a> {
    pub(super) view: &'a View,
    pub(super) up_to: Position,
    pub(super) then: &'a RulesThen,
    pub(super) known: &'a Known,
    pub(super) live: &'a [&'a Session],
    /// Why no session counted, where none did.
    pub(super) why_not: &'static str,
    pub(super) places: &'a Places,
    pub(super) request: &'a Request,
}

impl Case<'_> {
    /// Returns the answer, and everything that decided it.
    pub(super) fn access(&self, person: Person) -> Access {
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
                ambiguous: is_ambiguous(rules, &wanted),
                method: self.request.method.clone(),
                ip: self.request.address,
            },
            verdict,
            because,
            provided: self.provided(&found),
            if_signed_in,
            rule: self.decider(&found).map(|rule| RuleRow {
                number: rules.number_of(rule),
                host: rule.host.to_string(),
                path: rule.path.to_string(),
            }),
            sessions: self.sessions(),
            lines: self.lines(&found),
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
            ) => rules.number_of(rule),
            (_, Choice::Rule(rule) | Choice::NotFitting(rule)) => rules.number_of(rule),
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

    fn lines(&self, found: &Verdict<'_>) -> Vec<Ground> {
        let mut lines = Vec::new();
        self.who(&mut lines);
        let rules = &self.then.rules;
        let many = rules.rules.len();
        lines.push(Ground {
            position: self.then.position.map(|position| position.0),
            ..ground("rules", format!("{many} {}", if many == 1 { "rule" } else { "rules" }))
        });
        match (choose(rules, &self.request.wanted()), self.decider(found)) {
            (_, Some(rule)) => {
                lines.push(ground(&format!("rule {}", rules.number_of(rule)), in_words(rule)));
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
    fn who(&self, lines: &mut Vec<Ground>) {
        for session in self.live {
            lines.push(Ground {
                position: self.places.opened(session.id).map(|position| position.0),
                time: Some(session.opened_at.to_string()),
                ..ground("session", format!("{}, live until {}", session.id, session.deadline()))
            });
        }
        if self.live.is_empty() {
            lines.push(ground("session", self.why_not.to_owned()));
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
        let number = self.then.rules.number_of(rule);
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
