//! What the configuration promises.

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tempfile::TempDir;

use super::settings::{Kind, Setting};
use super::values::duration;
use super::*;
use crate::snapshot;

const GOOD: [(&str, &str); 3] = [
    ("DISCORD_OAUTH_CLIENT_ID", "197038439483310086"),
    ("DISCORD_OAUTH_SECRET", "canary-client-secret"),
    ("DISCORD_REDIRECT_URL", "https://auth.example.org/api/auth/discord/redirect"),
];

/// Four points of Ed25519, from RFC 8032.
const PUBLIC_KEYS: [&str; 4] = [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
];

/// A working directory of its own, and an environment.
struct Place {
    dir: TempDir,
    sources: Sources,
}

impl Place {
    fn empty() -> Place {
        let dir = TempDir::new().unwrap();
        let sources = Sources {
            flags: BTreeMap::new(),
            env: BTreeMap::new(),
            cwd: dir.path().to_owned(),
            system_file: dir.path().join("etc.toml"),
        };
        Place { dir, sources }
    }

    /// With the three settings that have no default.
    fn good() -> Place {
        GOOD.iter().fold(Place::empty(), |place, (name, value)| place.env(name, value))
    }

    fn env(mut self, name: &str, value: &str) -> Place {
        self.sources.env.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, name: &'static str, value: &str) -> Place {
        self.sources.flags.insert(name, value.to_owned());
        self
    }

