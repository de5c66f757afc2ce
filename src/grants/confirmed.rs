//! When Discord last confirmed what is known of somebody: in the memory of this process and nowhere else.
//!
//! A fact that was not confirmed since the start may be as old as the log. It counts as just due.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lru::LruCache;

use super::REMEMBERED;
use crate::clock::Clock;
use crate::domain::id::{DiscordId, GrantId, Sub};
use crate::domain::rules::Rules;

/// How long an answer stands, whatever it was, before somebody who waits may have Discord asked again.
pub(super) const STANDS: Duration = Duration::from_secs(10);

/// The longest pause after a failure that says nothing about when to try again.
const PAUSE: Duration = Duration::from_secs(30);

/// How long facts count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    /// Up to this age they are as good as new.
    pub(super) max_age: Duration,
    /// For so much longer they are used while Discord is asked again.
    pub(super) grace: Duration,
}

impl Ages {
    pub(super) fn of(rules: &Rules) -> Ages {
        Ages { max_age: rules.membership_max_age, grace: rules.membership_grace }
    }

    /// Returns how long a check that failed keeps the next one off.
    pub(super) fn pause(self) -> Duration {
        self.max_age.min(PAUSE)
    }
}

/// What Discord is asked about somebody, and what grows old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// What they are in that guild.
    Guild(DiscordId),
    /// Their address, which is part of their profile.
    Address,
}

/// What is known of how old facts are, by user and what they are about.
pub(super) struct Confirmed {
    clock: Arc<dyn Clock>,
    started: Duration,
    /// Whoever was not confirmed for longest makes room.
    users: RwLock<LruCache<Sub, User>>,
}

#[derive(Debug, Default)]
struct User {
    facts: BTreeMap<About, Seen>,
    /// The grant whose token Discord does not take for this although it is good.
    refused: Option<GrantId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    confirmed_at: Option<Duration>,
    asked_at: Option<Duration>,
    not_before: Duration,
}

/// What a look at a user's facts found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// What is known of these is too old to count.
    pub(super) expired: Vec<About>,
    /// About these Discord is to be asked.
    pub(super) due: Vec<About>,
}

impl Confirmed {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Confirmed {
        Confirmed::with_room_for(REMEMBERED, clock)
    }

    fn with_room_for(users: NonZeroUsize, clock: Arc<dyn Clock>) -> Confirmed {
        Confirmed { started: clock.monotonic(), clock, users: RwLock::new(LruCache::sparse(users)) }
    }

    /// Notes that Discord said, when it was asked at `asked_at`, what is recorded by now.
    pub(super) fn confirm(&self, user: Sub, about: About, asked_at: Duration) {
        let mut users = self.write();
        let found = users.get_or_insert_mut(user, User::default);
        let seen = found.facts.entry(about).or_default();
        seen.confirmed_at = seen.confirmed_at.max(Some(asked_at));
        seen.asked_at = seen.asked_at.max(Some(asked_at));
        seen.not_before = Duration::ZERO;
    }

    /// Notes that Discord is asked now.
    pub(super) fn ask(&self, user: Sub, about: About) {
        let now = self.clock.monotonic();
        let mut users = self.write();
        users.get_or_insert_mut(user, User::default).facts.entry(about).or_default().asked_at = Some(now);
    }

    /// Notes that Discord did not say, and for how long it is left alone about this.
    pub(super) fn fail(&self, user: Sub, about: About, pause: Duration) {
        let now = self.clock.monotonic();
        let mut users = self.write();
        let found = users.get_or_insert_mut(user, User::default);
        found.facts.entry(about).or_default().not_before = now + pause;
    }

    /// Notes that Discord does not take the good token of this grant for this.
    pub(super) fn refuse(&self, user: Sub, grant: GrantId) {
        self.write().get_or_insert_mut(user, User::default).refused = Some(grant);
    }

    /// Returns whether Discord has refused the good token of this grant.
    pub(super) fn is_refused(&self, user: Sub, grant: GrantId) -> bool {
        self.read().peek(&user).is_some_and(|found| found.refused == Some(grant))
    }

