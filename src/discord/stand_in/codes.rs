//! Authorization codes: good once, for a hundred seconds, for one application and one redirect URI.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::id::{DiscordId, Hash};
use crate::domain::time::Timestamp;

/// How many codes are remembered; the oldest are forgotten.
const KEPT: usize = 10_000;

/// What a code stands for.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub application: DiscordId,
    pub person: DiscordId,
    pub redirect_uri: String,
    pub scopes: Vec<String>,
    /// The PKCE challenge, if one was sent.
    pub challenge: Option<String>,
    pub issued_at: Timestamp,
    /// Used ones stay until they are forgotten, so that a second use can be told from a guess.
    pub used: bool,
}

/// The codes that are out.
#[derive(Debug, Default)]
pub(super) struct Codes {
    by_hash: HashMap<Hash, Code>,
    order: VecDeque<Hash>,
}

impl Codes {
    pub(super) fn issue(&mut self, text: &str, code: Code) {
        let hash = Hash::of(text.as_bytes());
        self.by_hash.insert(hash, code);
        self.order.push_back(hash);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }

    /// Returns a code of `application`, used or not, that is not older than `life`.
    pub(super) fn find(
        &self,
        text: &str,
        application: DiscordId,
        life: Duration,
        now: Timestamp,
    ) -> Option<&Code> {
        let code = self.by_hash.get(&Hash::of(text.as_bytes()))?;
        (code.application == application && now.since(code.issued_at) < life).then_some(code)
    }

    /// Uses a code up.
    pub(super) fn use_up(&mut self, text: &str) {
        if let Some(code) = self.by_hash.get_mut(&Hash::of(text.as_bytes())) {
            code.used = true;
        }
    }

    /// Returns whether `text` is a code that is out.
    pub(super) fn knows(&self, text: &str) -> bool {
        self.by_hash.contains_key(&Hash::of(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ten_thousand_codes_are_remembered() {
        let mut codes = Codes::default();
        let code = Code {
            application: DiscordId(1),
            person: DiscordId(2),
            redirect_uri: String::new(),
            scopes: Vec::new(),
            challenge: None,
            issued_at: Timestamp(0),
            used: false,
        };
        (0..=KEPT).for_each(|n| codes.issue(&n.to_string(), code.clone()));
        assert!(!codes.knows("0"));
        assert!(codes.knows("1") && codes.knows(&KEPT.to_string()));
    }
}
