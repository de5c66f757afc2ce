//! People who sign in, are seen and refresh, through the one door: a log as a server writes it, of any length.
//!
//! The same seed gives the same sessions and their secrets. Time moves with every record, and ends when the life began to be told: so the
//! sessions are live for whoever asks about them now.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorbook::app::{Accepted, App, By, ExecuteError, Role, Settings};
use doorbook::clock::{Clock as _, ManualClock, SystemClock};
use doorbook::disk::RealDisk;
use doorbook::domain::command::{Command, SignIn};
use doorbook::domain::event::{Learned, MadeBy, Method, Origin, Profile, Route, Tokens};
use doorbook::domain::id::{DiscordId, GrantId, Hash, RequestId, Secret, SessionId, SessionToken, Sub};
use doorbook::domain::record::Actor;
use doorbook::domain::rules::Rules;
use doorbook::domain::scopes::Scopes;
use doorbook::domain::time::Timestamp;
use doorbook::entropy::{Entropy, SeededEntropy};
use doorbook::event_log::Probe;
use doorbook::event_log::states::EVERY;
use tokio::task::JoinSet;

use crate::Failure;

/// How long before now the life begins: shorter than a session lives unused.
const AGE: Duration = Duration::from_secs(2 * 86_400);
/// How many people act at once; they share syncs.
const AT_ONCE: u64 = 1_024;
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// A log, and who lives in it.
#[derive(Clone)]
pub(crate) struct Town {
    pub(crate) app: Arc<App>,
    clock: ManualClock,
    /// How far time moves with each thing that happens.
    step: Duration,
    entropy: Arc<dyn Entropy>,
    /// The newest multiple of records whose state is stored.
    stored: Arc<AtomicU64>,
}

