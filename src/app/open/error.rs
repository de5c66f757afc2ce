//! Why a start is refused, and what the operator can do about it.

use std::path::PathBuf;

use crate::app::{ExecuteError, FoldError};
use crate::crypto::KeyError;
use crate::domain::event::MadeBy;
use crate::domain::rules::RulesTooLong;
use crate::domain::time::Month;
use crate::event_log::codec::EncodeError;
use crate::event_log::start::StartError;

/// Why doorbook cannot start on this directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A command makes no log.
    #[error("there is no log in {}", data_dir.display())]
    NoLog {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
    /// The log, or the directory.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A record.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The fold ended without a word.
    #[error("the log could not be replayed to its end")]
    Unfinished,
    /// A log for play is not one for a front door.
    #[error(
        "this log was made by `doorbook {made_by}` and cannot be used by `doorbook {wanted}`; use another data directory"
    )]
    MadeByAnother {
        /// The command that made it.
        made_by: MadeBy,
        /// The command that was given.
        wanted: MadeBy,
    },
    /// A user without a key: their tokens and profile can never be read again.
    #[error(
        "the key file `subjects` lacks {missing} of the log's users; put the whole of keys/ back as it was; \
         where their keys are gone for good, because they were erased after this copy of the log was taken, \
         `doorbook serve --without-keys` goes on and erases them in it as well"
    )]
    SubjectsMissing {
        /// How many.
        missing: usize,
    },
    /// A month without a key: where its sessions come from can never be read again.
    #[error(
        "the key file `months` lacks the key of the month {}, which sessions of this log need; put the whole of keys/ back \
         as it was; where that key is gone for good, `doorbook serve --without-keys` goes on, and addresses and user \
         agents of that month stay unreadable",
        month.0
    )]
    MonthMissing {
        /// The first of them.
        month: Month,
    },
    /// The key that the log names is not here, and nobody else may sign for it.
    #[error(
        "keys/ has another signing key than the one this log names, and no word of that one on it: one of them is \
         from before a `doorbook keys rotate --signer` and the other from after it, or these are not its keys; \
         give back the escrow that belongs to this log (`doorbook keys restore`, into an empty keys/), or restore \
         the backup that belongs to these keys; without either it can be read and verified, but not served"
    )]
    SignerGone(#[source] KeyError),
    /// The key that the log names is here, and its file could not be put in order.
    #[error("the key that signs for this log cannot be used")]
    Signer(#[source] KeyError),
    /// Keys that were destroyed are here again: nobody may be revived.
    #[error("keys that the log says were destroyed are here again, and could not be destroyed")]
    Forget(#[source] KeyError),
    /// The rules have no place in the log; nothing was written.
    #[error(transparent)]
    Rules(#[from] RulesTooLong),
    /// The first records could not be written.
    #[error("the start could not be recorded")]
    Record(#[source] ExecuteError),
    /// The keys of people, and no log that knows them.
    #[error("keys/ knows {users} users, but the log is empty; put the log back that belongs to these keys")]
    UsersWithoutLog {
        /// How many.
        users: usize,
    },
    /// The fold has no thread to run on.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The first record has no bytes.
    #[error("the first record cannot be written")]
    Encode(#[source] EncodeError),
}
