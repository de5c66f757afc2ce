//! What a handler has at hand, and the gate before it that opens when the log has been replayed.

use std::sync::{Arc, OnceLock};

use super::attempt::Attempts;
use super::callback::Landed;
use super::cookie::Cookies;
use super::limit::AddressLimit;
use super::problem::Problem;
use super::request::Request;
use super::rounds::Rounds;
use super::said::Said;
use super::settings::Settings;
use super::tickets::Tickets;
use super::used_states::UsedStates;
use super::{app_session, pages, session};
use crate::app::{App, By, LiveSession};
use crate::clock::Clock;
use crate::crypto::{CookieKey, TagKey};
use crate::discord;
use crate::domain::event::Route;
use crate::domain::record::Actor;
use crate::domain::rules::Rules;
use crate::domain::target::TargetRules;
use crate::entropy::Entropy;
use crate::grants::Grants;

/// What stands before the log has been replayed: it listens, and lets nobody through but the health checks.
pub struct Gate {
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) said: Said,
    /// What strangers can have said, by other addresses or for other hosts, so that it drowns nothing else.
    pub(super) said_of_strangers: Said,
    front: OnceLock<Arc<Front>>,
}

/// What a handler has at hand.
pub struct Front {
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) app: Arc<App>,
    pub(super) grants: Arc<Grants>,
    pub(super) discord: Arc<discord::Client>,
    pub(super) key: CookieKey,
    pub(super) app_key: TagKey,
    pub(super) tickets: Tickets,
    pub(super) rounds: Rounds,
    pub(super) used: Arc<UsedStates<Landed>>,
    pub(super) limit: AddressLimit,
    /// What strangers can have said by signing in, so that it drowns nothing else.
    pub(super) said_of_sign_ins: Said,
}

impl Gate {
    /// Returns a closed gate.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Gate> {
        let (said, said_of_strangers) = (Said::new(clock.clone()), Said::new(clock.clone()));
        Arc::new(Gate {
            settings: Arc::new(settings),
            clock,
            entropy,
            said,
            said_of_strangers,
            front: OnceLock::new(),
        })
    }

    /// Lets everybody through: the log has been replayed. It opens once.
    pub fn open(&self, app: Arc<App>, grants: Arc<Grants>, discord: Arc<discord::Client>, key: CookieKey) {
        self.front.get_or_init(|| {
            Arc::new(Front {
                settings: self.settings.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
                app,
                grants,
                discord,
                tickets: Tickets::new(self.clock.clone(), &key),
                app_key: app_session::key(&key),
                rounds: Rounds::new(self.clock.clone()),
                key,
                used: Arc::new(UsedStates::new(self.clock.clone())),
                limit: AddressLimit::new(self.clock.clone()),
                said_of_sign_ins: Said::new(self.clock.clone()),
            })
        });
    }

    /// Returns what handlers need, once the gate is open.
    pub(super) fn front(&self) -> Option<&Arc<Front>> {
        self.front.get()
    }
}

impl Front {
    /// Returns the names and attributes of our cookies.
    pub(super) fn cookies(&self) -> Cookies {
        self.settings.cookies()
    }

    /// Returns the rules that decide now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.app.rules()
    }

    /// Returns what a login may return to, by the rules as they are now.
    pub(super) fn targets(&self) -> TargetRules {
        TargetRules::new(&self.settings.origin, &self.settings.allowed_origins).guarding(self.rules())
    }

    /// Returns what reads and writes the cookies of login attempts.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts::new(self.cookies(), self.key.clone(), self.targets())
    }

    /// Returns the session of a request, or the problem that there is none.
    pub(super) fn signed_in(&self, request: &Request) -> Result<LiveSession, Problem> {
        session::of_request(self, request).ok_or(Problem::NotSignedIn)
    }

    /// Returns who is signed in, for a page.
    pub(super) fn person(&self, request: &Request) -> Option<pages::Person> {
        let session = session::of_request(self, request)?;
        let known = self.app.profile_of(session.user)?;
        self.grants.profile_used(session.user, &known);
        Some(pages::Person::new(&known.profile, &self.settings))
    }

    /// Returns who asks for a change, and from where.
    pub(super) fn by(&self, request: &Request, route: Route, session: Option<&LiveSession>) -> By {
        By {
            actor: session.map_or(Actor::NOBODY, |session| Actor::user(session.user, Some(session.id))),
            request: Some(request.id),
            cause: None,
            route: Some(route),
            origin: Some(request.client.clone()),
        }
    }

    /// Counts a login start or a callback against its address.
    pub(super) fn count(&self, request: &Request) -> Result<(), Problem> {
        self.limit.count(request.client.ip).map_err(|retry_after| Problem::TooManyRequests { retry_after })
    }
}