impl Town {
    /// Opens a log in `data_dir` in which about so many things are going to happen.
    pub(crate) async fn open(data_dir: &Path, things: u64) -> Result<Town, Failure> {
        let now = SystemClock::new().now();
        let clock = ManualClock::new(now.minus(AGE));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new("a town of any size"));
        let settings = Settings {
            data_dir: data_dir.to_owned(),
            encrypt_secret: None,
            cookie_secret: None,
            role: Role::Server {
                made_by: MadeBy::Serve,
                origin: crate::servers::ORIGIN.to_owned(),
                config: Hash([0; 32]),
                accepted: Accepted::default(),
            },
            version: doorbook::serve::VERSION.to_owned(),
            rules: Rules::default(),
            probe: Probe::InProcess,
        };
        let (its_clock, its_entropy) = (Arc::new(clock.clone()), entropy.clone());
        let opening =
            tokio::task::spawn_blocking(|| App::open(settings, its_clock, its_entropy, Arc::new(RealDisk)));
        let (app, _) = opening.await??.replay().await?;
        app.start_background(Duration::from_secs(90 * 86_400));
        let step = AGE / u32::try_from(things.max(1))?;
        Ok(Town { app, clock, step, entropy, stored: Arc::default() })
    }

    /// Lets so many people sign in, each from so many browsers.
    pub(crate) async fn sign_everybody_in(&self, people: u64, browsers: u64) -> Result<(), Failure> {
        for browser in 0..browsers {
            self.each(people, move |town, person| async move {
                town.sign_in(person, person + browser * people, None).await.map(drop)
            })
            .await?;
        }
        Ok(())
    }

    /// Lets those people live on until the log has so many records: in a second browser they sign in again and
    /// again, are seen, and refresh. The sessions of the first stay.
    pub(crate) async fn live_until(&self, people: u64, records: u64) -> Result<(), Failure> {
        let mut round = 1;
        while self.app.frontier().size() < records {
            self.each(people, move |town, person| async move {
                if town.app.frontier().size() >= records {
                    return Ok(());
                }
                let last = (round > 1).then(|| person + (round - 1) * people);
                let session = town.sign_in(person, person + round * people, last).await?;
                town.refresh(person).await?;
                town.see(session).await
            })
            .await?;
            round += 1;
        }
        Ok(())
    }

    /// Does the same for everybody, many at once.
    async fn each<F, Fut>(&self, people: u64, what: F) -> Result<(), Failure>
    where
        F: Fn(Town, u64) -> Fut + Copy + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send,
    {
        let mut lanes = JoinSet::new();
        for lane in 0..AT_ONCE.min(people) {
            let town = self.clone();
            lanes.spawn(async move {
                let mut person = lane;
                while person < people {
                    town.let_a_state_be_stored().await?;
                    what(town.clone(), person).await?;
                    person += AT_ONCE;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = lanes.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Waits where a state is being stored: no real town fills the log faster than that.
    async fn let_a_state_be_stored(&self) -> Result<(), Failure> {
        const LEEWAY: u64 = 2_048;
        loop {
            let size = self.app.frontier().size();
            let wanted = size / EVERY * EVERY;
            if size % EVERY < LEEWAY || self.stored.load(Ordering::Relaxed) >= wanted {
                return Ok(());
            }
            if let Some(newest) = self.app.states().list()?.last() {
                self.stored.fetch_max(*newest, Ordering::Relaxed);
            }
            SystemClock::new().sleep(Duration::from_millis(20)).await;
        }
    }

    /// Signs somebody in; the number of the session is its secret.
    pub(crate) async fn sign_in(
        &self,
        person: u64,
        session: u64,
        instead_of: Option<u64>,
    ) -> Result<SessionId, Failure> {
        self.clock.advance(self.step);
        let id = discord_id(person);
        let user = self.app.keys().ensure_subject(id).await?;
        let profile = Profile {
            id,
            username: format!("person{person}"),
            global_name: Some(format!("Person {person}")),
            discriminator: "0".into(),
            avatar: Some("a_1269e74af4df7417b13759eae50c83dc".into()),
            locale: Some("en-US".into()),
            email: None,
            email_verified: None,
        };
        let command = Command::SignIn(Box::new(SignIn {
            user: Some(user),
            profile,
            memberships: vec![],
            grant: GrantId(self.entropy.draw()),
            application: DiscordId(1_457_667_441_164_427_281),
            scopes: Scopes::new(["identify"])?,
            expires_at: self.in_a_week(),
            tokens: self.tokens(),
            session: session_id(session),
            key: session_token(session).key(),
            method: Method::Discord,
            replaces: instead_of.map(session_id),
        }));
        self.done(command, &self.by(person, Actor::user(user, None), Route::Callback)).await?;
        Ok(session_id(session))
    }

    async fn refresh(&self, person: u64) -> Result<(), Failure> {
        self.clock.advance(self.step);
        let user = self.user(person)?;
        let grant = self.app.grant_of(user).ok_or("there is no grant")?;
        let by = By { origin: None, ..self.by(person, Actor::SYSTEM, Route::Refresh) };
        let until = self.clock.now().plus(Duration::from_secs(60));
        self.done(Command::ClaimRefresh { user, grant: grant.id, attempt: 1, until }, &by).await?;
        self.clock.advance(self.step);
        let (expires_at, tokens) = (self.in_a_week(), self.tokens());
        let scopes = grant.scopes.clone();
        self.done(Command::ConcludeRefresh { user, grant: grant.id, scopes, expires_at, tokens }, &by).await
    }

    async fn see(&self, session: SessionId) -> Result<(), Failure> {
        self.clock.advance(self.step);
        let user = self.app.session_by_id(session).ok_or("there is no such session")?.user;
        let by = By { actor: Actor::user(user, Some(session)), ..By::SYSTEM };
        self.done(Command::SeeSession { session }, &by).await
    }

    async fn done(&self, command: Command, by: &By) -> Result<(), Failure> {
        match self.app.execute(command, by).await {
            Ok(_) => Ok(()),
            Err(ExecuteError::Refused(refused)) => Err(refused.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn user(&self, person: u64) -> Result<Sub, Failure> {
        Ok(self.app.keys().sub_of(discord_id(person)).ok_or("there is no such person")?)
    }

    fn in_a_week(&self) -> Timestamp {
        self.clock.now().plus(Duration::from_secs(7 * 86_400))
    }

    /// As long as Discord's are.
    fn tokens(&self) -> Tokens {
        let token = || Secret::new(hex::encode(self.entropy.draw::<15>()));
        Tokens { access: token(), refresh: token() }
    }

    fn by(&self, person: u64, actor: Actor, route: Route) -> By {
        let origin = Origin {
            ip: Some(address_of(person)),
            learned: Learned::Socket,
            user_agent: Some(AGENT.to_owned()),
        };
        let request = Some(RequestId(self.entropy.draw()));
        By { actor, request, cause: None, route: Some(route), origin: Some(origin) }
    }
}

/// Returns the Discord id of a person.
pub(crate) fn discord_id(person: u64) -> DiscordId {
    DiscordId(crate::servers::FIRST_PERSON + person)
}

fn address_of(person: u64) -> IpAddr {
    let [.., a, b, c] = person.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

/// Returns the public id of a session.
pub(crate) fn session_id(session: u64) -> SessionId {
    let mut id = [0; 16];
    id.copy_from_slice(&Hash::of(&session.to_be_bytes()).0[..16]);
    SessionId(id)
}

/// Returns the secret of a session, which whoever asks the server can work out again.
pub(crate) fn session_token(session: u64) -> SessionToken {
    SessionToken::new(Hash::of(&[b"secret".as_slice(), &session.to_be_bytes()].concat()).0)
}
