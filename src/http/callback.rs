//! `GET /api/auth/discord/redirect`: the browser comes back from Discord.
//!
//! First the state, then an error, then the code; Discord is asked only when all three are in order.

use std::sync::Arc;

use super::access::{self, Refusal};
use super::problem::Problem;
use super::query::Param;
use super::reply::{self, Answer, Forms, Refused};
use super::request::Request;
use super::session::{self, serialize_session};
use super::used_states::{Claim, Use};
use super::{Front, login, pages, user};
use crate::app::{By, LiveSession};
use crate::domain::event::{FailureCode, Route, Stage};
use crate::domain::id::{Secret, SessionToken};
use crate::domain::login::Accepted;
use crate::domain::target::Target;
use crate::grants::{SignInError, SignInRequest, Standing};

/// The longest state and the longest code, in bytes.
const MAX_LEN: usize = 2_048;

/// What a callback led to; all who came at the same time with the same state share it.
#[derive(Debug)]
pub(super) enum Landed {
    /// Signed in, on stable storage.
    SignedIn {
        /// The secret for the cookie.
        token: SessionToken,
        /// The session.
        session: LiveSession,
        /// Where to go.
        target: Target,
    },
    /// The person said no.
    Cancelled,
    /// A revocation overtook the sign-in: once more, to the same place.
    Again(Target),
    /// Discord knows them, and they may not come in.
    TurnedAway(Box<TurnedAway>),
    /// It failed.
    Failed(Problem, Target),
}

/// Somebody who may not come in.
#[derive(Debug)]
pub(super) struct TurnedAway {
    person: Option<pages::Person>,
    refusal: Refusal,
    target: Target,
}

/// Completes a sign-in.
pub(super) async fn complete(front: Arc<Front>, request: Request) -> Answer {
    front.count(&request)?;
    let by = front.by(&request, Route::Callback, None);
    let Some(state) = request.query.get("state").value(MAX_LEN) else {
        return mismatch(&front, &by).await;
    };
    let Some(accepted) = front.attempts().accept(&request, state, front.clock.now()) else {
        return match front.used.find(state) {
            Some(back) => late(&front, &request, back, &by).await,
            None => mismatch(&front, &by).await,
        };
    };
    let outcome = match front.used.claim(state) {
        Use::Late(back) => return late(&front, &request, back, &by).await,
        Use::Meanwhile(outcome) => outcome,
        Use::First(claim) => {
            let outcome = claim.outcome();
            // On a task of its own: if this browser goes away, the state is used all the same, and
            // whoever waits gets an answer.
            tokio::spawn(conclude(front.clone(), request.clone(), accepted, claim, by));
            outcome
        }
    };
    match outcome.wait().await {
        Some(landed) => answer(&front, &request, state, &landed),
        None => Err(Problem::Internal.into()),
    }
}

/// Acts on an accepted state, once.
async fn conclude(front: Arc<Front>, request: Request, accepted: Accepted, claim: Claim<Landed>, by: By) {
    let Accepted { verifier, target } = accepted;
    let fail = |problem, stage, code| (Landed::Failed(problem, target.clone()), Some((stage, code)));
    let (landed, failure) = match error(&request) {
        Some(FailureCode::AccessDenied) => {
            (Landed::Cancelled, Some((Stage::Callback, FailureCode::AccessDenied)))
        }
        Some(code) => fail(Problem::AuthorizationFailed, Stage::Callback, code),
        None => match request.query.get("code").value(MAX_LEN) {
            None => fail(Problem::CodeRejected, Stage::Callback, FailureCode::CodeRejected),
            Some(code) => {
                let replaces = session::of_request(&front, &request).map(|live| live.id);
                let sign_in = SignInRequest { code: Secret::new(code), verifier, replaces };
                match front.grants.sign_in(sign_in, &by).await {
                    Ok(done) => {
                        let (token, session) = (done.token, done.session);
                        if let Some(host) = front.guarded_host(&target) {
                            front.rounds.completed(replaces, session.id, host);
                        }
                        (Landed::SignedIn { token, session, target: target.clone() }, None)
                    }
                    Err(SignInError::StartAgain) => (Landed::Again(target.clone()), None),
                    Err(SignInError::NotAllowed(standing)) => {
                        (front.turned_away(&standing, target.clone()), None)
                    }
                    // What Discord refused has been recorded where Discord was asked.
                    Err(error) => (Landed::Failed(error.into(), target.clone()), None),
                }
            }
        },
    };
    if let Some((stage, code)) = failure {
        front.app.sign_in_failed(stage, code, &by).await;
    }
    // Only a sign-in leaves its target behind: there are no more of those than people who did it.
    let back = matches!(landed, Landed::SignedIn { .. }).then_some(target);
    claim.conclude(landed, back);
}

