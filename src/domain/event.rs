//! What can happen: every event, in the past tense, and the personal facts that are sealed beside it.
//!
//! An [`Event`] is what everybody who holds the log may read. Whatever names a person or opens an
//! account is a [`Private`] and reaches the log only as a sealed box.

use std::fmt;
use std::net::IpAddr;

use super::id::{DiscordId, GrantId, Hash, LogId, Position, Secret, SessionId, SessionKey, Sub, WriterId};
use super::scopes::Scopes;
use super::time::Timestamp;

/// A fact that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process began to write.
    ServerStarted {
        /// The version of doorbook.
        version: String,
        /// The name of the process in the context of its records.
        writer: WriterId,
        /// SHA-256 of the configuration without its secrets.
        config: Hash,
        /// Records in the log before this one.
        log_size: u64,
    },
    /// A process ended.
    ServerStopped {
        /// Whether all requests were answered and the log was closed in order.
        clean: bool,
    },
    /// The wall clock jumped against the monotonic one.
    ClockStepped {
        /// Where it stood.
        from: Timestamp,
        /// Where it stands.
        to: Timestamp,
    },
    /// The operator went on although acknowledged records are gone.
    ///
    /// Ends every session and every refresh claim before it: what was lost may have been a revocation.
    LogLossAccepted {
        /// The sequence number of `HEAD`.
        head_sequence: u64,
        /// The last position that was acknowledged.
        head_position: Option<Position>,
        /// The leaf hash of the record there.
        head_leaf: Hash,
        /// The last position that was found in one piece.
        last_found: Option<Position>,
        /// SHA-256 of the file of records salvaged from behind a hole.
        salvaged: Option<Hash>,
        /// Where the newest surviving checkpoint stands.
        checkpoint: Option<Position>,
    },
    /// The log began.
    LogCreated {
        /// The id of the log.
        log: LogId,
        /// The public origin, for example `https://login.example.org`.
        origin: String,
        /// The command that made it.
        made_by: MadeBy,
        /// The Ed25519 key that signs checkpoints.
        public_key: [u8; 32],
        /// The version of doorbook.
        version: String,
    },
    /// A sign-in did not come to an end.
    SignInFailed {
        /// How far it came.
        stage: Stage,
        /// Why it ended there.
        code: FailureCode,
    },
    /// Somebody whom Discord knows was not let in.
    SignInDenied {
        /// The index of the term of `allow` that decided, where one did.
        term: Option<u32>,
        /// The rules as they stood.
        rules: Hash,
    },
    /// Failures and denials beyond those that are recorded one by one.
    SignInRolledUp {
        /// The start of the window.
        from: Timestamp,
        /// The end of the window.
        to: Timestamp,
        /// How many of each code, in ascending order of code.
        counts: Vec<(FailureCode, u64)>,
        /// How many addresses they came from.
        distinct_addresses: u64,
    },
    /// Somebody signed in.
    SessionOpened {
        /// The public id.
        session: SessionId,
        /// How.
        method: Method,
        /// Where it counts.
        scope: SessionScope,
        /// Whether the user was an administrator at that moment.
        admin: bool,
        /// The form of the cookie's secret that may be stored.
        key: SessionKey,
        /// When it ends whatever happens.
        expires_at: Timestamp,
        /// When it ends unless it is used.
        idle_deadline: Timestamp,
        /// The rules as they stood.
        rules: Hash,
        /// Whether the user had never been here before.
        first: bool,
        /// The session of the same user that it replaces in the same browser.
        replaces: Option<SessionId>,
    },
    /// A session was used.
    SessionSeen {
        /// Which.
        session: SessionId,
        /// When it ends unless it is used again.
        idle_deadline: Timestamp,
    },
    /// Sessions ended before their time.
    SessionRevoked {
        /// Which.
        sessions: Vec<SessionId>,
        /// How they were chosen.
        scope: RevokedScope,
        /// Why.
        cause: Cause,
    },
    /// Discord gave us an authorization.
    GrantIssued {
        /// Our name for it.
        grant: GrantId,
        /// The Discord application it is for.
        application: DiscordId,
        /// What it allows.
        scopes: Scopes,
        /// When its access token ends.
        expires_at: Timestamp,
        /// Which tokens it has.
        tokens: Fingerprints,
    },
    /// A refresh is about to be sent.
    GrantRefreshClaimed {
        /// Of which grant.
        grant: GrantId,
        /// 1, or 2 after a process died within the first.
        attempt: u8,
        /// Until when the claim keeps others off.
        until: Timestamp,
    },
    /// Discord gave us new tokens.
    GrantRefreshed {
        /// Of which grant.
        grant: GrantId,
        /// What it allows now.
        scopes: Scopes,
        /// When the new access token ends.
        expires_at: Timestamp,
        /// The tokens before.
        old: Fingerprints,
        /// The tokens now.
        new: Fingerprints,
    },
    /// Discord gave us no new tokens.
    GrantRefreshFailed {
        /// Of which grant.
        grant: GrantId,
        /// Why.
        code: FailureCode,
        /// What Discord answered.
        status: Option<u16>,
        /// Of the claim that this concludes.
        attempt: u8,
        /// Whether the grant is lost.
        is_final: bool,
        /// Before when no other refresh is sent.
        not_before: Option<Timestamp>,
    },
    /// An authorization ended, here; `confirmed` says whether Discord knows.
    GrantRevoked {
        /// Which.
        grant: GrantId,
        /// Who or what ended it.
        source: RevokedBy,
        /// Whether Discord has confirmed; otherwise we go on asking.
        confirmed: bool,
    },
    /// Discord has confirmed that an authorization is ended.
    GrantRevocationConfirmed {
        /// Which.
        grant: GrantId,
        /// After how many calls.
        attempts: u32,
    },
    /// The profile is not what it was; what it is now is sealed.
    ProfileObserved,
    /// What the user is in a guild is not what it was; which guild, and what they are there now, is sealed.
    MembershipObserved {
        /// The place where the state keeps it: a guild has the same one each time, so that the newer fact
        /// takes the place of the older one although nobody has opened either.
        slot: u16,
    },
    /// Other rules decide from here on; they are sealed as a text.
    RulesChanged {
        /// The hash of those before; `None` where the log knows of none.
        old: Option<Hash>,
        /// The hash of those that count now.
        new: Hash,
    },
    /// Calls to Discord stopped.
    DiscordUnavailable {
        /// Why.
        cause: OutageCause,
        /// Until when we do not call.
        until: Option<Timestamp>,
    },
    /// Calls to Discord work again.
    DiscordAvailable {
        /// Why they had stopped.
        cause: OutageCause,
        /// Until when we had meant to wait.
        until: Option<Timestamp>,
    },
    /// The log was put back from a copy. Ends every session and every refresh claim before it.
    LogRestored {
        /// How many records the copy had.
        size: u64,
        /// The root of the tree over them.
        root: Hash,
        /// What was put back.
        source: RestoredFrom,
    },
    /// A key was replaced.
    KeyRotated {
        /// Which sort of key.
        purpose: KeyPurpose,
        /// The generation of a root key, or the C2SP key hash of a signer.
        key_id: u32,
        /// The new signer, where it is one.
        signer: Option<NewSigner>,
    },
    /// A key was destroyed, and with it what it sealed.
    KeyDestroyed {
        /// Which sort of key.
        purpose: KeyPurpose,
        /// The month as `yyyymm`.
        key_id: u32,
    },
    /// The user of the record was erased.
    UserErased {
        /// On whose wish.
        requested_by: Requester,
        /// The sessions that ended with it.
        sessions: Vec<SessionId>,
        /// Whether Discord has confirmed the end of the authorization; `None` where there was none.
        confirmed: Option<bool>,
    },
    /// The records so far were signed for.
    CheckpointSigned {
        /// How many.
        size: u64,
        /// The root of the tree over them.
        root: Hash,
        /// The signed note.
        note: String,
        /// The state after them, where it was stored.
        state: Option<StateHash>,
    },
    /// Somebody looked into the log.
    AuditRead(Audit),
    /// Somebody took a copy.
    AuditExported(Audit),
}

