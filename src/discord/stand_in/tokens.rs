//! What people granted to which application, and the tokens that follow from it.
//!
//! Discord knows one authorization per person and application: scopes accumulate in it, and whatever ends it ends
//! all its tokens. Tokens are known by their SHA-256 only.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::domain::id::{DiscordId, Hash};
use crate::domain::time::Timestamp;

/// How many pairs of tokens one authorization may have; the oldest die.
const PAIRS: usize = 100;

/// One person and one application.
pub(super) type Parties = (DiscordId, DiscordId);

/// What one person granted to one application.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Authorization {
    /// Every scope ever granted.
    pub scopes: BTreeSet<String>,
    /// The live tokens, oldest first.
    pub pairs: VecDeque<Pair>,
}

/// An access token, and the refresh token that came with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub access: Hash,
    /// None where the grant has none, or where it was used and the access token lives on.
    pub refresh: Option<Hash>,
    pub scopes: Vec<String>,
    pub expires_at: Timestamp,
    /// Whether a refresh made it.
    pub refreshed: bool,
}

/// All authorizations, and the way from a token to its own.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    authorizations: BTreeMap<Parties, Authorization>,
    by_token: HashMap<Hash, Parties>,
    /// Grows with every change, so that it can be told whether there is something to store.
    version: u64,
}

/// Whom an access token speaks for.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    pub application: DiscordId,
    pub person: DiscordId,
    pub scopes: Vec<String>,
    pub expires_at: Timestamp,
    pub refreshed: bool,
}

impl Tokens {
    /// Builds the tokens from what was stored.
    pub(super) fn from_stored(authorizations: BTreeMap<Parties, Authorization>) -> Tokens {
        let mut tokens = Tokens { authorizations, ..Tokens::default() };
        for (parties, authorization) in &tokens.authorizations {
            for pair in &authorization.pairs {
                tokens.by_token.insert(pair.access, *parties);
                tokens.by_token.extend(pair.refresh.map(|refresh| (refresh, *parties)));
            }
        }
        tokens
    }

