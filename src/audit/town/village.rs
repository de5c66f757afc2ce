//! A village beside the town: few people, a guild, and rules that change while they are signed in.

use super::*;

/// The guild of the village.
pub(crate) const GUILD: DiscordId = DiscordId(197_038_439_483_310_086);

/// The role of those who look after it.
pub(crate) const STAFF: DiscordId = DiscordId(41_771_983_423_143_936);

/// The village, while a server runs in it.
pub(crate) struct Village(pub(crate) Town);

impl Village {
    pub(crate) async fn founded(rules: Rules) -> Village {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(BEGINNING);
        let app = open(dir.path().join("data"), &clock, 0, rules).await;
        Village(Town {
            dir,
            clock,
            app,
            entropy: Arc::new(SeededEntropy::new("the life of a village")),
            starts: 0,
        })
    }

    /// What happens before anybody asks: two of the staff, a member, a guest by name and a stranger come; one loses
    /// the role two hours later, and then other rules count. The last one goes home.
    pub(crate) async fn lives(&self, other_rules: Rules) {
        for (who, memberships) in [
            (0, vec![member(&[STAFF])]),
            (1, vec![member(&[])]),
            (2, vec![member(&[STAFF, DiscordId(7)])]),
            (3, vec![Membership::none(GUILD)]),
            (10, vec![Membership::none(GUILD)]),
        ] {
            self.after(Duration::from_secs(60));
            self.0.sign_in_with(who, memberships).await;
        }
        self.after(Duration::from_secs(2 * 3_600));
        self.observe(0, vec![member(&[])]).await;
        self.after(Duration::from_secs(600));
        self.0.app.change_rules(other_rules, &By::SYSTEM).await.unwrap();
        self.after(Duration::from_secs(600));
        self.0.log_out(3).await;
    }

    pub(crate) fn after(&self, time: Duration) {
        self.0.clock.advance(time);
    }

    pub(crate) async fn observe(&self, who: u64, memberships: Vec<Membership>) {
        let user = self.0.sub(who).unwrap();
        let observe = Command::ObserveMemberships { user, memberships };
        self.0.app.execute(observe, &By::SYSTEM).await.unwrap();
    }
}

/// Returns what a member with these roles is in the guild of the village.
pub(crate) fn member(roles: &[DiscordId]) -> Membership {
    Membership { member: true, roles: roles.to_vec(), ..Membership::none(GUILD) }
}
