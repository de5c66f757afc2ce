//! A small town that lives the same life every time: people, their browsers and their troubles, in a real log.

mod golden;
mod village;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::village::{GUILD, STAFF, Village, member};
use super::{LogSource, Opener, Reader};
use crate::app::{Accepted, App, By, Role, Settings};
use crate::clock::{Clock as _, ManualClock};
use crate::disk::RealDisk;
use crate::domain::command::{Command, SignIn, Which};
use crate::domain::event::{
    Cause, FailureCode, Learned, MadeBy, Membership, Method, Origin, OutageCause, Profile, RevokedBy, Stage,
    Tokens,
};
use crate::domain::id::{DiscordId, GrantId, Hash, RequestId, Secret, SessionId, SessionToken, Sub};
use crate::domain::record::Actor;
use crate::domain::rules::{Rules, Term};
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;
use crate::entropy::{Entropy, SeededEntropy};
use crate::event_log::Probe;

/// When the life of the town begins: 2026-01-02T03:04:05Z.
pub(crate) const BEGINNING: Timestamp = Timestamp(1_767_323_045_000);

/// Twelve people; the last two may not come in.
const PEOPLE: u64 = 12;

/// The town, while a server runs in it.
pub(crate) struct Town {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: ManualClock,
    pub(crate) app: Arc<App>,
    entropy: Arc<dyn Entropy>,
    starts: u32,
}

impl Town {
    pub(crate) async fn founded() -> Town {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(BEGINNING);
        let app = open(dir.path().join("data"), &clock, 0, its_rules()).await;
        Town { dir, clock, app, entropy: Arc::new(SeededEntropy::new("the life of a town")), starts: 0 }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(Arc::new(LogSource(self.app.log().clone())), Opener::new(Some(self.app.keys().clone())))
    }