    pub(super) fn authorizations(&self) -> &BTreeMap<Parties, Authorization> {
        &self.authorizations
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns whether everything in `scopes` was granted before.
    pub(super) fn covers(&self, parties: Parties, scopes: &[String]) -> bool {
        let granted = self.authorizations.get(&parties).map(|authorization| &authorization.scopes);
        granted.is_some_and(|granted| scopes.iter().all(|scope| granted.contains(scope)))
    }

    /// Returns every scope this person ever granted to this application.
    pub(super) fn granted(&self, parties: Parties) -> Vec<String> {
        let granted = self.authorizations.get(&parties).map(|a| a.scopes.iter().cloned().collect());
        granted.unwrap_or_default()
    }

    /// Adds scopes to what was granted.
    pub(super) fn grant(&mut self, parties: Parties, scopes: &[String]) {
        self.authorizations.entry(parties).or_default().scopes.extend(scopes.iter().cloned());
        self.version += 1;
    }

    /// Adds a pair of tokens.
    pub(super) fn issue(&mut self, parties: Parties, pair: Pair, now: Timestamp) {
        self.version += 1;
        self.by_token.insert(pair.access, parties);
        self.by_token.extend(pair.refresh.map(|refresh| (refresh, parties)));
        let pairs = &mut self.authorizations.entry(parties).or_default().pairs;
        pairs.push_back(pair);
        let mut dead: Vec<Pair> = Vec::new();
        pairs.retain(|pair| {
            let useless = pair.refresh.is_none() && pair.expires_at <= now;
            if useless {
                dead.push(pair.clone());
            }
            !useless
        });
        while pairs.len() > PAIRS {
            dead.extend(pairs.pop_front());
        }
        self.unlist(&dead);
    }

    /// Returns whom a live access token speaks for.
    pub(super) fn bearer(&self, access: &Hash, now: Timestamp) -> Option<Bearer> {
        let (application, person) = *self.by_token.get(access)?;
        let authorization = self.authorizations.get(&(application, person))?;
        let pair = authorization.pairs.iter().find(|pair| pair.access == *access)?;
        (now < pair.expires_at).then(|| Bearer {
            application,
            person,
            scopes: pair.scopes.clone(),
            expires_at: pair.expires_at,
            refreshed: pair.refreshed,
        })
    }

    /// Returns the pair of a live refresh token of `application`.
    pub(super) fn refreshable(&self, application: DiscordId, refresh: &Hash) -> Option<(Parties, Pair)> {
        let parties = *self.by_token.get(refresh).filter(|parties| parties.0 == application)?;
        let pair =
            self.authorizations.get(&parties)?.pairs.iter().find(|pair| pair.refresh == Some(*refresh))?;
        Some((parties, pair.clone()))
    }

    /// Uses a refresh token up; its access token dies with it, unless it is said to survive.
    pub(super) fn use_up(&mut self, parties: Parties, refresh: &Hash, access_survives: bool) {
        self.version += 1;
        self.by_token.remove(refresh);
        let Some(authorization) = self.authorizations.get_mut(&parties) else { return };
        let Some(at) = authorization.pairs.iter().position(|pair| pair.refresh == Some(*refresh)) else {
            return;
        };
        if access_survives {
            authorization.pairs[at].refresh = None;
        } else if let Some(pair) = authorization.pairs.remove(at) {
            self.by_token.remove(&pair.access);
        }
    }

    /// Returns to whom a token of either kind belongs.
    pub(super) fn owner(&self, token: &Hash) -> Option<Parties> {
        self.by_token.get(token).copied()
    }

    /// Ends an authorization and all its tokens; returns whether there was one.
    pub(super) fn end(&mut self, parties: Parties) -> bool {
        let Some(authorization) = self.authorizations.remove(&parties) else { return false };
        self.version += 1;
        let dead: Vec<Pair> = authorization.pairs.into();
        self.unlist(&dead);
        true
    }

    /// Ends all tokens of an authorization, which itself stays.
    pub(super) fn kill(&mut self, parties: Parties) {
        let Some(authorization) = self.authorizations.get_mut(&parties) else { return };
        self.version += 1;
        let dead: Vec<Pair> = std::mem::take(&mut authorization.pairs).into();
        self.unlist(&dead);
    }

    /// Ends everything a person granted to anybody; returns whether there was something.
    pub(super) fn end_all_of(&mut self, person: DiscordId) -> bool {
        let parties: Vec<Parties> =
            self.authorizations.keys().copied().filter(|parties| parties.1 == person).collect();
        parties.into_iter().fold(false, |any, parties| self.end(parties) || any)
    }

    /// Lets the access tokens of one person, or of all, expire now; returns how many did.
    pub(super) fn expire(&mut self, person: Option<DiscordId>, now: Timestamp) -> usize {
        self.version += 1;
        let concerned =
            self.authorizations.iter_mut().filter(|(parties, _)| person.is_none_or(|p| p == parties.1));
        let live = concerned.flat_map(|(_, authorization)| &mut authorization.pairs);
        live.filter(|pair| pair.expires_at > now).map(|pair| pair.expires_at = now).count()
    }

    fn unlist(&mut self, dead: &[Pair]) {
        for pair in dead {
            self.by_token.remove(&pair.access);
            if let Some(refresh) = &pair.refresh {
                self.by_token.remove(refresh);
            }
        }
    }
}

/// Makes a pair of tokens as they are remembered.
pub(super) fn pair(
    access: &str,
    refresh: Option<&str>,
    scopes: Vec<String>,
    now: Timestamp,
    life: Duration,
    refreshed: bool,
) -> Pair {
    Pair {
        access: Hash::of(access.as_bytes()),
        refresh: refresh.map(|text| Hash::of(text.as_bytes())),
        scopes,
        expires_at: now.plus(life),
        refreshed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const US: Parties = (DiscordId(1), DiscordId(2));

    fn issue(tokens: &mut Tokens, n: usize) {
        let (access, refresh) = (format!("a{n}"), format!("r{n}"));
        let life = Duration::from_secs(60);
        tokens.issue(US, pair(&access, Some(&refresh), vec!["identify".into()], NOW, life, false), NOW);
    }

    #[test]
    fn an_authorization_has_at_most_a_hundred_pairs_and_no_index_is_left_behind() {
        let mut tokens = Tokens::default();
        (0..150).for_each(|n| issue(&mut tokens, n));
        assert_eq!(tokens.by_token.len(), 200);
        assert!(tokens.bearer(&Hash::of(b"a49"), NOW).is_none());
        assert!(tokens.bearer(&Hash::of(b"a50"), NOW).is_some());
        assert!(tokens.end(US));
        assert!(tokens.by_token.is_empty());
        assert!(!tokens.end(US));
    }

    #[test]
    fn what_is_stored_and_read_back_knows_the_same_tokens() {
        let mut tokens = Tokens::default();
        tokens.grant(US, &["identify".into()]);
        (0..3).for_each(|n| issue(&mut tokens, n));
        let again = Tokens::from_stored(tokens.authorizations().clone());
        assert_eq!(again.by_token, tokens.by_token);
        assert!(again.covers(US, &["identify".into()]));
        assert!(!again.covers(US, &["identify".into(), "email".into()]));
    }
}