    fn file(self, name: &str, text: &str) -> Place {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn read(&self) -> Result<Config, ConfigErrors> {
        Config::read(&self.sources)
    }

    #[track_caller]
    fn mistakes(&self) -> Vec<String> {
        self.read().expect_err("a mistake is found").0.iter().map(ToString::to_string).collect()
    }
}

/// Four values that are right and different, for flag, environment, `.env` and file.
fn samples(setting: &Setting) -> [&'static str; 4] {
    match setting.variable {
        "DISCORD_OAUTH_CLIENT_ID" => {
            ["100000000000000001", "100000000000000002", "100000000000000003", "100000000000000004"]
        }
        "DISCORD_REDIRECT_URL" => [
            "https://a.example/api/auth/discord/redirect",
            "https://b.example/api/auth/discord/redirect",
            "https://c.example/api/auth/discord/redirect",
            "https://d.example/api/auth/discord/redirect",
        ],
        "PORT" => ["1", "2", "3", "4"],
        "DOORBOOK_LISTEN" => ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"],
        "DOORBOOK_ALLOW" => ["user:1", "user:2", "user:3", "user:4"],
        "DOORBOOK_SESSION_MAX_AGE" | "DOORBOOK_SESSION_IDLE" | "DOORBOOK_PROFILE_MAX_AGE" => {
            ["1h", "2h", "3h", "4h"]
        }
        "DOORBOOK_RETENTION" => ["14mo", "15mo", "16mo", "17mo"],
        "DOORBOOK_ALLOWED_ORIGINS" | "DISCORD_API_URL" | "DISCORD_AUTHORIZE_URL" | "DISCORD_CDN_URL" => {
            ["https://a.example", "https://b.example", "https://c.example", "https://d.example"]
        }
        "DOORBOOK_TRUSTED_PROXIES" => ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
        "DISCORD_SCOPES" => ["identify a", "identify b", "identify c", "identify d"],
        "DOORBOOK_LOG_FORMAT" => ["json", "pretty", "json", "pretty"],
        "DOORBOOK_ADMINS" => ["user:1", "guild:2", "role:3/4", "email:example.org"],
        "DOORBOOK_MEMBERSHIP_MAX_AGE" | "DOORBOOK_MEMBERSHIP_GRACE" => ["1h", "2h", "3h", "4h"],
        "DOORBOOK_COOKIE_DOMAIN" => ["auth.example.org", "example.org", "auth.example.org", "example.org"],
        "DOORBOOK_ROLE_LOST" => ["end-session", "keep", "end-session", "keep"],
        "DOORBOOK_REMOTE_USER" => ["username", "id", "username", "id"],
        "DOORBOOK_IDENTITY_HEADERS" => ["webauth", "x-auth-request", "user=X-User", "remote"],
        "DISCORD_PUBLIC_KEY" => PUBLIC_KEYS,
        "RUST_LOG" => ["error", "warn", "debug", "trace"],
        "DOORBOOK_DEFAULT_POLICY" => ["deny"; 4], // the other needs another setting
        "DOORBOOK_DATA_DIR" => ["/a", "/b", "/c", "/d"],
        "DISCORD_OAUTH_SECRET" | "COOKIE_SECRET" | "ENCRYPT_SECRET" => [
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "cccccccccccccccccccccccccccccccc",
            "dddddddddddddddddddddddddddddddd",
        ],
        other => panic!("no samples for {other}"),
    }
}

#[test]
fn flag_beats_environment_beats_dot_env_beats_file_beats_default_for_every_setting() {
    for setting in settings::ALL.iter().filter(|setting| setting.kind != Kind::Later) {
        let values = samples(setting);
        // The layers from `from` on say something, the ones above are silent.
        for from in 0..=4 {
            let mut place = Place::empty();
            for (name, value) in GOOD.iter().filter(|(name, _)| *name != setting.variable) {
                place = place.env(name, value);
            }
            if from == 0 && setting.kind == Kind::Plain {
                place = place.flag(setting.flag, values[0]);
            }
            if from <= 1 {
                place = place.env(setting.variable, values[1]);
            }
            if from <= 2 {
                place = place.file(".env", &format!("{}='{}'\n", setting.variable, values[2]));
            }
            if from <= 3 {
                place = place.file("doorbook.toml", &format!("{} = \"{}\"\n", setting.key, values[3]));
            }
            if from == 4 && setting.required.is_some() {
                assert_eq!(place.read().unwrap_err().0.len(), 1, "{} has no default", setting.variable);
                continue;
            }
            let config =
                place.read().unwrap_or_else(|errors| panic!("{} from {from}: {errors}", setting.variable));
            let found = config.report.iter().find(|line| line.variable == setting.variable);
            let from = if from == 0 && setting.kind == Kind::Secret { 1 } else { from };
            let expected_place = match from {
                0 => super::Place::Flag(setting.flag),
                1 => super::Place::Variable(setting.variable.to_owned()),
                2 => super::Place::DotEnv { line: 1, name: setting.variable.to_owned() },
                3 => {
                    super::Place::File { path: "doorbook.toml".into(), line: 1, key: setting.key.to_owned() }
                }
                _ => super::Place::Default,
            };
            let Some(found) = found else {
                assert_eq!((from, setting.default), (4, None), "{}", setting.variable);
                continue;
            };
            assert_eq!(found.place, expected_place, "{}", setting.variable);
            let expected = values.get(from).copied().or(setting.default).map(String::from);
            assert_eq!(found.value, expected.filter(|_| setting.kind == Kind::Plain), "{}", setting.variable);
        }
    }
}

#[test]
fn every_value_of_the_good_file_arrives() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good.toml");
    let place = Place::empty().flag("config", file.to_str().unwrap());
    let config = place.read().unwrap();
    assert_eq!(config.discord.client_secret.expose(), "a-secret-of-the-good-configuration");
    assert_eq!(config.discord.client_id, DiscordId(197_038_439_483_310_086));
    assert_eq!(config.local.cookie_secret.as_ref().unwrap().expose().len(), 39);
    assert_eq!(config.local.rules.session_max_age, Duration::from_secs(60 * 86_400));
    let said: BTreeSet<&str> = config.report.iter().map(|line| line.variable).collect();
    let all = settings::ALL.iter().filter(|setting| setting.kind != Kind::Later);
    for setting in all {
        let line = config.report.iter().find(|line| line.variable == setting.variable);
        assert!(said.contains(setting.variable), "{}", setting.variable);
        assert!(line.is_some_and(|line| line.place != super::Place::Default), "{}", setting.variable);
    }
    // Places of this machine do not belong into a snapshot.
    let (file, report, hosts, warnings) = (None, Vec::new(), Vec::new(), Vec::new());
    snapshot!("config_good", format!("{:#?}", Config { file, report, hosts, warnings, ..config }));
}

