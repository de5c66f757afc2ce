//! What is printed is what stands in `deploy/`, and nothing that is typed says more than it should.

use clap::ValueEnum as _;

use super::*;
use crate::domain::identity::IdentityHeaders;

const NAMES: fn() -> IdentityHeaders = IdentityHeaders::remote;

fn printed(proxy: Proxy, host: &str, upstream: &str, app: Option<App>, names: &IdentityHeaders) -> String {
    proxy.guard(&Guard {
        host: &Site::parse(host).unwrap(),
        upstream: &Upstream::parse(upstream).unwrap(),
        doorbook: &Upstream::parse("127.0.0.1:3001").unwrap(),
        login: &Site::parse("auth.example.org").unwrap(),
        app,
        names,
    })
}

fn deploy(path: &str) -> String {
    let path = format!("{}/deploy/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const FILES: [(Proxy, &str, &str); 3] = [
    (Proxy::Nginx, "nginx", "conf"),
    (Proxy::Caddy, "caddy", "caddyfile"),
    (Proxy::Traefik, "traefik", "yml"),
];

#[test]
fn the_examples_are_what_the_command_prints() {
    for (proxy, dir, end) in FILES {
        let own = printed(proxy, "app.example.org", "127.0.0.1:3000", None, &NAMES());
        assert_eq!(own, deploy(&format!("{dir}/app.{end}")), "the template is not what it becomes");
        for app in App::value_variants() {
            let name = app.to_possible_value().unwrap().get_name().to_owned();
            let upstream = if *app == App::Jellyfin { "127.0.0.1:8096" } else { "127.0.0.1:3000" };
            let text = printed(proxy, &format!("{name}.example.org"), upstream, Some(*app), &NAMES());
            assert_eq!(
                text,
                deploy(&format!("{dir}/{name}.{end}")),
                "doorbook proxy {dir} --host {name}.example.org --upstream {upstream} --app {name} \
                 --login-host auth.example.org --doorbook 127.0.0.1:3001"
            );
        }
        let login = Site::parse("auth.example.org").unwrap();
        let doorbook = Upstream::parse("127.0.0.1:3001").unwrap();
        assert_eq!(proxy.login(&login, &doorbook), deploy(&format!("{dir}/login.{end}")));
    }
}

#[test]
fn a_value_is_never_taken_for_a_name() {
    for (proxy, ..) in FILES {
        let text = printed(proxy, "auth.example.org.app.example.org", "127.0.0.1:3001", None, &NAMES());
        assert!(
            text.contains("auth.example.org.app.example.org")
                && text.contains("https://auth.example.org/logout"),
            "{text}"
        );
        assert!(!text.contains("127.0.0.1:3000"), "{text}");
    }
}

#[test]
fn whatever_the_headers_are_called_the_app_hears_them_and_no_client_says_them() {
    let own = IdentityHeaders { user: "X-My-User".into(), ..IdentityHeaders::webauth() };
    for (name, names) in [("x_auth_request", IdentityHeaders::x_auth_request()), ("own", own)] {
        for (proxy, dir, _) in FILES {
            let text = printed(proxy, "app.example.org", "127.0.0.1:3000", None, &names);
            assert!(!text.to_lowercase().contains("remote-") && !text.contains("remote_user"), "{text}");
            let usual = deploy_template(proxy);
            let changed: Vec<&str> =
                text.lines().filter(|line| !usual.lines().any(|old| old == *line)).collect();
            crate::snapshot!(format!("proxy_{dir}_{name}"), changed.join("\n"));
        }
    }
}

fn deploy_template(proxy: Proxy) -> String {
    printed(proxy, "app.example.org", "127.0.0.1:3000", None, &NAMES())
}