    /// Stops the server in order and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.app.close().await.unwrap();
        self.clock.advance(Duration::from_secs(30));
        self.starts += 1;
        self.app = open(self.data_dir(), &self.clock, self.starts, its_rules()).await;
    }

    /// Starts the server again to look into its log.
    async fn restart_to_read(&mut self) {
        self.starts += 1;
        self.app = open(self.data_dir(), &self.clock, self.starts, its_rules()).await;
    }

    /// Lives until the log has so many records.
    pub(crate) async fn live_until(&mut self, records: u64) {
        while self.app.frontier().size() < records {
            self.step().await;
        }
    }

    fn draw(&self, below: u64) -> u64 {
        u64::from_be_bytes(self.entropy.draw()) % below
    }

    /// Something happens; what it is was decided when the town was founded.
    async fn step(&mut self) {
        self.clock.advance(Duration::from_secs(60 + self.draw(4 * 3_600)));
        let who = self.draw(PEOPLE);
        match self.draw(20) {
            0..8 => self.sign_in(who).await,
            8..11 => self.refresh(who).await,
            11..13 => self.seen(who).await,
            13 => self.log_out(who).await,
            14 => self.sign_out_everywhere(who).await,
            15 => self.revoke(who).await,
            16 => self.fail().await,
            17 => self.discord_is_away().await,
            18 => drop(self.app.sign_checkpoint().await.unwrap()),
            _ => self.end_by_operator(who).await,
        }
    }

    pub(crate) fn id(who: u64) -> DiscordId {
        DiscordId(80_351_110_224_678_912 + who)
    }

    pub(crate) fn sub(&self, who: u64) -> Option<Sub> {
        self.app.keys().sub_of(Town::id(who))
    }

    fn by(&self, who: u64, actor: Actor) -> By {
        let ip: IpAddr = match self.draw(3) {
            0 => format!("2001:db8::{}", who + 1).parse().unwrap(),
            n => format!("203.0.113.{}", 10 * who + n).parse().unwrap(),
        };
        let agent = ["Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Mozilla/5.0 (iPhone)"]
            [usize::from(self.draw(2) == 1)];
        let origin = Origin { ip: Some(ip), learned: Learned::Socket, user_agent: Some(agent.into()) };
        let request = Some(RequestId(self.entropy.draw()));
        By { actor, request, cause: None, route: None, origin: Some(origin) }
    }

    fn profile(&self, who: u64) -> Profile {
        // Now and then somebody takes another name.
        let name =
            if self.draw(6) == 0 { format!("Person {who} the Great") } else { format!("Person {who}") };
        Profile {
            id: Town::id(who),
            username: format!("person.{who}"),
            global_name: Some(name),
            discriminator: "0".into(),
            avatar: None,
            locale: Some("en-US".into()),
            email: Some(format!("person.{who}@example.org")),
            email_verified: Some(true),
        }
    }

    pub(crate) async fn sign_in(&self, who: u64) {
        self.sign_in_with(who, vec![]).await;
    }

    pub(crate) async fn sign_in_with(&self, who: u64, memberships: Vec<Membership>) {
        let admitted = who < PEOPLE - 2;
        let user = match admitted {
            true => Some(self.app.keys().ensure_subject(Town::id(who)).await.unwrap()),
            false => None,
        };
        let token =
            |sort: &str| Secret::new(format!("canary {sort} {}", hex::encode(self.entropy.draw::<8>())));
        let command = Command::SignIn(Box::new(SignIn {
            user,
            profile: self.profile(who),
            memberships,
            grant: GrantId(self.entropy.draw()),
            application: DiscordId(1_100_000_000_000_000_001),
            scopes: Scopes::new(["identify", "email"]).expect("scopes"),
            expires_at: self.clock.now().plus(Duration::from_secs(7 * 86_400)),
            tokens: Tokens { access: token("access"), refresh: token("refresh") },
            session: SessionId(self.entropy.draw()),
            key: SessionToken::new(self.entropy.draw()).key(),
            method: Method::Discord,
            replaces: None,
        }));
        let actor = user.map_or(Actor::NOBODY, |sub| Actor::user(sub, None));
        self.app.execute(command, &self.by(who, actor)).await.unwrap();
    }

    async fn refresh(&self, who: u64) {
        let Some(user) = self.sub(who) else { return };
        let Some(grant) = self.app.grant_of(user) else { return };
        let by = self.by(who, Actor::user(user, None));
        let until = self.clock.now().plus(Duration::from_secs(60));
        let claim = Command::ClaimRefresh { user, grant: grant.id, attempt: 1, until };
        self.app.execute(claim, &by).await.unwrap();
        let conclusion = if self.draw(4) == 0 {
            Command::FailRefresh {
                user,
                grant: grant.id,
                code: FailureCode::DiscordUnavailable,
                status: Some(502),
                attempt: 1,
                is_final: false,
                not_before: None,
            }
        } else {
            let token =
                |sort: &str| Secret::new(format!("canary {sort} {}", hex::encode(self.entropy.draw::<8>())));
            Command::ConcludeRefresh {
                user,
                grant: grant.id,
                scopes: grant.scopes,
                expires_at: self.clock.now().plus(Duration::from_secs(7 * 86_400)),
                tokens: Tokens { access: token("access"), refresh: token("refresh") },
            }
        };
        self.app.execute(conclusion, &by).await.unwrap();
    }

    async fn seen(&self, who: u64) {
        let Some((user, session)) = self.session(who) else { return };
        let by = self.by(who, Actor::user(user, Some(session)));
        self.app.execute(Command::SeeSession { session }, &by).await.unwrap();
    }

    fn session(&self, who: u64) -> Option<(Sub, SessionId)> {
        let user = self.sub(who)?;
        self.app.sessions_of(user).first().map(|live| (user, live.id))
    }

    pub(crate) async fn log_out(&self, who: u64) {
        let Some((user, session)) = self.session(who) else { return };
        let by = self.by(who, Actor::user(user, Some(session)));
        self.app.end_sessions(user, Which::One(session), Cause::Logout, None, &by).await.unwrap();
    }

    async fn sign_out_everywhere(&self, who: u64) {
        let Some((user, session)) = self.session(who) else { return };
        let by = self.by(who, Actor::user(user, Some(session)));
        self.app.end_sessions(user, Which::All, Cause::OtherDevice, None, &by).await.unwrap();
    }

    async fn end_by_operator(&self, who: u64) {
        let Some(user) = self.sub(who) else { return };
        let by = By { actor: Actor::OPERATOR, ..By::SYSTEM };
        let reason = Some("a stolen laptop".to_owned());
        self.app.end_sessions(user, Which::All, Cause::Admin, reason, &by).await.unwrap();
    }

    async fn revoke(&self, who: u64) {
        let Some(user) = self.sub(who) else { return };
        let confirmed = self.draw(2) == 0;
        let (source, cause) = (RevokedBy::User, Cause::UserRevoked);
        let command = Command::Revoke { user, source, cause, confirmed, only: None };
        self.app.execute(command, &self.by(who, Actor::user(user, None))).await.unwrap();
        let pending =
            self.app.state().user(user).and_then(|user| user.revocation.as_ref().map(|found| found.grant.id));
        if let Some(grant) = pending {
            let confirm = Command::ConfirmRevocation { user, grant, attempts: 1 };
            self.app.execute(confirm, &By::SYSTEM).await.unwrap();
        }
    }

    async fn fail(&self) {
        let by = self.by(PEOPLE + self.draw(5), Actor::NOBODY);
        let command = Command::FailSignIn { stage: Stage::Callback, code: FailureCode::StateMismatch };
        self.app.execute(command, &by).await.unwrap();
    }

    async fn discord_is_away(&self) {
        let until = Some(self.clock.now().plus(Duration::from_secs(600)));
        let away = Command::NoteOutage { cause: OutageCause::GlobalRateLimit, until };
        self.app.execute(away, &By::SYSTEM).await.unwrap();
        self.clock.advance(Duration::from_secs(601));
        self.app.execute(Command::NoteRecovery, &By::SYSTEM).await.unwrap();
    }
}

fn its_rules() -> Rules {
    Rules { allow: Some((0..PEOPLE - 2).map(|who| Term::User(Town::id(who))).collect()), ..Rules::default() }
}

async fn open(data_dir: PathBuf, clock: &ManualClock, start: u32, rules: Rules) -> Arc<App> {
    let settings = Settings {
        data_dir,
        encrypt_secret: None,
        cookie_secret: None,
        role: Role::Server {
            made_by: MadeBy::Serve,
            origin: "https://login.example.org".into(),
            config: Hash([0x63; 32]),
            accepted: Accepted::default(),
        },
        version: "0.1.0".into(),
        rules,
        probe: Probe::InProcess,
    };
    let entropy = Arc::new(SeededEntropy::new(&format!("start {start}")));
    let clock = Arc::new(clock.clone());
    let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
    opening.await.unwrap().unwrap().replay().await.unwrap().0
}
