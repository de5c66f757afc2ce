//! A data directory and what is told in it: starts, and people who sign in.

use std::path::Path;
use std::sync::Arc;

use super::{Accepted, App, By, OpenError, Replayed, Role, Settings};
use crate::clock::{Clock as _, ManualClock};
use crate::disk::RealDisk;
use crate::domain::command::{Command, SignIn};
use crate::domain::event::{MadeBy, Membership, Method, Origin, Profile, Tokens};
use crate::domain::id::{DiscordId, GrantId, Hash, Secret, SessionId, SessionKey, Sub};
use crate::domain::rules::Rules;
use crate::domain::scopes::Scopes;
use crate::domain::time::Timestamp;
use crate::entropy::SeededEntropy;
use crate::event_log::Probe;

/// A server that has nothing to accept.
pub(super) fn server() -> Role {
    Role::Server {
        made_by: MadeBy::Serve,
        origin: "https://login.example.org".into(),
        config: Hash([0; 32]),
        accepted: Accepted::default(),
    }
}

/// Settings without secrets or rules.
pub(super) fn settings(data_dir: &Path, role: Role) -> Settings {
    Settings {
        data_dir: data_dir.into(),
        encrypt_secret: None,
        cookie_secret: None,
        role,
        version: "0.1.0".into(),
        rules: Rules::default(),
        probe: Probe::InProcess,
    }
}

/// Where one server after the other lives.
pub(super) struct House {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: ManualClock,
}

impl House {
    pub(super) fn new() -> House {
        let clock = ManualClock::new(Timestamp(1_767_323_045_000));
        House { dir: tempfile::tempdir().unwrap(), clock }
    }

    pub(super) async fn open(&self) -> (Arc<App>, Replayed) {
        self.open_with(Rules::default()).await.unwrap()
    }

    pub(super) async fn open_with(&self, rules: Rules) -> Result<(Arc<App>, Replayed), OpenError> {
        let settings = Settings { rules, ..settings(&self.dir.path().join("data"), server()) };
        // What is drawn at a later start must be something else.
        let seed = format!("a start at {}", self.clock.now());
        self.clock.advance(std::time::Duration::from_secs(1));
        let (clock, entropy) = (Arc::new(self.clock.clone()), Arc::new(SeededEntropy::new(&seed)));
        let opening = tokio::task::spawn_blocking(|| App::open(settings, clock, entropy, Arc::new(RealDisk)));
        opening.await.unwrap()?.replay().await
    }
}

/// Signs somebody in and returns who that is.
pub(super) async fn sign_in(app: &App, who: u8, session: u8) -> Sub {
    sign_in_with(app, who, session, vec![]).await
}

/// The same, with what they are in guilds.
pub(super) async fn sign_in_with(app: &App, who: u8, session: u8, memberships: Vec<Membership>) -> Sub {
    let id = DiscordId(u64::from(who) + 80_351_110_224_678_912);
    let profile = Profile {
        id,
        username: format!("person.{who}"),
        global_name: None,
        discriminator: "0".into(),
        avatar: None,
        locale: None,
        email: None,
        email_verified: None,
    };
    let token = |sort: &str| Secret::new(format!("{sort} {session}"));
    let user = app.keys().ensure_subject(id).await.unwrap();
    let command = Command::SignIn(Box::new(SignIn {
        user: Some(user),
        profile,
        memberships,
        grant: GrantId([session; 16]),
        application: DiscordId(1),
        scopes: Scopes::new(["identify"]).expect("scopes"),
        expires_at: Timestamp(1_767_923_045_000),
        tokens: Tokens { access: token("access"), refresh: token("refresh") },
        session: SessionId([session; 16]),
        key: SessionKey([session; 32]),
        method: Method::Discord,
        replaces: None,
    }));
    let origin = Origin { user_agent: Some("a browser".into()), ..Default::default() };
    assert!(app.execute(command, &By { origin: Some(origin), ..By::SYSTEM }).await.unwrap().applied());
    user
}
