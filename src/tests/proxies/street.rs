//! A street of guarded apps: a real proxy with the configurations in `deploy/`, doorbook, its Discord, one app.
//!
//! `app.example.org` stands in the very file. Every other host is as `doorbook proxy` prints it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use doorbook::clock::{Clock, SystemClock};
use doorbook::domain::id::DiscordId;
use url::Url;

use super::echo::Echo;
use super::visitor::Visitor;
use crate::harness::{Exchange, House, Plan, Process, binary, free_port};

/// doorbook as browsers see it.
pub const AUTH: &str = "https://auth.example.org";

/// Which proxy stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
}

/// Everything, and it ends when this is dropped.
pub struct Street {
    /// doorbook and Discord.
    pub house: House,
    /// The app behind every host.
    pub app: Echo,
    proxy: Process,
}

/// The hosts that stand in files of their own.
const FILES: [&str; 5] = ["app", "login", "grafana", "gitea", "jellyfin"];
/// The hosts that are as the command prints them.
const PRINTED: [&str; 3] = ["public.example.org", "wiki.example.net", "nowhere.example.org"];

impl Street {
    /// Opens the street, with these rules.
    pub async fn open(kind: Kind, rules: &str) -> Street {
        Street::changed(kind, rules, |configuration| configuration).await
    }

    /// Opens the street, after somebody has changed the configuration of the proxy.
    pub async fn changed(kind: Kind, rules: &str, change: impl Fn(String) -> String) -> Street {
        let mut house = House::closed(Plan { origin: AUTH, ..Plan::default() }).await;
        fs::write(house.dir.path().join("doorbook.toml"), rules).expect("a file");
        house.start().await.expect("doorbook starts");
        let app = Echo::open().await;
        let doorbook = house.doorbook().addresses[0].to_string();
        let sites = Sites { doorbook, app: app.address.to_string(), dir: house.dir.path().join("proxy") };
        fs::create_dir(&sites.dir).expect("a directory");
        let mut proxy = match kind {
            Kind::Nginx => sites.nginx(change),
            Kind::Caddy => sites.caddy(change),
        };
        proxy.listens().await;
        let street = Street { house, app, proxy };
        street.until_certified().await;
        street
    }

    /// Caddy listens before it has made the last certificate.
    async fn until_certified(&self) {
        let clock = SystemClock::new();
        let files = FILES.map(|name| format!("{}.example.org", if name == "login" { "auth" } else { name }));
        for site in PRINTED.into_iter().chain(files.iter().map(String::as_str)) {
            while self.visitor().try_connect(site).await.is_err() {
                assert!(
                    clock.monotonic() < Duration::from_secs(60),
                    "no certificate: {}",
                    self.proxy.said("err")
                );
                clock.sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Somebody who has never been here.
    pub fn visitor(&self) -> Visitor {
        Visitor::of(self.proxy.address)
    }

    /// Opens a page and follows every redirect, through Discord as `user`, until there is none.
    pub async fn follow(&self, visitor: &mut Visitor, url: &str, user: DiscordId) -> Exchange {
        let mut url = Url::parse(url).expect("a URL");
        for _ in 0..10 {
            let answer = visitor.open(url.as_str()).await;
            let Some(location) = answer.header("location") else { return answer };
            url = url.join(location).expect("a URL");
            if url.path() == "/oauth2/authorize" {
                let played = self.house.discord().authorize(url.as_str(), user, true).await;
                url = Url::parse(&played.expect("Discord answers").location).expect("a URL");
            }
        }
        panic!("it goes round and round: {url}");
    }

    /// Somebody who has signed in at doorbook's own site.
    pub async fn signed_in(&self, user: DiscordId) -> Visitor {
        let mut visitor = self.visitor();
        let landed = self.follow(&mut visitor, &format!("{AUTH}/api/auth/discord/login"), user).await;
        assert_eq!(landed.status, 200, "{landed}");
        visitor
    }
}

struct Sites {
    doorbook: String,
    app: String,
    dir: std::path::PathBuf,
}

impl Sites {
    /// Returns the file from `deploy/`, with the ports that are used here.
    fn file(&self, path: &str) -> String {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
        let text = fs::read_to_string(deploy).expect("a file");
        let text = text.replace("127.0.0.1:3000", &self.app).replace("127.0.0.1:8096", &self.app);
        text.replace("127.0.0.1:3001", &self.doorbook)
    }

    /// Returns every site, as one text.
    fn all(&self, proxy: &str, end: &str) -> String {
        let files = FILES.map(|name| self.file(&format!("{proxy}/{name}.{end}")));
        let printed = PRINTED.map(|host| self.printed(proxy, host));
        files.concat() + &printed.concat()
    }

    /// Returns what `doorbook proxy` prints for a host.
    fn printed(&self, proxy: &str, host: &str) -> String {
        let printed = Command::new(binary())
            .args(["proxy", proxy, "--host", host, "--upstream", &self.app])
            .args(["--doorbook", &self.doorbook, "--login-host", "auth.example.org"])
            .current_dir(&self.dir)
            .env_clear()
            .output()
            .expect("it runs");
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        String::from_utf8(printed.stdout).expect("text")
    }

    /// Of the files only the ports and the certificates change. Around them is the worst that somebody may have set.
    fn nginx(&self, change: impl Fn(String) -> String) -> Process {
        let (tls, plain) = (free_port(), free_port());
        let dir = self.dir.display();
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls");
        let mut sites = String::new();
        for line in change(self.all("nginx", "conf")).lines() {
            let line = match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["listen", "443", "ssl;"] => format!("listen 127.0.0.1:{tls} ssl;"),
                ["listen", "80;"] => format!("listen 127.0.0.1:{plain};"),
                ["listen", ..] => continue,
                ["ssl_certificate", _] => format!("ssl_certificate {fixtures}/cert.pem;"),
                ["ssl_certificate_key", _] => format!("ssl_certificate_key {fixtures}/key.pem;"),
                _ => line.to_owned(),
            };
            sites.push_str(&line);
            sites.push('\n');
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log info;\n\
             events {{}}\nhttp {{\naccess_log off;\nunderscores_in_headers on;\nignore_invalid_headers off;\n\
             {temporary}{sites}}}\n"
        );
        fs::write(self.dir.join("nginx.conf"), whole).expect("a file");
        let mut command = Command::new("nginx");
        command.args(["-p", ".", "-c", "nginx.conf", "-e", "error.log"]);
        Process::of(command, &self.dir, path(), tls)
    }

    /// The files stand as they are; before them are ports, and certificates that nobody else has to sign.
    fn caddy(&self, change: impl Fn(String) -> String) -> Process {
        let (tls, plain) = (free_port(), free_port());
        let before = format!(
            "{{\n\tadmin off\n\thttp_port {plain}\n\thttps_port {tls}\n\tdefault_bind 127.0.0.1\n\tlocal_certs\n\
             \tskip_install_trust\n\tstorage file_system storage\n}}\n\n"
        );
        let whole = before + &change(self.all("caddy", "caddyfile"));
        fs::write(self.dir.join("Caddyfile"), whole).expect("a file");
        let mut command = Command::new("caddy");
        command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
        let mut env = path();
        env.insert("HOME".into(), self.dir.display().to_string());
        Process::of(command, &self.dir, env, tls)
    }
}

/// Where programs are found; nginx is in `sbin`.
fn path() -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    BTreeMap::from([("PATH".to_owned(), format!("{path}:/usr/sbin:/usr/local/sbin"))])
}