/// The key that signs from now on, and the word of the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewSigner {
    /// Ed25519.
    pub public_key: [u8; 32],
    /// Over log and key, by the key before it.
    pub signature: [u8; 64],
}

/// What a stored state must hash to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateHash {
    /// Which fold made it.
    pub fold: u32,
    /// SHA-256 of its bytes.
    pub hash: Hash,
}

/// What somebody asked the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Audit {
    /// Which sort of question.
    pub question: Question,
    /// Who was asked for.
    pub user: Option<Sub>,
    /// From which position on.
    pub from: Option<Position>,
    /// Up to which position.
    pub to: Option<Position>,
    /// How many rows the answer had, where that is known.
    pub rows: Option<u64>,
}

/// A personal fact or a secret of an event; it is only ever stored sealed.
#[derive(Clone, PartialEq, Eq)]
pub enum Private {
    /// Of `grant.issued` and `grant.refreshed`.
    Tokens(Tokens),
    /// Of `profile.observed`.
    Profile(Profile),
    /// Of `membership.observed`.
    Membership(Membership),
    /// Of `rules.changed`: everything that decides, in its canonical form.
    Rules(String),
    /// Of `session.opened`: what the device is called.
    Label(String),
    /// Of `session.revoked`: what the operator wrote.
    Reason(String),
    /// Of `sign_in.denied`: who it was.
    Denied(Box<Stranger>),
    /// Of `audit.read` and `audit.exported`: the networks that were asked for.
    Networks(Vec<String>),
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Private::Tokens(_) => "Tokens(..)",
            Private::Profile(_) => "Profile(..)",
            Private::Membership(_) => "Membership(..)",
            Private::Rules(_) => "Rules(..)",
            Private::Label(_) => "Label(..)",
            Private::Reason(_) => "Reason(..)",
            Private::Denied(_) => "Denied(..)",
            Private::Networks(_) => "Networks(..)",
        })
    }
}