#[test]
fn every_mistake_of_the_fixtures_is_found_where_it_stands() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: BTreeSet<String> =
            text.lines().filter_map(|line| line.strip_prefix("# mistake: ")).map(String::from).collect();
        let place = GOOD
            .iter()
            .filter(|(name, _)| !text.contains(&format!("\n{} =", name.to_lowercase())))
            .fold(Place::empty(), |place, (name, value)| place.env(name, value))
            .flag("config", path.to_str().unwrap());
        let prefix = format!("{}:", path.display());
        let found: BTreeSet<String> = match place.read() {
            Ok(_) => BTreeSet::new(),
            Err(errors) => errors.0.iter().map(|m| m.to_string().replace(&prefix, "")).collect(),
        };
        assert_eq!(found, expected, "{}", path.display());
        assert!(found.iter().all(|mistake| !mistake.contains("canary")), "{found:?}");
        seen += 1;
    }
    assert!(seen > 30, "the fixtures are there");
}

#[test]
fn all_places_are_searched_before_anything_is_said() {
    let place = Place::empty()
        .env("PORT", "http")
        .env("DOORBOOK_SESSION_IDLE", "soon")
        .flag("listen", "nowhere")
        .file(".env", "DOORBOOK_ALLOW=everybody\nDOORBOOK_TYPO=1\n")
        .file("doorbook.toml", "session_max_age = \"never\"\ntypo = 1\n");
    let errors = place.read().unwrap_err();
    snapshot!("config_mistakes_everywhere", errors.to_string());
}

#[test]
fn a_name_close_to_ours_is_ours_mistyped_and_a_platforms_own_is_left_alone() {
    let place =
        Place::good().env("DOORBOOK_SERVICE_HOST", "10.0.0.1").env("DOORBOOK_PORT", "tcp://10.0.0.1:3001");
    assert!(place.read().is_ok());
    let mistakes = place.env("DOORBOOK_ALOW", "user:1").mistakes();
    assert_eq!(mistakes, ["DOORBOOK_ALOW: unknown variable; did you mean DOORBOOK_ALLOW?"]);
}

#[test]
fn the_other_names_of_id_and_secret_are_read_as_well() {
    let place = Place::empty()
        .env("DISCORD_CLIENT_ID", "197038439483310086")
        .env("DISCORD_CLIENT_SECRET", "other-name")
        .env(GOOD[2].0, GOOD[2].1);
    assert_eq!(place.read().unwrap().discord.client_secret.expose(), "other-name");
    let mistakes = place.env("DISCORD_OAUTH_SECRET", "canary").mistakes();
    assert_eq!(mistakes, ["DISCORD_CLIENT_SECRET: is set as well as DISCORD_OAUTH_SECRET; keep one of them"]);
}

#[test]
fn a_secret_may_stand_in_a_file_and_its_last_line_break_is_not_part_of_it() {
    for name in ["COOKIE_SECRET_FILE", "ENCRYPT_SECRET_FILE"] {
        let place = Place::good().env(name, "secret").file("secret", "0123456789abcdef 0123456789abcdef\r\n");
        let local = place.read().unwrap().local;
        let secret = local.cookie_secret.or(local.encrypt_secret).unwrap();
        assert_eq!(secret.expose(), "0123456789abcdef 0123456789abcdef");
    }
    let place = Place::good().env("COOKIE_SECRET_FILE", "secret").file("secret", "\n");
    assert_eq!(place.mistakes(), ["COOKIE_SECRET_FILE: is set but empty; give it a value or remove it"]);
    let both = Place::good().env("COOKIE_SECRET_FILE", "secret").env("COOKIE_SECRET", "canary");
    assert_eq!(both.mistakes(), ["COOKIE_SECRET_FILE: is set as well as COOKIE_SECRET; keep one of them"]);
    let directory = Place::good().env("DISCORD_CLIENT_SECRET_FILE", ".");
    let mut directory = directory;
    directory.sources.env.remove(std::ffi::OsStr::new("DISCORD_OAUTH_SECRET"));
    assert_eq!(directory.mistakes(), ["DISCORD_CLIENT_SECRET_FILE: cannot read .: it is a directory"]);
}