    /// Forgets guilds that nobody asks about any more.
    pub(super) fn keep(&self, user: Sub, asked: &[About]) {
        if let Some(found) = self.write().get_mut(&user) {
            found.facts.retain(|about, _| *about == About::Address || asked.contains(about));
        }
    }

    /// Says which of these are due, and about which nothing counts any more.
    pub(super) fn look(&self, user: Sub, asked: &[About], ages: Ages) -> Look {
        let mut look = Look::default();
        if asked.is_empty() {
            return look;
        }
        let now = self.clock.monotonic();
        let users = self.read();
        let found = users.peek(&user);
        for about in asked {
            let seen = found.and_then(|found| found.facts.get(about)).copied().unwrap_or_default();
            let age = self.age(seen, now, ages);
            if age >= ages.max_age.saturating_add(ages.grace) {
                look.expired.push(*about);
            }
            if age >= ages.max_age && now >= seen.not_before {
                look.due.push(*about);
            }
        }
        look
    }

    /// Returns whether what is known of it is older than it should be.
    pub(super) fn is_stale(&self, user: Sub, about: About, ages: Ages) -> bool {
        self.age(self.seen(user, about), self.clock.monotonic(), ages) >= ages.max_age
    }

    /// Returns when Discord was last asked, and whether it told.
    pub(super) fn last_asked(&self, user: Sub, about: About) -> Option<(Duration, bool)> {
        let Seen { asked_at, confirmed_at, .. } = self.seen(user, about);
        Some((asked_at?, confirmed_at >= asked_at))
    }

    /// Returns whether Discord was asked within the last ten seconds.
    pub(super) fn was_just_asked(&self, user: Sub, about: About) -> bool {
        let asked_at = self.seen(user, about).asked_at;
        asked_at.is_some_and(|at| self.clock.monotonic().saturating_sub(at) < STANDS)
    }

    /// Returns whether Discord is to be left alone about this.
    pub(super) fn is_paused(&self, user: Sub, about: About) -> bool {
        self.clock.monotonic() < self.seen(user, about).not_before
    }

    fn age(&self, seen: Seen, now: Duration, ages: Ages) -> Duration {
        match seen.confirmed_at {
            Some(at) => now.saturating_sub(at),
            None => ages.max_age.saturating_add(now.saturating_sub(self.started)),
        }
    }

