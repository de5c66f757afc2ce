//! Secrets and personal facts with known values go through a whole life; then everything is searched for them.
//!
//! Searched are the data directory but for its keys, the traces, the answers and the state as it prints itself,
//! for each value as it is, in hexadecimal, in base64 at every alignment and URL-encoded.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use doorbook::app::By;
use doorbook::discord::stand_in::faults::{Fault, FaultKind};
use doorbook::discord::stand_in::requests::Route;
use doorbook::domain::command::Command;
use doorbook::domain::event::Membership;
use doorbook::domain::id::DiscordId;
use doorbook::domain::rules::{Rules, Term};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::guarded::{Proxy, RULES, Visitor};
use crate::harness::{Browser, CLIENT_SECRET, DISCORD, Exchange, House, MARISOL, ORIGIN, Plan};

const COOKIE_SECRET: &str = "canary-cookie-secret-0123456789-abcdefghijkl";
const ENCRYPT_SECRET: &str = "canary-encrypt-secret-0123456789-abcdefghijk";
const NAME: &str = "Canary Nightingale";
const USERNAME: &str = "canary.nightingale";
const EMAIL: &str = "canary.nightingale@example.test";
const ADDRESS: &str = "203.0.113.77";
const AGENT: &str = "CanaryBrowser/7.25 (X11; Nest)";
const GUILD: DiscordId = DiscordId(191_919_191_919_191_919);
const ROLE: DiscordId = DiscordId(292_929_292_929_292_929);
const NICK: &str = "Canary of the Guild";
const RULED: DiscordId = DiscordId(393_939_393_939_393_939);
const REFERER: &str = "https://app.example.test/inbox?ticket=canary-referer";
const ERROR_BODY: &str = "canary-error-body";

/// A value that must not be found, and what it is.
struct Canary {
    what: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    fn new(what: &'static str, value: impl AsRef<[u8]>) -> Canary {
        assert!(value.as_ref().len() >= 8, "{what} is too short to be told from chance");
        Canary { what, forms: forms(value.as_ref()) }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        !Search::new(&[self]).find("it", text).is_empty()
    }
}

/// A search for all forms of many canaries at once: a log has megabytes.
struct Search<'a> {
    /// Whether some form begins with these two bytes.
    begins: Vec<bool>,
    forms: HashMap<[u8; 2], Vec<(&'static str, &'a [u8])>>,
}

impl<'a> Search<'a> {
    fn new(canaries: &[&'a Canary]) -> Search<'a> {
        let mut search = Search { begins: vec![false; 65_536], forms: HashMap::new() };
        for canary in canaries {
            for form in &canary.forms {
                let start = [form[0], form[1]];
                search.begins[usize::from(u16::from_be_bytes(start))] = true;
                search.forms.entry(start).or_default().push((canary.what, form));
            }
        }
        search
    }

    /// Returns which canaries are in a place, and what stands around them.
    fn find(&self, place: &str, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (at, pair) in text.windows(2).enumerate() {
            let start = [pair[0], pair[1]];
            if !self.begins[usize::from(u16::from_be_bytes(start))] {
                continue;
            }
            for (what, form) in &self.forms[&start] {
                if text[at..].starts_with(form) {
                    let around = &text[at.saturating_sub(200)..text.len().min(at + 200)];
                    found.push(format!("{what} in {place}: {}", around.escape_ascii()));
                }
            }
        }
        found
    }
}

/// Every way in which a value could be written.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let percent = percent_encode(value, NON_ALPHANUMERIC).to_string();
    let form: String = url::form_urlencoded::byte_serialize(value).collect();
    let mut forms = vec![
        value.to_vec(),
        hex::encode(value).into_bytes(),
        hex::encode_upper(value).into_bytes(),
        percent.to_lowercase().into_bytes(),
        percent.into_bytes(),
        form.into_bytes(),
    ];
    for before in 0..3 {
        // Where the value begins within a group of three bytes changes how it reads; characters that share
        // bits with a neighbour are left out.
        let shifted = [&vec![0; before], value].concat();
        let (from, to) = ((8 * before).div_ceil(6), 8 * shifted.len() / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&shifted).into_bytes()[from..to].to_vec());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Returns every file below a directory with its bytes, but for `keys`.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && entry.file_name() != "keys" {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found
}

/// What the whole process traces while somebody listens.
static TRACES: Mutex<Option<Vec<u8>>> = Mutex::new(None);

struct Listener;

impl io::Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(traces) = TRACES.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            traces.extend(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen_to_traces() {
    // As talkative as can be, the libraries included; what sled and the event loop say are addresses of pages.
    let filter: Targets = "trace,sled=info,mio=info".parse().expect("a filter");
    *TRACES.lock().unwrap() = Some(Vec::new());
    let lines = fmt::layer().json().with_writer(|| Listener).with_filter(filter);
    Registry::default().with(lines).try_init().expect("only this story listens");
}

/// Stands between doorbook and Discord, and keeps every byte of both.
async fn wiretap(discord: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let tap = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tap.local_addr().expect("an address");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = tap.accept().await {
            let far = TcpStream::connect(discord).await.expect("discord is up");
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(pass_on(near_in, far_out, hears.clone()));
            tokio::spawn(pass_on(far_in, near_out, hears.clone()));
        }
    });
    (address, heard)
}

async fn pass_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    heard: Arc<Mutex<Vec<u8>>>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        heard.lock().unwrap().extend(&bytes[..len]);
        if to.write_all(&bytes[..len]).await.is_err() {
            break;
        }
    }
}

