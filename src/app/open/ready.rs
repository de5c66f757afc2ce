//! What a start makes of what it found: keys and log in line with each other, and the first records.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use super::{A_DAY, OpenError, Opened, Role, STEP, create_log};
use crate::app::{By, ExecuteError};
use crate::crypto::{KeyError, handovers};
use crate::domain::command::{AcceptLoss, Command, Handed};
use crate::domain::event::{NewSigner, Requester};
use crate::domain::id::Sub;
use crate::domain::record::Owner;
use crate::domain::state::LogIdentity;
use crate::domain::time::Month;
use crate::event_log::note::{VerifierKey, origin_of};

/// So many who have no key are erased at once; they share a flush.
const AT_ONCE: usize = 256;

impl Opened {
    /// Checks whose log it is, and brings the keys in line with it; returns who must sign from now on, where the log
    /// does not say so.
    pub(super) async fn check(&self) -> Result<Vec<Handed>, OpenError> {
        let maker = self.app.state().log().map(|log| log.made_by);
        if let (Some(made_by), Role::Server { made_by: wanted, .. }) = (maker, &self.settings.role)
            && made_by != *wanted
        {
            return Err(OpenError::MadeByAnother { made_by, wanted: *wanted });
        }
        // Before anything else is refused: whoever only reads would open with these keys what was erased.
        self.app.forget_again().await.map_err(OpenError::Forget)?;
        let missing = self.without_keys().len();
        if missing > 0 && !self.settings.accepted().missing_keys {
            return Err(OpenError::SubjectsMissing { missing });
        }
        if !self.settings.accepted().missing_keys
            && let Some(month) = self.months_without_keys().first().copied()
        {
            return Err(OpenError::MonthMissing { month });
        }
        let Some(log) = self.app.state().log().cloned() else { return Ok(vec![]) };
        match self.app.keys.signer_is(log.public_key).await {
            Ok(()) => Ok(vec![]),
            Err(error @ KeyError::OtherSigner { .. }) => self.handed(&log, error),
            Err(error) => Err(OpenError::Signer(error)),
        }
    }

    /// Returns how the key that the log names handed it over to the one that is here.
    ///
    /// Only where the log itself is about to say that its end is missing. Anywhere else an older log would pass for
    /// the newest.
    fn handed(&self, log: &LogIdentity, gone: KeyError) -> Result<Vec<Handed>, OpenError> {
        if self.restored.is_none() && self.loss.is_none() {
            return Err(OpenError::SignerGone(gone));
        }
        let (dir, now) = (self.settings.data_dir.join("keys"), self.app.keys.signer_public_key());
        let way = handovers(&dir, log.id, log.public_key, now).map_err(OpenError::Signer)?;
        let name = origin_of(&log.origin, log.id);
        let handed = way.into_iter().flatten().map(|next| {
            let key = VerifierKey::new(&name, &next.public).ok()?;
            let signer = NewSigner { public_key: next.public, signature: next.signature };
            Some(Handed { key_id: u32::from_be_bytes(key.id()), signer })
        });
        match handed.collect::<Option<Vec<Handed>>>() {
            Some(handed) if !handed.is_empty() => {
                tracing::warn!(
                    "the log names a signing key that is gone; the one that follows it takes over again"
                );
                Ok(handed)
            }
            _ => Err(OpenError::SignerGone(gone)),
        }
    }

    /// Returns the users who have no key, in a fixed order.
    fn without_keys(&self) -> Vec<Sub> {
        let state = self.app.state();
        let subs = state.users().map(|(sub, _)| sub);
        let mut without: Vec<Sub> = subs.filter(|sub| !self.app.keys.has_subject(*sub)).collect();
        without.sort_unstable();
        without
    }

