//! What somebody wants: every intent that may become events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{
    Audit, Cause, FailureCode, KeyPurpose, MadeBy, Membership, Method, NewSigner, OutageCause, Private,
    Profile, Requester, RestoredFrom, RevokedBy, RevokedScope, Stage, StateHash, Tokens,
};
use super::id::{DiscordId, GrantId, Hash, LogId, Position, SessionId, SessionKey, Sub, WriterId};
use super::rules::Rules;
use super::scopes::Scopes;
use super::time::{Month, Timestamp};

/// An intent. Random values, ids included, are drawn before: deciding draws nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let somebody in whom Discord has named.
    SignIn(Box<SignIn>),
    /// Write down that a sign-in failed.
    FailSignIn {
        /// How far it came.
        stage: Stage,
        /// Why it ended there.
        code: FailureCode,
    },
    /// Write down what was not recorded one by one.
    RollUp {
        /// The start of the window.
        from: Timestamp,
        /// The end of the window.
        to: Timestamp,
        /// How many of each code.
        counts: Vec<(FailureCode, u64)>,
        /// How many addresses they came from.
        distinct_addresses: u64,
    },
    /// Write down that a session was used.
    SeeSession {
        /// Which.
        session: SessionId,
    },
    /// End sessions of one user.
    EndSessions {
        /// Whose.
        user: Sub,
        /// Which.
        which: Which,
        /// Why.
        cause: Cause,
        /// What the operator wrote.
        reason: Option<String>,
    },
    /// Claim the right to refresh a grant.
    ClaimRefresh {
        /// Whose.
        user: Sub,
        /// Which.
        grant: GrantId,
        /// 1, or 2 for a claim of a process that is dead.
        attempt: u8,
        /// Until when it keeps others off.
        until: Timestamp,
    },
    /// Write down that Discord gave new tokens.
    ConcludeRefresh {
        /// Whose.
        user: Sub,
        /// Which.
        grant: GrantId,
        /// What the tokens allow.
        scopes: Scopes,
        /// When the access token ends.
        expires_at: Timestamp,
        /// The tokens.
        tokens: Tokens,
    },
    /// Write down that Discord gave none.
    FailRefresh {
        /// Whose.
        user: Sub,
        /// Which.
        grant: GrantId,
        /// Why.
        code: FailureCode,
        /// What Discord answered.
        status: Option<u16>,
        /// Of which claim.
        attempt: u8,
        /// Whether the grant is lost; then it and the sessions end.
        is_final: bool,
        /// Before when no other refresh is sent.
        not_before: Option<Timestamp>,
    },
    /// End a grant and every session of its user.
    Revoke {
        /// Whose.
        user: Sub,
        /// On whose word.
        source: RevokedBy,
        /// Why the sessions end.
        cause: Cause,
        /// Whether Discord knows already.
        confirmed: bool,
        /// Only if this is the current grant; `None` means whichever is.
        only: Option<GrantId>,
    },
    /// Write down that Discord has confirmed a revocation.
    ConfirmRevocation {
        /// Whose.
        user: Sub,
        /// Which.
        grant: GrantId,
        /// After how many calls.
        attempts: u32,
    },
    /// Write down the profile where it changed.
    ObserveProfile {
        /// Whose.
        user: Sub,
        /// As Discord said.
        profile: Profile,
    },
    /// Write down what a user is in guilds, where it changed.
    ObserveMemberships {
        /// Whose.
        user: Sub,
        /// As Discord said, one a guild; of other guilds it says nothing.
        memberships: Vec<Membership>,
    },
    /// Write down that other rules decide from here on, where they do.
    ChangeRules(Arc<Rules>),
    /// Write down that calls to Discord stopped.
    NoteOutage {
        /// Why.
        cause: OutageCause,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// Write down that calls to Discord work again.
    NoteRecovery,
    /// Write down the start of this process.
    StartServer {
        /// The version of doorbook.
        version: String,
        /// Its name in the context of records.
        writer: WriterId,
        /// SHA-256 of the configuration.
        config: Hash,
        /// Records in the log so far.
        log_size: u64,
    },
    /// Write down the end of this process.
    StopServer {
        /// Whether in order.
        clean: bool,
    },
    /// Write down that the wall clock jumped.
    StepClock {
        /// Where it stood.
        from: Timestamp,
        /// Where it stands.
        to: Timestamp,
    },
    /// Write down that the records so far were signed for.
    SignCheckpoint(SignCheckpoint),
    /// Write down that a key was replaced.
    RotateKey {
        /// Which sort.
        purpose: KeyPurpose,
        /// Which.
        key_id: u32,
        /// The new signer, where it is one.
        signer: Option<NewSigner>,
    },
    /// Give up the keys of months, and with them what they sealed.
    DestroyMonths {
        /// Which.
        months: Vec<Month>,
    },
    /// Erase a person.
    Erase {
        /// Whom.
        user: Sub,
        /// On whose wish.
        requested_by: Requester,
        /// Whether Discord has confirmed the end of the authorization.
        confirmed: Option<bool>,
    },
    /// Write down that the log was put back from a copy.
    RestoreLog {
        /// How many records the copy had.
        size: u64,
        /// The root of the tree over them.
        root: Hash,
        /// What was put back.
        source: RestoredFrom,
        /// Who signs from there on, where the key that the copy names is gone.
        handed: Vec<Handed>,
    },
    /// Write down that somebody looked, or took a copy.
    NoteAudit {
        /// What was asked.
        audit: Audit,
        /// The networks that were asked for.
        networks: Vec<String>,
        /// Whether a copy was taken.
        exported: bool,
    },
    /// Begin a log.
    CreateLog(CreateLog),
    /// Go on although acknowledged records are gone.
    AcceptLoss(AcceptLoss),
}

