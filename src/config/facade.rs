//! What the configuration of a proxy repeats of ours; on the proxy's machine there may be none at all.

use std::net::SocketAddr;

use ipnet::IpNet;
use url::Url;

use super::reader::Reader;
use super::{ConfigErrors, Sources, Wrong};
use crate::domain::identity::IdentityHeaders;
use crate::domain::rules::Rules;

/// What the configuration of a proxy repeats of ours.
#[derive(Clone, Debug)]
pub struct Facade {
    /// Where we listen.
    pub listen: Vec<SocketAddr>,
    /// Where Discord sends browsers back, where that is known.
    pub redirect_url: Option<Url>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What the headers for apps are called.
    pub identity_headers: IdentityHeaders,
    /// Who may open what.
    pub rules: Rules,
}

impl Facade {
    /// Reads what a proxy in front has to know; what only `serve` needs may be missing, or for its eyes only.
    pub fn read(sources: &Sources) -> Result<Facade, ConfigErrors> {
        let mut reader = Reader::open(sources);
        let _ = reader.config();
        let is_ours = |wrong: &Wrong| !matches!(wrong, Wrong::Missing(_) | Wrong::UnreadableSecret { .. });
        reader.mistakes.retain(|mistake| is_ours(&mistake.wrong));
        let facade = reader.facade.take();
        reader.conclude(facade)
    }
}
