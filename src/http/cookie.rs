//! The cookies of this site: their names, their attributes, and how each is taken back.

use std::time::Duration;

use http::HeaderValue;

use crate::domain::host::Host;
use crate::domain::login::ATTEMPT_MAX_AGE;

/// How long a browser may take from the host of an app to us for a ticket, and back.
const BINDING_MAX_AGE: Duration = Duration::from_secs(120);

/// How long the browser remembers that it signed out last.
const ASK_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

/// The names and attributes of our cookies, which depend on the scheme of the public origin.
///
/// Over https the names begin with `__Host-`: no sibling host and no plain connection can set them.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    secure: bool,
    session_max_age: Duration,
}

impl Cookies {
    /// Returns the cookies of a site that is reached over https, or not.
    pub fn new(secure: bool, session_max_age: Duration) -> Cookies {
        Cookies { secure, session_max_age }
    }

    /// Returns the name of the cookie that holds a session's secret.
    pub fn session_name(self) -> &'static str {
        if self.secure { "__Host-doorbook" } else { "doorbook" }
    }

    /// Returns the name of the cookie that makes the next login ask who it is.
    pub fn ask_name(self) -> &'static str {
        if self.secure { "__Host-doorbook-ask" } else { "doorbook-ask" }
    }

    /// Returns what the names of login attempts begin with.
    pub fn attempt_prefix(self) -> &'static str {
        if self.secure { "__Host-doorbook-login-" } else { "doorbook-login-" }
    }

    /// Returns the name of the cookie that guarded apps may see: one for all hosts of a domain, or of one host.
    pub fn app_name(self, has_domain: bool) -> &'static str {
        match (self.secure, has_domain) {
            (true, true) => "__Secure-doorbook-app",
            (true, false) => "__Host-doorbook-app",
            (false, _) => "doorbook-app",
        }
    }

    /// Sets the app cookie for all hosts of a domain, or for this host alone.
    pub fn set_app(self, value: &str, domain: Option<&Host>) -> HeaderValue {
        self.set_for(self.app_name(domain.is_some()), value, domain, self.session_max_age)
    }

    /// Takes the app cookie back.
    pub fn clear_app(self, domain: Option<&Host>) -> HeaderValue {
        self.set_for(self.app_name(domain.is_some()), "", domain, Duration::ZERO)
    }

    /// Returns what the names of the cookies begin with that tie a ticket to a browser.
    pub fn binding_prefix(self) -> &'static str {
        if self.secure { "__Host-doorbook-bind-" } else { "doorbook-bind-" }
    }

    /// Sets one of those under its own name.
    pub fn set_binding(self, name: &str, value: &str) -> HeaderValue {
        self.set(name, value, BINDING_MAX_AGE)
    }

    /// Sets the session.
    pub fn set_session(self, value: &str) -> HeaderValue {
        self.set(self.session_name(), value, self.session_max_age)
    }

    /// Sets one login attempt under its own name.
    pub fn set_attempt(self, name: &str, value: &str) -> HeaderValue {
        self.set(name, value, ATTEMPT_MAX_AGE)
    }

    /// Notes that the last thing this browser did was to sign out.
    pub fn set_ask(self) -> HeaderValue {
        self.set(self.ask_name(), "1", ASK_MAX_AGE)
    }

    /// Takes a cookie back: the same attributes, no value, no time.
    pub fn clear(self, name: &str) -> HeaderValue {
        self.set(name, "", Duration::ZERO)
    }

    fn set(self, name: &str, value: &str, max_age: Duration) -> HeaderValue {
        self.set_for(name, value, None, max_age)
    }

    #[expect(
        clippy::expect_used,
        reason = "names are constants or hexadecimal, values base64url, hosts ASCII"
    )]
    fn set_for(self, name: &str, value: &str, domain: Option<&Host>, max_age: Duration) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let domain = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        let text = format!(
            "{name}={value}{domain}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            max_age.as_secs()
        );
        HeaderValue::from_str(&text).expect("a cookie of ours is printable ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(cookies: Cookies) -> String {
        let name = format!("{}0123456789abcdef", cookies.attempt_prefix());
        let binding = format!("{}0123456789abcdef", cookies.binding_prefix());
        let domain = Host::parse("example.org").expect("a host");
        let lines = [
            cookies.set_session("SECRET"),
            cookies.clear(cookies.session_name()),
            cookies.set_attempt(&name, "SEALED"),
            cookies.clear(&name),
            cookies.set_ask(),
            cookies.clear(cookies.ask_name()),
            cookies.set_app("TAGGED", None),
            cookies.clear_app(None),
            cookies.set_app("TAGGED", Some(&domain)),
            cookies.clear_app(Some(&domain)),
            cookies.set_binding(&binding, "RANDOM"),
            cookies.clear(&binding),
        ];
        lines.iter().map(|line| line.to_str().expect("ASCII")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn over_https_the_names_are_bound_to_the_host() {
        let cookies = Cookies::new(true, Duration::from_secs(30 * 86_400));
        insta::with_settings!({ snapshot_path => crate::http::SNAPSHOTS, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("http_cookies_over_https", all(cookies));
        });
    }

    #[test]
    fn over_http_they_are_plain_and_without_secure() {
        let cookies = Cookies::new(false, Duration::from_secs(30 * 86_400));
        insta::with_settings!({ snapshot_path => crate::http::SNAPSHOTS, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("http_cookies_over_http", all(cookies));
        });
    }
}