/// The two tokens of an authorization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    /// Opens the API as that user.
    pub access: Secret,
    /// Buys the next pair, once.
    pub refresh: Secret,
}

impl Tokens {
    /// Returns what names these tokens without holding them.
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints { access: self.access.fingerprint(), refresh: self.refresh.fingerprint() }
    }
}

/// SHA-256 of each token of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprints {
    /// Of the access token.
    pub access: Hash,
    /// Of the refresh token.
    pub refresh: Hash,
}

/// Who somebody is, as Discord last said.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// The only name that stays.
    pub id: DiscordId,
    /// The handle; it can change hands.
    pub username: String,
    /// The display name, where one is set.
    pub global_name: Option<String>,
    /// `0`, or four digits of the old naming.
    pub discriminator: String,
    /// The hash of the avatar.
    pub avatar: Option<String>,
    /// For example `en-US`.
    pub locale: Option<String>,
    /// The address, where the scope allows and the account has one.
    pub email: Option<String>,
    /// Whether Discord has verified the address; `None` without the scope.
    pub email_verified: Option<bool>,
}

impl Profile {
    /// Returns the name to show: the display name, else the handle.
    pub fn display_name(&self) -> &str {
        self.global_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.username)
    }

    /// Returns `username`, or `username#1234` for a legacy discriminator.
    pub fn tag(&self) -> String {
        if self.is_legacy() {
            format!("{}#{}", self.username, self.discriminator)
        } else {
            self.username.clone()
        }
    }

    /// Returns whether the account still has four digits behind its name.
    pub fn is_legacy(&self) -> bool {
        !matches!(self.discriminator.as_str(), "" | "0" | "0000")
    }

    /// Returns the address of the avatar at `cdn`; Discord's default one where there is none.
    ///
    /// A hash of an unknown shape never gets into a URL.
    pub fn avatar_url(&self, cdn: &str) -> String {
        let hash = self.avatar.as_deref().filter(|hash| {
            let digits = hash.strip_prefix("a_").unwrap_or(hash);
            digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        let cdn = cdn.trim_end_matches('/');
        match (hash, self.discriminator.parse::<u64>()) {
            (Some(hash), _) => [cdn, "/avatars/", &self.id.to_string(), "/", hash, ".webp"].concat(),
            (None, Ok(digits)) if self.is_legacy() => format!("{cdn}/embed/avatars/{}.png", digits % 5),
            (None, _) => format!("{cdn}/embed/avatars/{}.png", (self.id.0 >> 22) % 6),
        }
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Profile(..)")
    }
}

/// What somebody is in a guild, as Discord last said.
#[derive(Clone, PartialEq, Eq)]
pub struct Membership {
    /// Of which guild.
    pub guild: DiscordId,
    /// Whether they are a member; the rest says nothing where they are not.
    pub member: bool,
    /// The roles they have there.
    pub roles: Vec<DiscordId>,
    /// What they are called there.
    pub nick: Option<String>,
    /// Whether they have still to pass the guild's membership screening.
    pub pending: bool,
}

impl Membership {
    /// Returns what is known of somebody who is no member.
    pub fn none(guild: DiscordId) -> Membership {
        Membership { guild, member: false, roles: vec![], nick: None, pending: false }
    }

    /// Returns the same with each role once and in ascending order: Discord promises no order of them.
    pub fn in_order(mut self) -> Membership {
        self.roles.sort_unstable();
        self.roles.dedup();
        self
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Membership(..)")
    }
}

/// Somebody who was not let in, as Discord described them.
#[derive(Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Who it was.
    pub profile: Profile,
    /// What they were in the guilds that the rules ask about, as far as Discord said.
    pub memberships: Vec<Membership>,
}