impl Front {
    /// Says, once a minute for each reason, that somebody may not come in; nothing in it is about them.
    fn turned_away(&self, standing: &Standing, target: Target) -> Landed {
        let refusal = access::not_admitted(&self.rules(), standing);
        if self.said_of_sign_ins.is_due(&refusal.missing) {
            let (code, missing) = (Problem::SignInNotAllowed.facts().code, &refusal.missing);
            tracing::info!(code, missing, "somebody whom Discord knows may not sign in");
        }
        let person = standing.profile.as_ref().map(|profile| pages::Person::new(profile, &self.settings));
        Landed::TurnedAway(Box::new(TurnedAway { person, refusal, target }))
    }
}

/// Returns the error that Discord sent, by its name in RFC 6749.
fn error(request: &Request) -> Option<FailureCode> {
    let name = match request.query.get("error") {
        Param::Missing => return None,
        Param::Once(name) => name,
        Param::Malformed => "",
    };
    let named =
        FailureCode::ALL.iter().find(|code| (1..32).contains(&code.code()) && code.to_string() == name);
    Some(named.copied().unwrap_or(FailureCode::Other))
}

fn answer(front: &Front, request: &Request, state: &str, landed: &Landed) -> Answer {
    let mut cookies = vec![front.attempts().clear(state)];
    let response = match landed {
        Landed::SignedIn { token, session, target } => {
            cookies.push(front.cookies().set_session(&serialize_session(token)));
            cookies.extend(front.app_cookie(session.id));
            let ask = front.cookies().ask_name();
            if request.cookies(ask).next().is_some() {
                cookies.push(front.cookies().clear(ask));
            }
            if request.wants_json() {
                user::document(front, request, session, false)?
            } else {
                reply::see_other(&front.way_to(target))
            }
        }
        Landed::Again(target) => reply::see_other(&login::address(Some(target))),
        Landed::Cancelled if request.wants_json() => {
            return Err(Refused::from(Problem::SignInCancelled).with_cookies(cookies));
        }
        Landed::Cancelled => reply::see_other("/?signin=cancelled"),
        Landed::TurnedAway(turned_away) if request.is_navigation() => {
            let TurnedAway { person, refusal, target } = &**turned_away;
            let markup = pages::turned_away::page(person.as_ref(), refusal, target);
            reply::page(&front.settings, Problem::SignInNotAllowed.facts().status, markup, Forms::Here)
        }
        Landed::TurnedAway(_) => {
            return Err(Refused::from(Problem::SignInNotAllowed).with_cookies(cookies));
        }
        Landed::Failed(problem, target) => {
            return Err(Refused::from(problem.clone()).back_to(Some(target.clone())).with_cookies(cookies));
        }
    };
    Ok(reply::with_cookies(response, cookies))
}

/// Answers a state that has been used: whoever is signed in goes where the sign-in went.
async fn late(front: &Front, request: &Request, back: Option<Target>, by: &By) -> Answer {
    if session::of_request(front, request).is_some() {
        return Ok(reply::see_other(&front.way_to(&back.unwrap_or_else(Target::root))));
    }
    mismatch(front, by).await
}

async fn mismatch(front: &Front, by: &By) -> Answer {
    front.app.sign_in_failed(Stage::Callback, FailureCode::StateMismatch, by).await;
    Err(Problem::StateMismatch.into())
}