    fn seen(&self, user: Sub, about: About) -> Seen {
        self.read().peek(&user).and_then(|found| found.facts.get(&about)).copied().unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, LruCache<Sub, User>> {
        // Every entry is whole, whoever panicked meanwhile.
        self.users.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, LruCache<Sub, User>> {
        self.users.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    const NELLY: Sub = Sub([1; 16]);
    const GUILD: About = About::Guild(DiscordId(1));
    const OTHER: About = About::Guild(DiscordId(2));
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const AGES: Ages = Ages { max_age: MINUTE, grace: Duration::from_secs(120) };

    fn confirmed() -> (ManualClock, Confirmed) {
        let clock = ManualClock::new(Timestamp(0));
        clock.advance(1_000 * SECOND);
        (clock.clone(), Confirmed::new(Arc::new(clock)))
    }

    fn look(confirmed: &Confirmed) -> (bool, bool) {
        let look = confirmed.look(NELLY, &[GUILD], AGES);
        (look.expired.is_empty(), !look.due.is_empty())
    }

    #[test]
    fn a_fact_is_new_then_due_then_too_old() {
        let (clock, confirmed) = confirmed();
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        clock.advance(MINUTE - SECOND);
        assert_eq!((look(&confirmed), confirmed.is_stale(NELLY, GUILD, AGES)), ((true, false), false));
        clock.advance(SECOND);
        assert_eq!((look(&confirmed), confirmed.is_stale(NELLY, GUILD, AGES)), ((true, true), true));
        clock.advance(2 * MINUTE - SECOND);
        assert_eq!(look(&confirmed), (true, true));
        clock.advance(SECOND);
        assert_eq!(look(&confirmed), (false, true));
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        assert_eq!(look(&confirmed), (true, false));
    }

    #[test]
    fn after_a_start_everything_is_due_and_its_grace_begins() {
        let (clock, confirmed) = confirmed();
        assert_eq!(look(&confirmed), (true, true));
        clock.advance(2 * MINUTE - SECOND);
        assert_eq!(look(&confirmed), (true, true));
        clock.advance(SECOND);
        assert_eq!(look(&confirmed), (false, true));
    }

    #[test]
    fn one_fact_says_nothing_of_another() {
        let (clock, confirmed) = confirmed();
        clock.advance(2 * MINUTE);
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        let look = confirmed.look(NELLY, &[GUILD, OTHER, About::Address], AGES);
        let others = vec![OTHER, About::Address];
        assert_eq!(look, Look { expired: others.clone(), due: others });
        assert_eq!(confirmed.look(Sub([2; 16]), &[GUILD], AGES).due, [GUILD], "nor one user of another");
    }

    #[test]
    fn a_failure_keeps_the_next_try_off_and_an_answer_ends_that() {
        let (clock, confirmed) = confirmed();
        confirmed.ask(NELLY, GUILD);
        confirmed.fail(NELLY, GUILD, AGES.pause());
        assert_eq!((look(&confirmed), confirmed.was_just_asked(NELLY, GUILD)), ((true, false), true));
        clock.advance(PAUSE);
        assert_eq!((look(&confirmed), confirmed.was_just_asked(NELLY, GUILD)), ((true, true), false));
        confirmed.fail(NELLY, GUILD, MINUTE);
        assert!(confirmed.is_paused(NELLY, GUILD));
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        assert!(!confirmed.is_paused(NELLY, GUILD) && !confirmed.is_stale(NELLY, GUILD, AGES));
        assert_eq!(Ages { max_age: SECOND, ..AGES }.pause(), SECOND);
    }

    #[test]
    fn a_wall_clock_that_is_set_makes_nothing_older_or_younger() {
        let (clock, confirmed) = confirmed();
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        clock.step_to(Timestamp(1_000_000_000_000));
        assert_eq!(look(&confirmed), (true, false));
        clock.step_to(Timestamp(0));
        clock.advance(3 * MINUTE);
        assert_eq!(look(&confirmed), (false, true));
    }

    #[test]
    fn an_older_answer_does_not_make_a_fact_older() {
        let (clock, confirmed) = confirmed();
        let before = clock.monotonic();
        clock.advance(MINUTE);
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        confirmed.confirm(NELLY, GUILD, before);
        assert!(!confirmed.is_stale(NELLY, GUILD, AGES));
    }

    #[test]
    fn who_is_forgotten_counts_as_after_a_start() {
        let (clock, _) = confirmed();
        let confirmed = Confirmed::with_room_for(NonZeroUsize::MIN, Arc::new(clock.clone()));
        clock.advance(10 * MINUTE);
        confirmed.confirm(NELLY, GUILD, clock.monotonic());
        assert_eq!(look(&confirmed), (true, false));
        confirmed.confirm(Sub([2; 16]), GUILD, clock.monotonic());
        assert_eq!(look(&confirmed), (false, true), "which is long ago");
    }

    #[test]
    fn a_refusal_is_of_one_grant_and_other_guilds_are_forgotten() {
        let (clock, confirmed) = confirmed();
        let (old, new) = (GrantId([1; 16]), GrantId([2; 16]));
        confirmed.refuse(NELLY, old);
        assert!(confirmed.is_refused(NELLY, old) && !confirmed.is_refused(NELLY, new));
        confirmed.confirm(NELLY, OTHER, clock.monotonic());
        confirmed.keep(NELLY, &[GUILD]);
        assert!(confirmed.is_stale(NELLY, OTHER, AGES) && confirmed.is_refused(NELLY, old));
    }
}