/// Returns every text between `before` and the next of `ends`.
fn between<'a>(text: &'a str, before: &str, ends: &[char]) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}

/// Discord tells what the canary is in a guild, and the operator asks for a role there.
async fn in_a_guild(house: &House) {
    let app = &house.doorbook().app;
    let user = app.keys().sub_of(MARISOL).expect("a pseudonym");
    let nick = Some(NICK.to_owned());
    let membership = Membership { member: true, roles: vec![ROLE], nick, ..Membership::none(GUILD) };
    let observe = Command::ObserveMemberships { user, memberships: vec![membership.clone()] };
    app.execute(observe, &By::SYSTEM).await.expect("recorded");
    assert_eq!(app.memberships_of(user).expect("known")[..], [membership]);
    let rules = Rules { admins: vec![Term::Role { guild: GUILD, role: RULED }], ..(*app.rules()).clone() };
    assert!(app.change_rules(rules, &By::SYSTEM).await.expect("recorded").is_some());
}

/// The canary goes to an app on another host; returns what its browser and the addresses held on the way.
async fn at_an_app(house: &House) -> Vec<Canary> {
    let mut visitor = Visitor::new(house, Proxy::Forward, MARISOL);
    let mut next = Some("http://wiki.example.net/".to_owned());
    let mut held = Vec::new();
    while let Some(url) = next {
        held.extend(between(&url, "?t=", &['&']).iter().map(|ticket| Canary::new("a ticket", ticket)));
        let (landed, then) = visitor.step(&url).await;
        for cookie in &visitor.jar {
            let what = match cookie.name.as_str() {
                "doorbook" => "the session's secret of a visitor",
                "doorbook-app" => "the cookie of an app",
                name if name.starts_with("doorbook-bind-") => "a binding",
                name if name.starts_with("doorbook-login-") => "a login attempt",
                name => panic!("what is {name}?"),
            };
            held.push(Canary::new(what, &cookie.value));
            if what == "the cookie of an app" {
                // The rest is public: what it is authenticated with is enough to make it again.
                let bytes = URL_SAFE_NO_PAD.decode(&cookie.value).expect("base64");
                held.push(Canary::new("the tag of an app's cookie", &bytes[bytes.len() - 16..]));
            }
        }
        assert!(then.is_some() || landed.is_app, "{landed:?}");
        next = then;
    }
    for what in ["a ticket", "the cookie of an app", "the tag of an app's cookie", "a binding"] {
        assert!(held.iter().any(|canary| canary.what == what), "{what}");
    }
    held
}

/// The canary's own browser, with its own address.
async fn send(browser: &mut Browser, method: &str, path: &str, heard: &mut Vec<Exchange>) -> Exchange {
    let headers = [
        ("User-Agent", AGENT),
        ("X-Forwarded-For", ADDRESS),
        ("Referer", REFERER),
        ("Authorization", "Bearer canary-authorization"),
        ("Accept", if path == "/account" { "text/html" } else { "*/*" }),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "navigate"),
    ];
    let headers = if method == "GET" { &headers[..] } else { &headers[..6] };
    let answer = browser.send(method, path, headers, "").await;
    heard.push(answer.clone());
    answer
}