impl fmt::Debug for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stranger(..)")
    }
}

/// From where a request came; it is only ever stored sealed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The client's address, where known.
    pub ip: Option<IpAddr>,
    /// How the address was learned.
    pub learned: Learned,
    /// `User-Agent`, at most 512 bytes.
    pub user_agent: Option<String>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin(..)")
    }
}

/// Declares a list of codes as the log keeps them: 0 is "other", and a number that this version does
/// not know stays that number.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        pub enum $name {
            /// None of the others.
            Other,
            $($(#[$vdoc])* $variant,)*
            /// A code of a newer doorbook.
            Unknown(u16),
        }

        impl $name {
            /// Every code of this version.
            pub const ALL: &'static [$name] = &[$name::Other, $($name::$variant),*];

            /// Returns the number that the log keeps.
            pub fn code(self) -> u16 {
                match self {
                    $name::Other => 0,
                    $($name::$variant => $number,)*
                    $name::Unknown(code) => code,
                }
            }

            /// Returns what a number of the log means.
            pub fn from_code(code: u16) -> $name {
                match code {
                    0 => $name::Other,
                    $($number => $name::$variant,)*
                    code => $name::Unknown(code),
                }
            }
        }

        impl fmt::Display for $name {
            /// Writes the stable name, for example in JSON.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $name::Other => f.write_str("other"),
                    $($name::$variant => f.write_str($text),)*
                    $name::Unknown(code) => write!(f, "unknown_{code}"),
                }
            }
        }
    };
}

