//! `doorbook proxy`: what it asks for, what it refuses, and what it says beside the configuration.

use super::*;

const WIKI: [&str; 6] = ["proxy", "nginx", "--host", "wiki.example.org", "--upstream", "127.0.0.1:8080"];

fn said(shell: &Shell, words: &[&str]) -> String {
    let came = shell.run(words);
    came.exits(0);
    assert!(came.out.contains("wiki.example.org"), "{}", came.out);
    came.err
}

#[test]
fn the_configuration_is_a_result_and_the_rule_to_paste_is_said_beside_it() {
    let shell = Shell::configured();
    snapshot!("proxy_without_a_rule", said(&shell, &WIKI));
    snapshot!("proxy_without_a_rule_for_a_path", said(&shell, &[&WIKI[..], &["--path", "/admin/"]].concat()));
    let printed = shell.run(&WIKI).out;
    assert!(
        printed.contains("proxy_pass http://127.0.0.1:8080;") && !printed.contains("[[rule]]"),
        "{printed}"
    );
    let login = shell.run(&["proxy", "nginx", "--login"]);
    login.exits(0);
    assert!(login.err.is_empty() && login.out.contains("server_name auth.example.org;"), "{}", login.shown());
}

#[test]
fn doorbook_is_where_the_configuration_says_and_where_a_flag_says() {
    let asks = |shell: &Shell, more: &[&str]| {
        let came = shell.run(&[&WIKI[..], more].concat());
        came.exits(0);
        let line = came.out.lines().find(|line| line.contains("/auth/nginx")).expect("it asks");
        line.trim().to_owned()
    };
    let shell = Shell::configured();
    assert_eq!(asks(&shell, &[]), "proxy_pass http://127.0.0.1:3001/auth/nginx;");
    assert_eq!(asks(&shell, &["--port", "4001"]), "proxy_pass http://127.0.0.1:4001/auth/nginx;");
    let open = Shell::configured().set("DOORBOOK_LISTEN", "0.0.0.0,[::1]:9");
    assert_eq!(asks(&open, &[]), "proxy_pass http://127.0.0.1:3001/auth/nginx;");
    let elsewhere = ["--doorbook", "doorbook:3001"];
    assert_eq!(asks(&shell, &elsewhere), "proxy_pass http://doorbook:3001/auth/nginx;");
    snapshot!("proxy_on_another_machine", said(&shell, &[&WIKI[..], &elsewhere].concat()));
    let unknown = Shell::new().run(&[&WIKI[..], &["--login-host", "login.example.org"]].concat());
    unknown.exits(0);
    assert!(unknown.out.lines().any(|line| line.ends_with(" https://login.example.org/logout")));
}

#[test]
fn a_host_that_is_covered_needs_no_rule() {
    let rules = |rules: &str| Shell::configured().file("doorbook.toml", rules);
    let to_all = "[[rule]]\nhost = \"*.example.org\"\nallow = [{ signed_in = true }]\n";
    assert_eq!(said(&rules(to_all), &WIKI), "");
    let by_policy = Shell::configured()
        .set("DOORBOOK_DEFAULT_POLICY", "signed-in")
        .set("DOORBOOK_COOKIE_DOMAIN", "example.org");
    assert_eq!(said(&by_policy, &WIKI), "");
    let one_path = said(&by_policy, &[&WIKI[..], &["--path", "/admin"]].concat());
    snapshot!("proxy_policy_and_a_path", one_path);

    let public = rules("[[rule]]\nhost = \"wiki.example.org\"\npublic = true\n");
    let traefik = ["proxy", "traefik", "--host", "wiki.example.org", "--upstream", "127.0.0.1:8080"];
    snapshot!("proxy_public_behind_traefik", said(&public, &traefik));
    public.run(&[&traefik[..], &["--app", "gitea"]].concat()).exits(2);
    assert_eq!(said(&public, &WIKI), "", "nginx takes away what nobody is");
}

#[test]
fn the_app_is_told_under_the_names_that_are_configured() {
    let names = |value: &str| {
        let shell = Shell::configured().set("DOORBOOK_IDENTITY_HEADERS", value);
        let caddy = ["proxy", "caddy", "--host", "wiki.example.org", "--upstream", "127.0.0.1:8080"];
        let came = shell.run(&caddy);
        came.exits(0);
        let line = came.out.lines().find(|line| line.contains("copy_headers")).expect("it copies");
        line.trim().to_owned()
    };
    assert_eq!(
        names("user=X-User"),
        "copy_headers X-User Remote-Name Remote-Email Remote-Groups X-Discord-Id X-Discord-Roles"
    );
    assert!(names("webauth").starts_with("copy_headers X-WEBAUTH-USER X-WEBAUTH-NAME "));
}

#[test]
fn what_cannot_be_printed_is_exit_2_and_nothing_is_printed() {
    let rows: [(&str, Shell, &[&str]); 10] = [
        ("nothing_configured", Shell::new(), &WIKI),
        ("no_host", Shell::configured(), &["proxy", "nginx"]),
        ("login_of_an_app", Shell::configured(), &["proxy", "caddy", "--login", "--app", "gitea"]),
        ("hostile_host", Shell::configured(), &["proxy", "nginx", "--host", "a.org;", "--upstream", "a:1"]),
        (
            "https_upstream",
            Shell::configured(),
            &["proxy", "nginx", "--host", "a.org", "--upstream", "https://a"],
        ),
        ("bad_path", Shell::configured(), &[&WIKI[..], &["--path", "/a/../b"]].concat()),
        (
            "the_login_host",
            Shell::configured(),
            &["proxy", "nginx", "--host", "auth.example.org", "--upstream", "127.0.0.1:1"],
        ),
        (
            "plain_http",
            Shell::configured()
                .set("DISCORD_REDIRECT_URL", "http://localhost:3001/api/auth/discord/redirect"),
            &WIKI,
        ),
        (
            "public_behind_traefik",
            Shell::configured(),
            &["proxy", "traefik", "--host", "a.org", "--upstream", "a:1", "--app", "grafana", "--path", "/d"],
        ),
        ("bad_configuration", Shell::configured().set("DOORBOOK_TRUSTED_PROXIES", "10.0.0.0/33"), &WIKI),
    ];
    for (name, shell, words) in rows {
        let came = shell.run(words);
        came.exits(2);
        assert!(came.out.is_empty(), "{}", came.shown());
        snapshot!(format!("proxy_refuses_{name}"), came.err);
    }
}
