//! `doorbook proxy`: the configuration of a proxy that asks doorbook about every request for a host.

mod app;
mod place;
mod template;

use std::net::IpAddr;

use self::app::App;
use self::place::{Site, Upstream};
use self::template::{Guard, Proxy};
use super::failure::Failure;
use super::flags::BriefFlags;
use super::outside::Outside;
use crate::config::Facade;
use crate::domain::path::RulePath;
use crate::domain::rules::{Grants, Rules};

/// Print the configuration with which a proxy lets only those in whom doorbook lets in
///
/// It is one of the tested files in deploy/, with your names in it, and it takes out what a client may not say of
/// itself. Where no rule is for the host yet, the rule to paste is on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    doorbook proxy nginx --host wiki.example.org --upstream 127.0.0.1:3000 \\\n      \
    > /etc/nginx/conf.d/wiki.example.org.conf\n  \
    doorbook proxy caddy --host git.example.org --upstream 127.0.0.1:3000 --app gitea \\\n      \
    >> /etc/caddy/Caddyfile\n  \
    doorbook proxy nginx --login > /etc/nginx/conf.d/auth.example.org.conf")]
pub(super) struct Args {
    /// Whose configuration
    #[arg(value_enum)]
    proxy: Proxy,
    /// The host of the app, as browsers see it
    #[arg(long, value_name = "HOST", value_parser = Site::parse, required_unless_present = "login")]
    host: Option<Site>,
    /// Where the proxy reaches the app
    #[arg(long, value_name = "HOST:PORT", value_parser = Upstream::parse, required_unless_present = "login")]
    upstream: Option<Upstream>,
    /// With the header names and the notes of that app
    #[arg(long, value_enum)]
    app: Option<App>,
    /// Guard only that path and what is below it; everybody may open the rest
    ///
    /// Changes the rules to paste and not the configuration: doorbook reads paths more strictly than a proxy.
    #[arg(long, value_parser = rule_path)]
    path: Option<RulePath>,
    /// Print the configuration of the host where people sign in instead
    #[arg(long, conflicts_with_all = ["host", "upstream", "app", "path"])]
    login: bool,
    /// The host where people sign in; that of DISCORD_REDIRECT_URL where not given
    #[arg(long, value_name = "HOST", value_parser = Site::parse)]
    login_host: Option<Site>,
    /// Where the proxy reaches doorbook; where it listens, as configured, where not given
    #[arg(long, value_name = "HOST:PORT", value_parser = Upstream::parse)]
    doorbook: Option<Upstream>,
    #[command(flatten)]
    flags: BriefFlags,
}

fn rule_path(text: &str) -> Result<RulePath, String> {
    RulePath::parse(text).map_err(|_| "not a path, such as /admin".to_owned())
}

pub(super) fn run(args: Args, outside: &mut Outside) -> Result<(), Failure> {
    let facade = Facade::read(&outside.sources(args.flags.0.clone()))?;
    let login = args.login_host.clone().map_or_else(|| login_host(&facade), Ok)?;
    let doorbook = args.doorbook.clone().map_or_else(|| own_address(&facade), Ok)?;
    let text = match (&args.host, &args.upstream) {
        (Some(host), Some(upstream)) => {
            if *host == login {
                return Err(Failure::Usage(format!(
                    "{host} is where people sign in; its own configuration is printed with --login"
                )));
            }
            let names = &facade.identity_headers;
            advise(&facade.rules, host, &args, outside)?;
            let guard = Guard { host, upstream, doorbook: &doorbook, login: &login, app: args.app, names };
            args.proxy.guard(&guard)
        }
        _ => args.proxy.login(&login, &doorbook),
    };
    if !doorbook.is_loopback() && facade.trusted_proxies.iter().all(|network| network.addr().is_loopback()) {
        outside.say(
            "note: the proxy is on another machine than doorbook: name its address in DOORBOOK_TRUSTED_PROXIES, \
             or doorbook answers untrusted_proxy",
        )?;
    }
    outside.stdout.write_all(text.as_bytes()).map_err(Failure::Output)
}

fn login_host(facade: &Facade) -> Result<Site, Failure> {
    let Some(origin) = &facade.redirect_url else {
        return Err(Failure::Usage(
            "where do people sign in? Set DISCORD_REDIRECT_URL, or give --login-host auth.example.org"
                .to_owned(),
        ));
    };
    match (origin.scheme(), origin.port(), Site::parse(origin.host_str().unwrap_or_default())) {
        ("https", None, Ok(site)) => Ok(site),
        _ => Err(Failure::Usage(format!(
            "DISCORD_REDIRECT_URL is at {}, and these configurations are for https on its own port: give \
             --login-host auth.example.org",
            origin.origin().ascii_serialization()
        ))),
    }
}

/// Returns where a proxy on this machine reaches doorbook.
fn own_address(facade: &Facade) -> Result<Upstream, Failure> {
    let address = facade.listen.iter().find(|address| address.port() != 0).map(|address| {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{ip}:{}", address.port())
    });
    address.and_then(|address| Upstream::parse(&address).ok()).ok_or_else(|| {
        Failure::Usage("where does the proxy reach doorbook? Give --doorbook 127.0.0.1:3001".to_owned())
    })
}

/// Says what else has to be done for that host.
fn advise(rules: &Rules, host: &Site, args: &Args, outside: &mut Outside) -> Result<(), Failure> {
    let of_host = || rules.of_host(host.host());
    let by_default = rules.default_policy.is_for(host.host());
    let will_be_public = args.path.as_ref().is_some_and(|path| !path.is_root());
    let is_public = will_be_public || of_host().any(|rule| rule.grant == Grants::Public);
    if args.proxy == Proxy::Traefik && is_public {
        let words = "behind a public rule, Traefik passes \"-\" to the app as everything a person is";
        if matches!(args.app, Some(App::Grafana | App::Gitea)) {
            return Err(Failure::Usage(format!(
                "{words}, and this app would believe it: take nginx or Caddy, or guard all of {host}"
            )));
        }
        outside.say(format_args!("note: {words}: put no app there that believes the headers"))?;
    }
    if of_host().next().is_none() && (!by_default || will_be_public) {
        outside.say(format_args!(
            "note: no rule is for {host}, so {}; put this into doorbook.toml, and choose who may:\n\n{}",
            if by_default {
                "everybody who is signed in may open all of it"
            } else {
                "everybody is refused there"
            },
            rules_to_paste(host, args.path.as_ref())
        ))?;
    }
    Ok(())
}

fn rules_to_paste(host: &Site, path: Option<&RulePath>) -> String {
    let allow = "allow = [ { signed_in = true } ]   # or { guild = \"ID\" }, { guild = \"ID\", role = \"ID\" }, { group = \"NAME\" }";
    let rule = |lines: &str| format!("[[rule]]\nhost = \"{host}\"\n{lines}\n");
    match path.filter(|path| !path.is_root()) {
        None => rule(allow),
        Some(path) => {
            format!("{}\n{}", rule(&format!("path = \"{path}\"\n{allow}")), rule("public = true"))
        }
    }
}

#[cfg(test)]
mod tests;