codes!(
    /// The command that created a log.
    MadeBy {
        /// `doorbook serve`.
        Serve = 1 "serve",
        /// `doorbook demo`; `serve` refuses such a log.
        Demo = 2 "demo",
    }
);
codes!(
    /// How far a sign-in came.
    Stage {
        /// The browser came back from Discord.
        Callback = 1 "callback",
        /// The code was to be exchanged.
        Token = 2 "token",
        /// The user was to be asked for.
        Identity = 3 "identity",
    }
);
codes!(
    /// Why something failed: codes of RFC 6749, and ours.
    FailureCode {
        /// RFC 6749: the user said no.
        AccessDenied = 1 "access_denied",
        /// RFC 6749.
        InvalidRequest = 2 "invalid_request",
        /// RFC 6749.
        InvalidClient = 3 "invalid_client",
        /// RFC 6749: code or refresh token used, expired or revoked.
        InvalidGrant = 4 "invalid_grant",
        /// RFC 6749.
        UnauthorizedClient = 5 "unauthorized_client",
        /// RFC 6749.
        UnsupportedGrantType = 6 "unsupported_grant_type",
        /// RFC 6749.
        InvalidScope = 7 "invalid_scope",
        /// RFC 6749.
        ServerError = 8 "server_error",
        /// RFC 6749.
        TemporarilyUnavailable = 9 "temporarily_unavailable",
        /// RFC 6749.
        UnsupportedResponseType = 10 "unsupported_response_type",
        /// The state is missing, unknown, expired, or another browser's.
        StateMismatch = 32 "state_mismatch",
        /// The code is missing, doubled or malformed.
        CodeRejected = 33 "code_rejected",
        /// Discord could not be reached, was too slow, or answered nonsense.
        DiscordUnavailable = 34 "discord_unavailable",
        /// Discord asked us to wait.
        RateLimited = 35 "rate_limited",
        /// Discord answered 401 to a token that was just issued.
        Unauthorized = 36 "unauthorized",
        /// Nobody knows whether Discord rotated the token.
        OutcomeUnknown = 37 "outcome_unknown",
        /// Discord granted less than was asked for.
        ScopeMissing = 38 "scope_missing",
        /// Not on the list.
        NotAllowed = 39 "not_allowed",
    }
);
codes!(
    /// How a session was opened.
    Method {
        /// Sign-in with Discord.
        Discord = 1 "discord",
        /// Reserved: a pass without a user.
        Pass = 2 "pass",
    }
);
codes!(
    /// How the sessions of a revocation were chosen.
    RevokedScope {
        /// One.
        One = 1 "one",
        /// All but the one that asked.
        Others = 2 "others",
        /// All of the user.
        All = 3 "all",
    }
);
codes!(
    /// Why a session ended before its time.
    Cause {
        /// Signed out.
        Logout = 1 "logout",
        /// Ended from the list of sessions.
        OtherDevice = 2 "other_device",
        /// Signed in again in the same browser.
        Replaced = 3 "replaced",
        /// More sessions than one user may have.
        TooMany = 4 "too_many",
        /// An administrator or the operator.
        Admin = 5 "admin",
        /// The user disconnected Discord here.
        UserRevoked = 6 "user_revoked",
        /// A role was lost.
        RoleLost = 7 "role_lost",
        /// The user removed the application at Discord.
        DiscordDeauthorized = 8 "discord_deauthorized",
        /// Discord refused a token that should be good.
        TokenRefused = 9 "token_refused",
        /// The refresh token is used up and its successor unknown.
        GrantLost = 10 "grant_lost",
        /// A key is no longer trusted.
        KeyCompromise = 11 "key_compromise",
        /// The person was erased.
        Erased = 12 "erased",
    }
);
codes!(
    /// Who or what ended an authorization.
    RevokedBy {
        /// The user, here.
        User = 1 "user",
        /// An administrator.
        Admin = 2 "admin",
        /// The operator, at the command line.
        Operator = 3 "operator",
        /// Discord's signed event.
        Webhook = 4 "webhook",
        /// Discord's answer to a refresh.
        InvalidGrant = 5 "invalid_grant",
        /// A 401 for a token just refreshed.
        TokenRefused = 6 "token_refused",
    }
);
codes!(
    /// Why calls to Discord stopped.
    OutageCause {
        /// A rate limit for all calls.
        GlobalRateLimit = 1 "global_rate_limit",
        /// Cloudflare blocks this address.
        CloudflareBan = 2 "cloudflare_ban",
        /// No answer, or answers of 5xx.
        Unreachable = 3 "unreachable",
    }
);
codes!(
    /// Who caused a record.
    ActorKind {
        /// A browser that is not signed in.
        Unauthenticated = 1 "unauthenticated",
        /// A user.
        User = 2 "user",
        /// A user, as administrator.
        Admin = 3 "admin",
        /// Somebody at the command line.
        Operator = 4 "operator",
        /// doorbook itself.
        System = 5 "system",
        /// Discord.
        Discord = 6 "discord",
    }
);
codes!(
    /// The route of the request that led to a record; never its URL.
    Route {
        /// `/api/auth/discord/login`
        Login = 1 "login",
        /// `/api/auth/discord/redirect`
        Callback = 2 "callback",
        /// `/api/auth/user`, `/api/user/profile`
        User = 3 "user",
        /// `/api/auth/refresh`
        Refresh = 4 "refresh",
        /// `/api/auth/logout`, `/logout`
        Logout = 5 "logout",
        /// `/api/auth/revoke`
        Revoke = 6 "revoke",
        /// `/api/auth/sessions…`
        Sessions = 7 "sessions",
        /// `/`, `/account`
        Pages = 8 "pages",
        /// The control socket.
        Control = 9 "control",
        /// `/auth/…`
        ForwardAuth = 10 "forward_auth",
        /// `/discord/webhook`
        Webhook = 11 "webhook",
        /// `/admin…`
        AdminPages = 12 "admin_pages",
    }
);
codes!(
    /// What a log was put back from.
    RestoredFrom {
        /// A backup.
        Backup = 1 "backup",
        /// An export.
        Import = 2 "import",
    }
);
codes!(
    /// What a key is for.
    KeyPurpose {
        /// The root of the key files.
        Kek = 1 "kek",
        /// Signs checkpoints.
        Signer = 2 "signer",
        /// Seals the addresses and user agents of a month.
        Month = 3 "month",
    }
);
codes!(
    /// On whose wish a person was erased.
    Requester {
        /// Their own.
        User = 1 "user",
        /// The operator's.
        Operator = 2 "operator",
    }
);
codes!(
    /// What the log was asked.
    Question {
        /// `audit log`
        Log = 1 "log",
        /// `audit show`
        Show = 2 "show",
        /// `audit state`
        State = 3 "state",
        /// `audit diff`
        Diff = 4 "diff",
        /// `explain`
        Explain = 5 "explain",
        /// `audit stats`
        Stats = 6 "stats",
        /// `user export`
        User = 7 "user",
        /// `export`
        Export = 8 "export",
        /// `backup`
        Backup = 9 "backup",
    }
);
codes!(
    /// How a client's address was learned.
    Learned {
        /// From the connection.
        Socket = 1 "socket",
        /// From a trusted proxy's header.
        Forwarded = 2 "forwarded",
    }
);