/// vouch traces what Discord says of a person, address and all; the tutorial printed tokens and gave them to browsers.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_personal_fact_is_in_the_log_the_traces_or_an_answer() {
    listen_to_traces();
    let env =
        vec![("COOKIE_SECRET", COOKIE_SECRET.to_owned()), ("ENCRYPT_SECRET", ENCRYPT_SECRET.to_owned())];
    let mut house = House::closed(Plan { env, file: RULES.into(), ..Plan::default() }).await;
    let api = house.env().into_iter().find(|(name, _)| name == "DISCORD_API_URL").expect("it is set").1;
    let discord = api.trim_start_matches("http://").trim_end_matches("/api/v10").parse().expect("an address");
    let (tap, wire) = wiretap(discord).await;
    house.plan().env.push(("DISCORD_API_URL", format!("http://{tap}/api/v10")));
    house.start().await.expect("doorbook starts");
    house.discord().change_person(MARISOL, |person| {
        person.global_name = Some(NAME.into());
        person.username = USERNAME.into();
        person.email = Some(EMAIL.into());
    });

    // A whole life: in, to an app, looked at, refreshed, out, in again, refused by Discord, and disconnected.
    let mut answers = Vec::new();
    let mut browser = house.browser();
    let (mut states, mut secrets, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for life in 0..3 {
        let begun = send(&mut browser, "GET", "/api/auth/discord/login", &mut answers).await;
        let location = begun.header("location").expect("a location").to_owned();
        states.extend(between(&location, "&state=", &['&']).into_iter().map(str::to_owned));
        let callback = browser.authorize(house.discord(), &location, MARISOL).await;
        if life == 1 {
            let body = format!("{{\"error\":\"invalid_request\",\"error_description\":\"{ERROR_BODY}\"}}");
            let refusal = FaultKind::Answer { status: 400, headers: Default::default(), body };
            house.discord().add_fault(Fault::new(Route::Token, refusal).once());
        }
        let landed = send(&mut browser, "GET", &callback, &mut answers).await;
        if life == 1 {
            assert!(landed.status >= 400, "{landed}");
            continue;
        }
        assert_eq!(landed.status, 303, "{landed}");
        secrets.push(browser.cookies["doorbook"].clone());
        if life == 0 {
            held = at_an_app(&house).await;
            in_a_guild(&house).await;
        }
        send(&mut browser, "GET", "/api/auth/user", &mut answers).await;
        send(&mut browser, "GET", "/account", &mut answers).await;
        send(&mut browser, "GET", "/api/auth/sessions", &mut answers).await;
        house.clock.advance(std::time::Duration::from_secs(120));
        let refreshed = send(&mut browser, "POST", "/api/auth/refresh", &mut answers).await;
        assert_eq!(refreshed.status, 200, "{refreshed}");
        send(&mut browser, "GET", "/api/user/profile", &mut answers).await;
        let over = if life == 0 { "/api/auth/logout" } else { "/api/auth/revoke" };
        let over = send(&mut browser, "POST", over, &mut answers).await;
        assert!(over.status < 300, "{over}");
    }
    let forged = "/api/auth/discord/redirect?code=canary-forged-code&state=canary-forged-state";
    send(&mut browser, "GET", forged, &mut answers).await;
    let printed = format!("{:?}", *house.doorbook().app.state());
    house.stop().await;
    let traces = TRACES.lock().unwrap().take().expect("traces");

    let wire = String::from_utf8(wire.lock().unwrap().clone()).expect("text");
    let access = between(&wire, "\"access_token\": \"", &['"']);
    let refresh = between(&wire, "\"refresh_token\": \"", &['"']);
    let codes = between(&wire, "&code=", &['&']);
    // The verifier ends the body, so what follows is the answer.
    let verifiers: Vec<&str> =
        between(&wire, "code_verifier=", &['&']).iter().map(|text| &text[..43]).collect();
    assert_eq!((access.len(), refresh.len(), states.len(), secrets.len()), (5, 5, 3, 2), "{wire}");
    assert_eq!((codes.len(), verifiers.len()), (4, 4), "{wire}");

    // None of these has any business anywhere.
    let mut secret = vec![
        Canary::new("the client secret", CLIENT_SECRET),
        Canary::new("the cookie secret of the configuration", COOKIE_SECRET),
        Canary::new("the secret that keys are encrypted with", ENCRYPT_SECRET),
        Canary::new("an error of Discord's", ERROR_BODY),
        Canary::new("an authorization header", "canary-authorization"),
        Canary::new("a page that a person came from", "canary-referer"),
        Canary::new("a forged code", "canary-forged-code"),
        Canary::new("a forged state", "canary-forged-state"),
    ];
    secret.extend(access.iter().map(|token| Canary::new("an access token", token)));
    secret.extend(refresh.iter().map(|token| Canary::new("a refresh token", token)));
    secret.extend(codes.iter().map(|code| Canary::new("a code", code)));
    for verifier in verifiers {
        secret.push(Canary::new("a verifier", verifier));
        secret.push(Canary::new("the bytes of a verifier", URL_SAFE_NO_PAD.decode(verifier).unwrap()));
    }
    // These are the browser's own, in one line of one answer.
    let mut own = Vec::new();
    for (what, of_bytes, values) in [
        ("a state", "the bytes of a state", &states),
        ("a session's secret", "the bytes of a session's secret", &secrets),
    ] {
        own.extend(values.iter().map(|value| Canary::new(what, value)));
        own.extend(values.iter().map(|value| Canary::new(of_bytes, URL_SAFE_NO_PAD.decode(value).unwrap())));
    }
    // These are for the person's own eyes.
    let personal = vec![
        Canary::new("a name", NAME),
        Canary::new("a user name", USERNAME),
        Canary::new("an e-mail address", EMAIL),
        Canary::new("a Discord id", MARISOL.to_string()),
        Canary::new("a Discord id in eight bytes", MARISOL.0.to_be_bytes()),
        Canary::new("a Discord id in eight bytes", MARISOL.0.to_le_bytes()),
        Canary::new("an address", ADDRESS),
        Canary::new("a user agent", AGENT),
        Canary::new("what somebody is called in a guild", NICK),
    ];
    let ids = [("a guild", GUILD), ("a role", ROLE), ("a role that the rules name", RULED)];
    let in_guilds: Vec<Canary> = ids
        .iter()
        .flat_map(|(what, id)| {
            let bytes = [id.0.to_be_bytes(), id.0.to_le_bytes()];
            let bytes = bytes.into_iter().map(|bytes| Canary::new(what, bytes));
            std::iter::once(Canary::new(what, id.to_string())).chain(bytes).collect::<Vec<_>>()
        })
        .collect();
    for canary in &personal[..3] {
        assert!(answers.iter().any(|answer| canary.is_in(answer.body.as_bytes())), "{}", canary.what);
    }
    for canary in &personal[6..8] {
        assert!(answers.iter().any(|answer| canary.is_in(answer.body.as_bytes())), "{}", canary.what);
    }

    let mut found = Vec::new();
    let mut everything: Vec<&Canary> = secret.iter().collect();
    let no_business = Search::new(&everything);
    let browsers_own = Search::new(&own.iter().collect::<Vec<_>>());
    for answer in &answers {
        found.extend(no_business.find("an answer", answer.to_string().as_bytes()));
        let mut answer = answer.clone();
        answer.headers.retain(|(name, value)| {
            let is_own_cookie = name == "set-cookie" && value.starts_with("doorbook=");
            let is_way_out = name == "location" && value.starts_with(DISCORD);
            !is_own_cookie && !is_way_out
        });
        found.extend(browsers_own.find("an answer", answer.to_string().as_bytes()));
    }
    everything.extend(own.iter().chain(&held).chain(&personal).chain(&in_guilds));
    let everything = Search::new(&everything);
    let kept = files(&house.data_dir());
    assert!(kept.iter().any(|(path, _)| path.ends_with("HEAD")), "{kept:?}");
    // The origin is not secret, so it shows that this is where things would be found.
    let origin = Canary::new("the origin", ORIGIN);
    assert!(kept.iter().any(|(path, bytes)| path.ends_with("log/db") && origin.is_in(bytes)), "a log");
    for (path, bytes) in &kept {
        found.extend(everything.find(&path.display().to_string(), bytes));
    }
    found.extend(everything.find("the state", printed.as_bytes()));
    let shown = String::from_utf8_lossy(&traces);
    assert!(shown.contains("answered a request"), "doorbook traces: {shown}");
    found.extend(everything.find("the traces", &traces));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_search_finds_what_is_there_however_it_is_written() {
    let canary = Canary::new("a value", "p?ssw~rd/with>ends");
    let bytes = b"p?ssw~rd/with>ends";
    let around = |before: usize| [&vec![7; before], bytes.as_slice(), &[9; 5]].concat();
    let mut planted = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        b"p%3Fssw%7Erd%2Fwith%3Eends".to_vec(),
        b"p%3fssw%7erd%2fwith%3eends".to_vec(),
    ];
    for before in 0..7 {
        planted.push(around(before));
        planted.push(STANDARD_NO_PAD.encode(around(before)).into_bytes());
        planted.push(URL_SAFE_NO_PAD.encode(around(before)).into_bytes());
        planted.push(hex::encode(around(before)).into_bytes());
    }
    let search = Search::new(&[&canary]);
    let dir = tempfile::tempdir().unwrap();
    for (number, value) in planted.iter().enumerate() {
        let path = dir.path().join(format!("deep/{number}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [b"before ", value.as_slice(), b" after"].concat()).unwrap();
    }
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/kek"), bytes).unwrap();
    let kept = files(dir.path());
    assert_eq!(kept.len(), planted.len(), "keys are not looked at");
    for (path, text) in kept {
        let at = path.display().to_string();
        assert_eq!(search.find(&at, &text).len(), 1, "{at}: {text:?}");
    }
    assert!(!canary.is_in(b"p?ssw~rd/with>end5"));
}