    /// Returns the months of which sessions have something sealed, and which have no key although nobody destroyed it.
    fn months_without_keys(&self) -> BTreeSet<Month> {
        let state = self.app.state();
        let owners = state.sessions().filter_map(|session| Some(session.origin.as_ref()?.sealed.owner));
        let months = owners.filter_map(|owner| match owner {
            Owner::Context(month, _) => Some(month),
            _ => None,
        });
        let destroyed: BTreeSet<Month> = state.destroyed().collect();
        months.filter(|month| !self.app.keys.has_month(*month) && !destroyed.contains(month)).collect()
    }

    /// Lets months that are past and have no key be known as destroyed, so that later starts do not miss them.
    async fn destroy_without_keys(&self) -> Result<(), ExecuteError> {
        if !self.settings.accepted().missing_keys {
            return Ok(());
        }
        let now = self.app.clock.now().month();
        let months: Vec<Month> =
            self.months_without_keys().into_iter().filter(|month| *month != now).collect();
        if months.is_empty() {
            return Ok(());
        }
        tracing::warn!(?months, "the keys of months are gone, and addresses and user agents with them");
        self.app.execute(Command::DestroyMonths { months }, &By::SYSTEM).await.map(drop)
    }

    /// Erases those who have no key; what the log keeps of them is closed to everybody already.
    async fn erase_without_keys(&self) -> Result<(), ExecuteError> {
        let without = self.without_keys();
        for some in without.chunks(AT_ONCE) {
            let erasing = some.iter().map(|user| {
                let state = self.app.state();
                let has_grant =
                    state.user(*user).is_some_and(|user| user.grant.is_some() || user.revocation.is_some());
                drop(state);
                // Without the tokens nobody can ask Discord.
                let confirmed = has_grant.then_some(false);
                let erase = Command::Erase { user: *user, requested_by: Requester::Operator, confirmed };
                self.app.execute(erase, &By::SYSTEM)
            });
            try_join_all(erasing).await?;
        }
        if !without.is_empty() {
            tracing::warn!(
                users = without.len(),
                "users whose keys are gone were erased; they may sign in again"
            );
        }
        Ok(())
    }

    pub(super) async fn record_start(&self, handed: Vec<Handed>) -> Result<(), ExecuteError> {
        let app = &self.app;
        if let Some(loss) = &self.loss {
            let lost = AcceptLoss {
                head_sequence: loss.head_sequence,
                head_position: loss.head_position,
                head_leaf: loss.head_leaf,
                last_found: loss.last_found,
                salvaged: loss.salvaged.as_ref().map(|(_, hash)| *hash),
                created: loss.is_total().then(|| create_log(&self.settings, self.log_id, &app.keys)),
                handed,
            };
            app.execute(Command::AcceptLoss(lost), &By::SYSTEM).await?;
        } else if let Some(source) = self.restored {
            // Whoever signed out since the copy was taken is signed in by it: that ends here.
            let tree = app.frontier();
            tracing::warn!(%source, "this log was put back from a copy; every session ends");
            let restore = Command::RestoreLog { size: tree.size(), root: tree.root(), source, handed };
            app.execute(restore, &By::SYSTEM).await?;
        }
        let (from, to) = (app.state().eff(), app.clock.now());
        if from.since(to) > STEP {
            tracing::warn!(%from, %to, "the wall clock is behind the log's last record");
            app.execute(Command::StepClock { from, to }, &By::SYSTEM).await?;
        } else if self.head.is_some() && to.since(from) > A_DAY {
            tracing::warn!(last_record = %from, now = %to, "the log's last record is more than a day old; is the clock right?");
        }
        if !self.clean && self.restored.is_none() {
            tracing::warn!("the last stop was not clean; the log was checked and is whole");
        }
        self.erase_without_keys().await?;
        self.destroy_without_keys().await?;
        let Role::Server { config, .. } = self.settings.role else { return Ok(()) };
        let log_size = self.records();
        let command =
            Command::StartServer { version: app.version.clone(), writer: app.writer, config, log_size };
        app.execute(command, &By::SYSTEM).await.map(drop)
    }
}
