//! What an app is told of a person, under which names, and what has to be said on its side.

use super::template::Proxy;
use crate::domain::identity::IdentityHeaders;

/// An app with an example of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum App {
    /// Grafana, signed in by header
    Grafana,
    /// Gitea or Forgejo, signed in by header
    Gitea,
    /// Jellyfin, and others that keep accounts of their own
    Jellyfin,
}

/// A fact about a person, on its way from doorbook to an app.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What it is, in a word.
    pub(super) what: &'static str,
    /// What doorbook calls it.
    pub(super) said: String,
    /// What the app calls it.
    pub(super) heard: String,
}

/// What an app is told, and which names it believes besides.
pub(super) struct Telling {
    /// What it is told.
    pub(super) told: Vec<Told>,
    /// What nobody tells it, and clients may not either.
    pub(super) untold: Vec<String>,
}

impl Telling {
    /// Returns what an app is told by that proxy.
    pub(super) fn of(app: Option<App>, proxy: Proxy, names: &IdentityHeaders) -> Telling {
        let told = |what, said: &str, heard: &str| Told {
            what,
            said: said.to_owned(),
            // Traefik hands a header on as it is.
            heard: if proxy == Proxy::Traefik { said } else { heard }.to_owned(),
        };
        let same = |what, name: &str| told(what, name, name);
        let untold = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match app {
            None => Telling {
                told: vec![
                    same("user", &names.user),
                    same("name", &names.name),
                    same("email", &names.email),
                    same("groups", &names.groups),
                    same("id", &names.discord_id),
                    same("roles", &names.roles),
                ],
                untold: vec![],
            },
            Some(App::Grafana) => Telling {
                told: vec![
                    told("user", &names.user, "X-WEBAUTH-USER"),
                    told("name", &names.name, "X-WEBAUTH-NAME"),
                    told("email", &names.email, "X-WEBAUTH-EMAIL"),
                ],
                untold: untold(&["X-WEBAUTH-ROLE", "X-WEBAUTH-GROUPS"]),
            },
            Some(App::Gitea) => Telling {
                told: vec![
                    told("user", &names.user, "X-WEBAUTH-USER"),
                    told("name", &names.name, "X-WEBAUTH-FULLNAME"),
                    told("email", &names.email, "X-WEBAUTH-EMAIL"),
                ],
                untold: untold(&["X-WEBAUTH-NAME", "X-WEBAUTH-ROLE", "X-WEBAUTH-GROUPS"]),
            },
            Some(App::Jellyfin) => Telling {
                told: vec![],
                untold: untold(&[
                    &names.user,
                    &names.name,
                    &names.email,
                    &names.groups,
                    &names.discord_id,
                    &names.roles,
                ]),
            },
        }
    }

    /// Returns every name that the app believes.
    pub(super) fn believed(&self) -> impl Iterator<Item = &str> {
        self.told.iter().map(|told| told.heard.as_str()).chain(self.untold.iter().map(String::as_str))
    }

    fn heard(&self, what: &str) -> &str {
        self.told.iter().find(|told| told.what == what).map_or("-", |told| &told.heard)
    }
}

impl App {
    /// Returns what has to be said on the side of the app, as comments; the last of it is the link that signs out.
    pub(super) fn notes(self, telling: &Telling) -> String {
        let (user, name, email) = (telling.heard("user"), telling.heard("name"), telling.heard("email"));
        match self {
            App::Grafana => format!(
                "# Grafana's side, in grafana.ini. Whoever reaches its port is anybody they like: let the proxy \
                 alone\n# reach it, and name its address.\n\
                 #\n\
                 #   [auth.proxy]\n\
                 #   enabled = true\n\
                 #   header_name = {user}\n\
                 #   headers = Name:{name} Email:{email}\n\
                 #   whitelist = 127.0.0.1, ::1\n\
                 #\n\
                 #   [auth]\n\
                 #   signout_redirect_url = {SIGN_OUT}\n"
            ),
            App::Gitea => format!(
                "# Gitea's side, in app.ini. Whoever reaches its port is anybody they like: let the proxy alone \
                 reach\n# it, and name its address; some images of Gitea believe everybody. git over https \
                 cannot sign in at\n# Discord: use ssh.\n\
                 #\n\
                 #   [service]\n\
                 #   ENABLE_REVERSE_PROXY_AUTHENTICATION = true\n\
                 #   ENABLE_REVERSE_PROXY_AUTO_REGISTRATION = true\n\
                 #   ENABLE_REVERSE_PROXY_EMAIL = true\n\
                 #   ENABLE_REVERSE_PROXY_FULL_NAME = true\n\
                 #\n\
                 #   [security]\n\
                 #   REVERSE_PROXY_AUTHENTICATION_USER = {user}\n\
                 #   REVERSE_PROXY_AUTHENTICATION_EMAIL = {email}\n\
                 #   REVERSE_PROXY_AUTHENTICATION_FULL_NAME = {name}\n\
                 #   REVERSE_PROXY_TRUSTED_PROXIES = 127.0.0.0/8,::1/128\n\
                 #   REVERSE_PROXY_LIMIT = 1\n\
                 #\n\
                 # Its \"Sign Out\" needs Gitea 1.26; before that, make a bookmark of the address:\n\
                 #\n\
                 #   REVERSE_PROXY_LOGOUT_REDIRECT = {SIGN_OUT}\n"
            ),
            App::Jellyfin => format!(
                "# Jellyfin keeps accounts of its own: doorbook is a door in front of it, and tells it nothing. \
                 Its apps\n# for televisions and phones cannot sign in at Discord; let them in from home, with a \
                 rule that has\n# `networks`. In Dashboard > Networking, 127.0.0.1 is a known proxy. A link that \
                 signs out of Discord,\n# for Dashboard > Branding > Login disclaimer:\n\
                 #\n\
                 #   <a href=\"{SIGN_OUT}\">Leave</a>\n"
            ),
        }
    }
}

/// The link that signs out, as it stands in the templates.
const SIGN_OUT: &str = "https://auth.example.org/logout";