#[test]
fn a_secret_file_in_the_environment_beats_a_secret_in_dot_env() {
    let place = Place::good()
        .env("COOKIE_SECRET_FILE", "secret")
        .file("secret", "from-the-file-0123456789abcdef01234")
        .file(".env", "COOKIE_SECRET=from-dot-env-0123456789abcdef01234\n");
    assert_eq!(
        place.read().unwrap().local.cookie_secret.unwrap().expose(),
        "from-the-file-0123456789abcdef01234"
    );
}

#[test]
fn a_secret_of_31_bytes_is_short_and_one_of_32_is_not() {
    for name in ["COOKIE_SECRET", "ENCRYPT_SECRET"] {
        assert!(Place::good().env(name, &"x".repeat(32)).read().is_ok());
        let mistakes = Place::good().env(name, &"x".repeat(31)).mistakes();
        assert!(mistakes[0].starts_with(&format!("{name}: is shorter than 32 bytes")), "{mistakes:?}");
    }
}

#[test]
fn no_secret_is_in_debug_or_in_an_error() {
    let place = Place::good()
        .env("COOKIE_SECRET", "canary-cookie-secret-0123456789abcdef")
        .env("ENCRYPT_SECRET", "canary-encrypt-secret-0123456789abcdef");
    let shown = format!("{:?}", place.read().unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    let broken = Place::empty()
        .env("COOKIE_SECRET", "canary")
        .env("ENCRYPT_SECRET", "canary")
        .env("DISCORD_OAUTH_SECRET", "canary \u{1}")
        .env("DISCORD_OAUTH_CLIENT_ID", "canary")
        .env("DISCORD_REDIRECT_URL", "https://canary")
        .env("DISCORD_API_URL", "https://canary:canary@example.org/")
        .file(".env", "this is canary\nA='canary\n")
        .file("doorbook.toml", "cookie_secret = canary\n");
    let errors = broken.read().unwrap_err();
    let shown = format!("{errors} {errors:?}");
    assert!(errors.0.len() >= 8, "{errors}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn the_file_is_the_first_that_is_there_and_a_named_one_must_be() {
    let port = |place: &Place| place.read().unwrap().listen[0].port();
    let place = Place::good().file("etc.toml", "port = 1\n");
    assert_eq!(port(&place), 1);
    let place = place.file("doorbook.toml", "port = 2\n");
    assert_eq!(port(&place), 2);
    let place = place.file(".env", "DOORBOOK_CONFIG=three.toml\n").file("three.toml", "port = 3\n");
    assert_eq!(port(&place), 3);
    let place = place.env("DOORBOOK_CONFIG", "four.toml").file("four.toml", "port = 4\n");
    assert_eq!(port(&place), 4);
    let place = place.flag("config", "five.toml").file("five.toml", "port = 5\n");
    assert_eq!(port(&place), 5);
    let place = place.flag("config", "six.toml");
    assert_eq!(place.mistakes(), ["--config: cannot read six.toml: no such file"]);
}

/// Whoever prints the configuration of a proxy need not be the user whose server it is.
#[test]
fn what_a_proxy_repeats_is_known_to_whoever_may_not_read_the_secret() {
    let place = Place::good().env("COOKIE_SECRET_FILE", ".").env("DOORBOOK_LISTEN", "127.0.0.1:4000");
    assert_eq!(place.mistakes(), ["COOKIE_SECRET_FILE: cannot read .: it is a directory"]);
    let facade = Facade::read(&place.sources).unwrap();
    assert_eq!(facade.listen, ["127.0.0.1:4000".parse().unwrap()]);
    let place = place.flag("config", "none.toml");
    let mistakes = Facade::read(&place.sources).unwrap_err();
    assert_eq!(
        mistakes.0[0].to_string(),
        "--config: cannot read none.toml: no such file",
        "rules may stand there"
    );
}

#[test]
fn a_variable_that_is_set_twice_in_dot_env_is_a_mistake() {
    let place = Place::good().file(".env", "PORT=1\n# and again\nPORT=2\n");
    assert_eq!(place.mistakes(), [".env:3: PORT: is set a second time"]);
}

#[test]
fn a_value_that_is_empty_is_never_taken_for_one_that_is_not_there() {
    assert_eq!(
        Place::good().env("DOORBOOK_ALLOW", "").mistakes(),
        [
            "DOORBOOK_ALLOW: is empty and would let nobody in; name who may sign in, or remove it to let in anyone"
        ]
    );
    assert_eq!(
        Place::good().env("COOKIE_SECRET", "").mistakes(),
        ["COOKIE_SECRET: is set but empty; give it a value or remove it"]
    );
    let unfilled = Place::good().env("DISCORD_OAUTH_SECRET", "").mistakes();
    assert!(unfilled[0].starts_with("DISCORD_OAUTH_SECRET: missing\n    get it at"), "{unfilled:?}");
    assert!(Place::good().env("DOORBOOK_TRUSTED_PROXIES", "").read().unwrap().trusted_proxies.is_empty());
}

#[test]
fn every_setting_for_later_is_refused_wherever_it_stands() {
    for setting in settings::ALL.iter().filter(|setting| setting.kind == Kind::Later) {
        let said = "not supported by this version yet, and it would guard nothing; remove it";
        let by_env = Place::good().env(setting.variable, "x").mistakes();
        assert_eq!(by_env, [format!("{}: {said}", setting.variable)]);
        let by_flag = Place::good().flag(setting.flag, "x").mistakes();
        assert_eq!(by_flag, [format!("--{}: {said}", setting.flag)]);
        let by_file = Place::good().file("doorbook.toml", &format!("{} = \"x\"\n", setting.key)).mistakes();
        assert_eq!(by_file, [format!("doorbook.toml:1: {}: {said}", setting.key)]);
    }
}

#[test]
fn the_redirect_url_fixes_origin_and_security() {
    let read = |url: &str| Place::good().env("DISCORD_REDIRECT_URL", url).read().unwrap();
    let https = read("https://Auth.Example.org:443/api/auth/discord/redirect");
    assert_eq!((https.public_origin.as_str(), https.secure), ("https://auth.example.org/", true));
    let http = read("http://localhost:3001/api/auth/discord/redirect");
    assert_eq!((http.public_origin.as_str(), http.secure), ("http://localhost:3001/", false));
    for wrong in [
        "https://a.example/api/auth/discord/redirect/",
        "https://a.example/api/auth/discord/redirect#",
        "https://a.example/api/auth/discord/redirect?",
        "https://a.example/x/../api/auth/discord/redirect/.",
        "https://a.example//api/auth/discord/redirect",
        "https://a.example/API/auth/discord/redirect",
        "https://@a.example/api/auth/discord/redirect",
        "https:\\\\a.example\\api\\auth\\discord\\redirect",
        "https:/a.example/api/auth/discord/redirect",
        "//a.example/api/auth/discord/redirect",
        "javascript://a.example/api/auth/discord/redirect",
        "https://a.example /api/auth/discord/redirect",
        "https:///api/auth/discord/redirect ?",
    ] {
        assert!(Place::good().env("DISCORD_REDIRECT_URL", wrong).read().is_err(), "{wrong}");
    }
}

#[test]
fn an_http_origin_is_welcome_where_we_are_http() {
    let place = Place::good()
        .env("DISCORD_REDIRECT_URL", "http://localhost:3001/api/auth/discord/redirect")
        .env("DOORBOOK_ALLOWED_ORIGINS", "http://localhost:8080, https://app.example.org");
    let origins: Vec<String> =
        place.read().unwrap().allowed_origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["http://localhost:8080/", "https://app.example.org/"]);
    for wrong in [
        "http://localhost:8080/",
        "localhost:8080",
        "http://a@b.example",
        "http://b.example?x",
        "ws://b.example",
    ] {
        assert!(Place::good().env("DOORBOOK_ALLOWED_ORIGINS", wrong).read().is_err(), "{wrong}");
    }
}

#[test]
fn discord_is_asked_for_what_the_rules_need_to_know() {
    let asked = |allow: &str, scopes: &str| {
        let config = Place::good().env("DOORBOOK_ALLOW", allow).env("DISCORD_SCOPES", scopes).read().unwrap();
        config.local.rules.asked(&config.scopes)
    };
    assert_eq!(asked("user:1", "identify"), ["identify"]);
    assert_eq!(asked("user:1, email:example.org", "identify"), ["identify", "email"]);
    assert_eq!(asked("email:example.org", "email  identify email"), ["email", "identify"]);
    assert_eq!(asked("role:1/2", "identify"), ["identify", "guilds.members.read"]);
    let staff = "[[group]]\nname = \"staff\"\nany = [{ guild = \"1\" }]\n";
    let config =
        Place::good().env("DOORBOOK_ADMINS", "group:staff").file("doorbook.toml", staff).read().unwrap();
    assert_eq!(config.local.rules.asked(&config.scopes), ["identify", "guilds.members.read"]);
}

#[test]
fn nobody_said_who_may_sign_in_means_anyone() {
    assert_eq!(Place::good().read().unwrap().local.rules, Rules::default());
}

#[test]
fn durations_are_numbers_with_a_unit() {
    let seconds = |text: &str| duration(text).map(|found| found.as_secs()).ok();
    for (text, expected) in [
        ("30d", 2_592_000),
        ("7d", 604_800),
        ("1h", 3_600),
        ("15m", 900),
        ("13mo", 13 * 31 * 86_400),
        ("10s", 10),
        ("2w", 1_209_600),
    ] {
        assert_eq!(seconds(text), Some(expected), "{text}");
    }
    for wrong in
        ["", "7", "d", "-1d", "+1d", "1.5h", "1h30m", "7 d", "7D", "18446744073709551615d", "400000d"]
    {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}

#[test]
fn addresses_to_listen_on_take_the_port_unless_they_have_their_own() {
    let listen = |text: &str| {
        let found = Place::good().env("DOORBOOK_LISTEN", text).env("PORT", "80").read();
        found.map(|config| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>()).ok()
    };
    let list = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(listen("0.0.0.0"), list(&["0.0.0.0:80"]));
    assert_eq!(listen("127.0.0.1, ::1"), list(&["127.0.0.1:80", "[::1]:80"]));
    assert_eq!(listen("[::]:8080,[::1]"), list(&["[::]:8080", "[::1]:80"]));
    assert_eq!(listen("localhost,127.0.0.1"), list(&["127.0.0.1:80", "[::1]:80"]));
    assert_eq!(listen("localhost:81"), list(&["127.0.0.1:81", "[::1]:81"]));
    for wrong in ["example.org", "127.0.0.1:x", "127.0.0.1:99999", ",", "localhost:+1", "127.0.0"] {
        assert_eq!(listen(wrong), None, "{wrong}");
    }
}

#[test]
fn the_hash_names_what_is_not_secret_and_only_that() {
    let hash = |place: Place| place.read().unwrap().hash;
    let plain = hash(Place::good());
    assert_eq!(hash(Place::good().env("COOKIE_SECRET", &"x".repeat(32))), plain);
    assert_eq!(hash(Place::good().env("DISCORD_OAUTH_SECRET", "another")), plain);
    assert_eq!(hash(Place::good().flag("session-idle", "7d")), plain, "said, and the default all the same");
    assert_ne!(hash(Place::good().flag("session-idle", "8d")), plain);
    assert_ne!(hash(Place::good().env("DOORBOOK_ALLOW", "user:1")), plain);
}

#[test]
fn a_command_without_a_server_needs_no_application_and_still_no_mistakes() {
    let place = Place::empty().env("DOORBOOK_DATA_DIR", "./here");
    let local = Local::read(&place.sources).unwrap();
    assert_eq!(local.data_dir.as_os_str(), place.dir.path().join("here").as_os_str(), "no dot is in it");
    assert_eq!(local.filter, None);
    let place = place.env("DISCORD_API_URL", "nowhere");
    assert_eq!(Local::read(&place.sources).unwrap_err().0.len(), 1);
}

#[test]
fn what_is_allowed_and_hardly_meant_is_said() {
    let place = Place::good()
        .env("DISCORD_API_URL", "http://discord.internal/api")
        .env("DOORBOOK_TRUSTED_PROXIES", "0.0.0.0/0");
    assert_eq!(place.read().unwrap().warnings, [Mistrust::ClearSecret, Mistrust::EveryProxy]);
    let place = Place::good()
        .env("DISCORD_AUTHORIZE_URL", "http://discord.internal/oauth2/authorize")
        .env("DISCORD_CDN_URL", "http://discord.internal");
    assert_eq!(place.read().unwrap().warnings, [Mistrust::ClearConsent, Mistrust::ClearPictures]);
    let local = Place::good()
        .env("DISCORD_API_URL", "http://127.0.0.1:3002/api")
        .env("DISCORD_AUTHORIZE_URL", "http://localhost:3002/oauth2/authorize")
        .env("DISCORD_CDN_URL", "http://[::1]:3002");
    assert_eq!(local.read().unwrap().warnings, []);
}

#[test]
fn a_redirect_url_that_leads_to_nobody_or_through_the_open_is_said() {
    let read = |origin: &str, listen: &str| {
        let redirect_url = format!("{origin}/api/auth/discord/redirect");
        let place = Place::good().env("DISCORD_REDIRECT_URL", &redirect_url).env("DOORBOOK_LISTEN", listen);
        place.read().unwrap().warnings
    };
    let here = "127.0.0.1";
    let other = |port| vec![Mistrust::OtherPort { port }];
    assert_eq!(read("http://localhost:3001", here), []);
    assert_eq!(read("http://127.0.0.1:3001", "0.0.0.0"), []);
    assert_eq!(read("http://localhost:3000", here), other(3000));
    assert_eq!(read("http://127.0.0.1", here), other(80));
    assert_eq!(read("http://[::1]:3001", "[::1]:4000"), other(3001));
    assert_eq!(read("http://[::1]:4000", "127.0.0.1,[::1]:4000"), []);
    assert_eq!(read("https://auth.localhost", here), other(443));
    assert_eq!(read("http://localhost:3000", "127.0.0.1:0"), [], "the port is not known yet");

    assert_eq!(read("http://auth.example.org:3001", here), [Mistrust::ClearCookies]);
    assert_eq!(read("http://192.168.1.5:3000", here), [Mistrust::ClearCookies]);
    assert_eq!(read("https://auth.example.org", here), [], "a proxy speaks TLS");
}

#[test]
fn the_example_file_says_every_setting_and_works_once_it_is_filled_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, example::dot_env()).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        text,
        example::dot_env(),
        "run the tests with INSTA_UPDATE=always to write `.env.example` anew"
    );
    for setting in settings::ALL {
        assert!(text.contains(&format!("{}=", setting.variable)), "{}", setting.variable);
    }
    let mut filled = text.clone();
    for (name, value) in GOOD {
        filled = filled.replace(&format!("\n{name}=\n"), &format!("\n{name}={value}\n"));
    }
    assert!(Place::empty().file(".env", &filled).read().is_ok());
    // As it is, it names the three that are to be filled in and nothing else.
    assert_eq!(Place::empty().file(".env", &text).mistakes().len(), 3);
}

#[test]
fn the_readme_table_is_written_from_the_settings() {
    let table = example::markdown();
    snapshot!("config_readme_table", &table);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    if let Ok(readme) = std::fs::read_to_string(readme) {
        assert!(readme.contains(&table), "the README's table differs from `config::example::markdown`");
    }
}
