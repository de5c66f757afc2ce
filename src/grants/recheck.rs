//! Asks Discord again for what the rules ask about: in the background when it is due, at once when somebody waits for it.
//!
//! There is one check at a time for each user and guild. All of them together stay far below what Discord bans for:
//! few run at once, a token is not used again after its first refusal, and when Discord has refused many calls of any
//! sort there are none.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::confirmed::About;
use super::profile::NEARLY;
use super::{Freshness, Grants, RefreshError};
use crate::app::By;
use crate::discord::CallError;
use crate::domain::command::Command;
use crate::domain::event::{FailureCode, Membership};
use crate::domain::id::{DiscordId, GrantId, Hash, Sub};
use crate::domain::rules::{EMAIL_SCOPE, MEMBERS_SCOPE};
use crate::domain::state::Grant;

/// How long somebody waits for a check.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks that nobody waits for, at the same time.
const WORKERS: usize = 8;

/// Checks that somebody waits for, at the same time.
pub(super) const HURRIED: usize = 16;

/// Checks that wait; where there are more, the next use of a fact asks again.
const WAITING: usize = 4_096;

/// What asking Discord again gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rechecked {
    /// Discord was asked, as far as it could be: what is known by now decides.
    Done,
    /// The authorization does not cover what has to be asked: only a new sign-in helps.
    ScopeMissing,
    /// The authorization was found dead; the sessions have ended.
    Ended,
}

/// What one check gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// What is recorded is what Discord has said.
    Confirmed,
    /// Discord has not said, or not to the grant of now; it wants to be left alone for so long, where it said that.
    Failed(Option<Duration>),
    /// The authorization does not cover it.
    ScopeMissing,
    /// There is no authorization any more.
    Ended,
}

impl Grants {
    /// Asks Discord for everything that the rules ask about, at most every ten seconds per user, and waits
    /// for five seconds at most.
    pub async fn recheck(self: &Arc<Self>, user: Sub, by: &By) -> Rechecked {
        let asked = self.asked();
        let mut flights = Vec::new();
        for about in asked.about.iter().copied() {
            let may_ask = !self.confirmed.was_just_asked(user, about) && !self.client.is_strained();
            match about {
                About::Guild(guild) if may_ask || self.checks.is_aloft((user, guild)) => {
                    flights.push(self.check(user, guild, by, true));
                }
                About::Address if may_ask || self.fetches.is_aloft(user) => {
                    flights.push(self.fetch(user, by))
                }
                About::Guild(_) | About::Address => {}
            }
        }
        let mut outcomes = Vec::new();
        let landed = async {
            for flight in &mut flights {
                outcomes.extend(flight.wait_for(Option::is_some).await.ok().and_then(|outcome| *outcome));
            }
        };
        tokio::select! {
            biased;
            () = landed => {}
            () = self.clock.sleep(PATIENCE) => {}
        }
        let Some(grant) = self.app.grant_of(user) else { return Rechecked::Ended };
        if outcomes.contains(&Checked::Ended) {
            return Rechecked::Ended;
        }
        let is_covered = |about: &About| match about {
            About::Guild(_) => self.covers(user, &grant),
            About::Address => grant.has_scope(EMAIL_SCOPE),
        };
        if asked.about.iter().all(is_covered) { Rechecked::Done } else { Rechecked::ScopeMissing }
    }

    /// Queues a re-check of somebody who was just refused, unless the facts are younger than ten seconds.
    pub fn recheck_soon(self: &Arc<Self>, user: Sub) {
        for about in self.asked().about.iter().copied() {
            if !self.confirmed.was_just_asked(user, about) && !self.confirmed.is_paused(user, about) {
                self.ask_in_background(user, about);
            }
        }
    }

    /// Queues a question to Discord.
    pub(super) fn ask_in_background(self: &Arc<Self>, user: Sub, about: About) {
        match about {
            About::Guild(guild) => self.check_in_background(user, guild),
            About::Address => self.refresh_profile(user),
        }
    }

    /// Notes what came of a question: where Discord did not say, it is left alone for a while.
    pub(super) fn note(&self, user: Sub, about: About, checked: Checked) {
        let pause = self.asked().ages().pause();
        match checked {
            Checked::Confirmed => {}
            Checked::Failed(told) => {
                self.confirmed.fail(user, about, told.unwrap_or_default().max(pause));
            }
            Checked::ScopeMissing | Checked::Ended => self.confirmed.fail(user, about, pause),
        }
    }

    fn check_in_background(self: &Arc<Self>, user: Sub, guild: DiscordId) {
        if self.client.is_strained() || self.checks.is_aloft((user, guild)) {
            return;
        }
        if self.waiting.push((user, guild)) {
            let grants = self.clone();
            self.spawn(async move { grants.work_off().await });
        }
    }