#[expect(clippy::derivable_impls, reason = "the macro that declares the codes has no place for a default")]
impl Default for Learned {
    fn default() -> Self {
        Learned::Other
    }
}

/// Where a session counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionScope {
    /// Everywhere.
    All,
    /// On one host.
    Host(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: u64, discriminator: &str, avatar: Option<&str>) -> Profile {
        Profile {
            id: DiscordId(id),
            username: "nelly".into(),
            global_name: None,
            discriminator: discriminator.into(),
            avatar: avatar.map(Into::into),
            locale: None,
            email: None,
            email_verified: None,
        }
    }

    #[test]
    fn everybody_has_an_avatar() {
        let url = |p: Profile| p.avatar_url("https://cdn.discordapp.com/");
        let hash = "a_3f1c5d7e9b2a4c6d8e0f1a2b3c4d5e6f";
        assert_eq!(
            url(profile(1, "0", Some(hash))),
            format!("https://cdn.discordapp.com/avatars/1/{hash}.webp")
        );
        assert!(url(profile(555_769_466_601_213_960, "0", None)).ends_with("/embed/avatars/3.png"));
        assert!(url(profile(1_169_698_460_971_323_693, "", None)).ends_with("/embed/avatars/2.png"));
        assert!(url(profile(1, "0042", None)).ends_with("/embed/avatars/2.png"));
        assert!(url(profile(1, "0", Some("../../evil"))).ends_with("/embed/avatars/0.png"));
    }

    #[test]
    fn names_fall_back_to_the_handle() {
        let mut nelly = profile(1, "0042", None);
        assert_eq!((nelly.display_name(), nelly.tag().as_str()), ("nelly", "nelly#0042"));
        nelly.global_name = Some("Nelly".into());
        nelly.discriminator = "0".into();
        assert_eq!((nelly.display_name(), nelly.tag().as_str()), ("Nelly", "nelly"));
    }

    #[test]
    fn codes_keep_numbers_they_do_not_know() {
        for code in FailureCode::ALL {
            assert_eq!(FailureCode::from_code(code.code()), *code);
        }
        assert_eq!(Cause::from_code(999), Cause::Unknown(999));
        assert_eq!(Cause::Unknown(999).code(), 999);
        assert_eq!(Cause::Unknown(999).to_string(), "unknown_999");
    }
}