impl Command {
    /// Returns the user whose decisions it is one of, where the command says so.
    pub fn user(&self) -> Option<Sub> {
        match self {
            Command::SignIn(sign_in) => sign_in.user,
            Command::EndSessions { user, .. }
            | Command::ClaimRefresh { user, .. }
            | Command::ConcludeRefresh { user, .. }
            | Command::FailRefresh { user, .. }
            | Command::Revoke { user, .. }
            | Command::ConfirmRevocation { user, .. }
            | Command::ObserveProfile { user, .. }
            | Command::ObserveMemberships { user, .. }
            | Command::Erase { user, .. } => Some(*user),
            // Which user a session belongs to, the state knows.
            Command::SeeSession { .. }
            | Command::FailSignIn { .. }
            | Command::RollUp { .. }
            | Command::ChangeRules(_)
            | Command::NoteOutage { .. }
            | Command::NoteRecovery
            | Command::StartServer { .. }
            | Command::StopServer { .. }
            | Command::StepClock { .. }
            | Command::SignCheckpoint(_)
            | Command::RotateKey { .. }
            | Command::DestroyMonths { .. }
            | Command::RestoreLog { .. }
            | Command::NoteAudit { .. }
            | Command::CreateLog(_)
            | Command::AcceptLoss(_) => None,
        }
    }
}

/// Everything a sign-in brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The pseudonym; `None` for somebody who has never been let in.
    pub user: Option<Sub>,
    /// Who it is.
    pub profile: Profile,
    /// What they are in the guilds that the rules ask about; a guild that Discord did not tell of is not among them.
    pub memberships: Vec<Membership>,
    /// Our name for the new authorization.
    pub grant: GrantId,
    /// The Discord application.
    pub application: DiscordId,
    /// What Discord allows.
    pub scopes: Scopes,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// The tokens.
    pub tokens: Tokens,
    /// The new session's public id.
    pub session: SessionId,
    /// The stored form of its secret.
    pub key: SessionKey,
    /// How it is opened.
    pub method: Method,
    /// The session that this browser had.
    pub replaces: Option<SessionId>,
}

/// What is signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignCheckpoint {
    /// For how many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// The state after them, where it was stored.
    pub state: Option<StateHash>,
}

/// What the first record of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateLog {
    /// Its id.
    pub log: LogId,
    /// The public origin.
    pub origin: String,
    /// By which command.
    pub made_by: MadeBy,
    /// Which key signs.
    pub public_key: [u8; 32],
    /// The version of doorbook.
    pub version: String,
}

/// What was lost; see [`super::event::Event::LogLossAccepted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLoss {
    /// The sequence number of `HEAD`.
    pub head_sequence: u64,
    /// The last acknowledged position.
    pub head_position: Option<Position>,
    /// The leaf hash there.
    pub head_leaf: Hash,
    /// The last position found.
    pub last_found: Option<Position>,
    /// SHA-256 of the file of salvaged records.
    pub salvaged: Option<Hash>,
    /// The first record of the log, to be written again where it is gone as well.
    pub created: Option<CreateLog>,
    /// Who signs from there on, where the record that said so is among those that are lost.
    pub handed: Vec<Handed>,
}

/// A key to which the one before it handed the log over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Which key; see [`super::event::Event::KeyRotated`].
    pub key_id: u32,
    /// The key, with the word of the one before it.
    pub signer: NewSigner,
}

/// Which sessions of a user are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// That one.
    One(SessionId),
    /// All but that one.
    Others(SessionId),
    /// These, as listed.
    Listed(Vec<SessionId>),
    /// All.
    All,
}

impl Which {
    /// Returns how the log names the choice.
    pub fn scope(&self) -> RevokedScope {
        match self {
            Which::One(_) => RevokedScope::One,
            Which::Others(_) => RevokedScope::Others,
            Which::Listed(_) => RevokedScope::Other,
            Which::All => RevokedScope::All,
        }
    }
}

/// Personal facts that were opened for a decision; unknown where they cannot be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The profile as last recorded.
    pub profile: Option<Profile>,
    /// The memberships as last recorded, by the slot where the state keeps them.
    pub memberships: BTreeMap<u16, Membership>,
}

impl Facts {
    /// Returns the private part that says `profile`, where that is news.
    pub fn news(&self, profile: &Profile) -> Option<Private> {
        (self.profile.as_ref() != Some(profile)).then(|| Private::Profile(profile.clone()))
    }
}