    /// Makes the checks that wait, one after the other, until there are none.
    async fn work_off(self: Arc<Self>) {
        while let Some((user, guild)) = self.waiting.pop() {
            let asked = self.asked();
            // It may have been asked about while it waited.
            let about = About::Guild(guild);
            let is_due = || !self.confirmed.look(user, &[about], asked.ages()).due.is_empty();
            let is_wanted =
                asked.is_about(about) && (is_due() || !self.confirmed.was_just_asked(user, about));
            let is_kept_off = self.confirmed.is_paused(user, about) || self.client.is_strained();
            if !is_wanted || is_kept_off || self.stopping.is_cancelled() {
                continue;
            }
            // Where the check died there is nothing to do: it counts as asked, and the next use asks again.
            let _ = self.check(user, guild, &By::SYSTEM, false).wait_for(Option::is_some).await;
        }
    }

    /// Begins a check, or joins the one that is under way.
    fn check(
        self: &Arc<Self>,
        user: Sub,
        guild: DiscordId,
        by: &By,
        hurried: bool,
    ) -> watch::Receiver<Option<Checked>> {
        self.checks.begin((user, guild), &self.tasks, || {
            let (grants, by) = (self.clone(), by.clone());
            async move {
                // The queue has bounds of its own.
                let _permit = if hurried { grants.hurried.acquire().await.ok() } else { None };
                if grants.stopping.is_cancelled() {
                    return Checked::Failed(None);
                }
                grants.confirmed.ask(user, About::Guild(guild));
                let ask = || grants.ask_about(user, guild, &by);
                let checked = grants.with_the_grant_of_now(user, ask).await;
                grants.note(user, About::Guild(guild), checked);
                checked
            }
        })
    }

    /// Makes a check, and makes it again where nothing came of it while they signed in: the new grant may get an answer.
    ///
    /// Not where Discord wants to be left alone, and never a third time. What the old grant was told counts.
    pub(super) async fn with_the_grant_of_now<F>(&self, user: Sub, check: impl Fn() -> F) -> Checked
    where
        F: Future<Output = Checked>,
    {
        let grant = || self.app.grant_of(user).map(|grant| grant.id);
        let begun_with = grant();
        let checked = check().await;
        let is_kept_off = || self.client.is_strained() || self.stopping.is_cancelled();
        if checked == Checked::Failed(None) && grant() != begun_with && !is_kept_off() {
            return check().await;
        }
        checked
    }

    /// Asks Discord, with one refresh where that is needed, and records what it says.
    async fn ask_about(self: &Arc<Self>, user: Sub, guild: DiscordId, by: &By) -> Checked {
        let Some(grant) = self.app.grant_of(user) else { return Checked::Ended };
        if !self.covers(user, &grant) {
            return Checked::ScopeMissing;
        }
        if grant.expires_at <= self.clock.now().plus(NEARLY)
            && let Err(error) = self.refresh(user, Some(grant.fingerprints.access), by).await
        {
            return error.into();
        }
        match self.ask_member(user, guild).await {
            Told::Said(said) => self.observe_membership(user, said, by).await,
            Told::Nothing(wait) => Checked::Failed(wait),
            Told::NoScope(grant) => self.scope_refused(user, grant),
            Told::Refused(token) => self.after_a_refusal(user, guild, token, by).await,
        }
    }

    /// Finds out what a refusal means: Discord says the same of a dead token and of one that lacks the scope.
    ///
    /// Asking who the token is of tells the two apart. It also does the one refresh that a refusal is worth, and ends
    /// the sessions where the authorization is dead.
    async fn after_a_refusal(self: &Arc<Self>, user: Sub, guild: DiscordId, token: Hash, by: &By) -> Checked {
        match self.profile_now(user, by).await {
            Freshness::Ended => return Checked::Ended,
            Freshness::Stale => return Checked::Failed(None),
            Freshness::Fresh => {}
        }
        let Some(grant) = self.app.grant_of(user) else { return Checked::Ended };
        if grant.fingerprints.access == token {
            return self.scope_refused(user, grant.id);
        }
        match self.ask_member(user, guild).await {
            Told::Said(said) => self.observe_membership(user, said, by).await,
            Told::Nothing(wait) => Checked::Failed(wait),
            // Not a third time.
            Told::NoScope(_) | Told::Refused(_) => self.scope_refused(user, grant.id),
        }
    }

    fn scope_refused(&self, user: Sub, grant: GrantId) -> Checked {
        self.confirmed.refuse(user, grant);
        Checked::ScopeMissing
    }

