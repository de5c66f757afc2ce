//! After keys or a log were put back: what the log says is gone has no key beside it.
//!
//! A start does the same before it serves anybody. But who only reads starts nothing, and would open with an older
//! escrow what was erased since.

use std::sync::Arc;

use super::reading::open;
use super::{ServeError, World};
use crate::audit::{LogSource, Opener, ReadError, Reader, View, When};
use crate::config::Local;
use crate::crypto::{Forget, KeyError, KeyRing, KeySettings};
use crate::event_log::EventLog;
use crate::event_log::states::StatesDir;

/// Why keys that should be gone may still be there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The log could not be opened, or not be closed.
    #[error(transparent)]
    Log(#[from] ServeError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The key files.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// What had a key, and has none now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Users who were erased.
    pub users: usize,
    /// Months that were past what is kept.
    pub months: usize,
}

/// Destroys the keys of everybody and everything that the log beside them says is gone.
///
/// Where there is no log, or there are no keys, nothing is to be done. No server may run.
pub async fn forget_gone(local: &Local, world: World) -> Result<Gone, ForgetError> {
    let Some(settings) = super::keys::settings(local)? else { return Ok(Gone::default()) };
    if !local.data_dir.join("HEAD").exists() {
        return Ok(Gone::default());
    }
    // The keys first: where they do not open, the log need not be read.
    KeyRing::check(&settings)?;
    let (log, aside) = open(local, world.clone()).await?;
    // Of a copy nobody is kept off: whoever may not write to the log leaves its keys alone as well.
    let gone = match aside {
        None => forget_by(&log, settings, local, world).await,
        Some(_) => Err(KeyError::ReadOnly.into()),
    };
    // The log was held all the while, so that no server had the keys.
    log.close().await.map_err(|error| ServeError::Reading { why: error.why })?;
    gone
}

async fn forget_by(
    log: &EventLog,
    settings: KeySettings,
    local: &Local,
    world: World,
) -> Result<Gone, ForgetError> {
    let World { clock, entropy, disk, .. } = world;
    let states = StatesDir::new(local.data_dir.join("states"), disk.clone());
    let reader =
        Reader::new(Arc::new(LogSource(log.clone())), Opener::default()).with_states(states, settings.log_id);
    let Some(View { state, .. }) = reader.view(When::Now, clock.now()).await? else {
        return Ok(Gone::default());
    };
    let gone = Forget { subs: state.erased().collect(), months: state.destroyed().collect() };
    let found = KeyRing::open(settings, entropy, disk)?.forget(gone).await?;
    Ok(Gone { users: found.subs.len(), months: found.months.len() })
}