    async fn ask_member(&self, user: Sub, guild: DiscordId) -> Told {
        let Some((grant, id)) = self.app.grant_of(user).zip(self.app.discord_id_of(user)) else {
            return Told::Nothing(None);
        };
        let Some(tokens) = self.app.tokens_of(&grant) else { return Told::Nothing(None) };
        let asked_at = self.clock.monotonic();
        match self.client.member(&tokens.access, id, guild).await {
            Ok(membership) => Told::Said(Said { membership, grant: grant.id, asked_at }),
            Err(CallError::Unauthorized) => Told::Refused(grant.fingerprints.access),
            Err(error) if error.failure_code() == FailureCode::ScopeMissing => Told::NoScope(grant.id),
            Err(error) => Told::Nothing(error.retry_after(self.clock.now())),
        }
    }

    /// Records what Discord said, where it is news.
    async fn observe_membership(self: &Arc<Self>, user: Sub, said: Said, by: &By) -> Checked {
        let Said { membership, grant, asked_at } = said;
        let guild = membership.guild;
        // From here on no sign-in of theirs comes to its end.
        let _held = self.lock(user).await;
        if self.app.grant_of(user).is_none_or(|current| current.id != grant) {
            // They have signed in meanwhile: the new grant is asked with.
            return Checked::Failed(None);
        }
        let command = Command::ObserveMemberships { user, memberships: vec![membership] };
        if self.app.execute(command, by).await.is_err() {
            return Checked::Failed(None);
        }
        self.confirmed.keep(user, &self.asked().about);
        self.confirmed.confirm(user, About::Guild(guild), asked_at);
        self.end_if_lost(user, by).await;
        Checked::Confirmed
    }

    /// Returns whether the grant is good for asking, as far as is known.
    fn covers(&self, user: Sub, grant: &Grant) -> bool {
        grant.has_scope(MEMBERS_SCOPE) && !self.confirmed.is_refused(user, grant.id)
    }
}

impl From<RefreshError> for Checked {
    fn from(error: RefreshError) -> Checked {
        match error {
            RefreshError::Ended => Checked::Ended,
            RefreshError::DiscordRateLimited { retry_after } => {
                Checked::Failed(Some(Duration::from_secs(retry_after)))
            }
            _ => Checked::Failed(None),
        }
    }
}

/// What Discord said to the token of a grant.
struct Said {
    membership: Membership,
    grant: GrantId,
    asked_at: Duration,
}

enum Told {
    Said(Said),
    /// The token of that fingerprint was refused.
    Refused(Hash),
    /// The token of that grant lacks the scope.
    NoScope(GrantId),
    /// Nothing of use; Discord wants to be left alone for so long, where it said that.
    Nothing(Option<Duration>),
}

/// A user and a guild that Discord is to be asked about.
type Check = (Sub, DiscordId);

/// Checks that nobody waits for, each once, in the order in which they were needed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Check>,
    known: HashSet<Check>,
    workers: usize,
}

impl Queue {
    /// Takes a check, unless it waits already or too many do; returns whether a further worker is needed.
    fn push(&self, check: Check) -> bool {
        let mut waiting = self.lock();
        if waiting.order.len() >= WAITING || !waiting.known.insert(check) {
            return false;
        }
        waiting.order.push_back(check);
        let needed = waiting.workers < WORKERS;
        waiting.workers += usize::from(needed);
        needed
    }

    /// Gives the next check; where there is none, the worker that asks is done.
    fn pop(&self) -> Option<Check> {
        let mut waiting = self.lock();
        match waiting.order.pop_front() {
            Some(check) => {
                waiting.known.remove(&check);
                Some(check)
            }
            None => {
                waiting.workers -= 1;
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn check(guild: u64) -> Check {
        (Sub([1; 16]), DiscordId(guild))
    }

    #[test]
    fn a_check_waits_once_and_in_its_turn() {
        let queue = Queue::default();
        assert!(queue.push(check(1)) && queue.push(check(2)));
        assert!(!queue.push(check(1)), "it waits already");
        assert_eq!((queue.pop(), queue.pop()), (Some(check(1)), Some(check(2))));
        assert!(queue.push(check(1)), "it may wait again");
    }

    #[test]
    fn there_are_so_many_workers_and_so_much_room_and_no_more() {
        let queue = Queue::default();
        let needed = (0..5_000).filter(|guild| queue.push(check(*guild))).count();
        assert_eq!((needed, queue.lock().order.len()), (WORKERS, WAITING));
        while queue.pop().is_some() {}
        assert_eq!(queue.lock().workers, WORKERS - 1, "that one is done");
        (1..WORKERS).for_each(|_| assert_eq!(queue.pop(), None));
        assert!(queue.push(check(1)), "a new one is needed");
    }
}
