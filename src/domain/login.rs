//! One attempt to sign in: what is drawn before the browser leaves for Discord, and what must still
//! fit when it comes back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::id::Secret;
use super::target::Target;
use super::time::Timestamp;

/// How long a browser may stay away.
pub const ATTEMPT_MAX_AGE: Duration = Duration::from_secs(600);

/// A sign-in that has begun.
///
/// It is kept by the browser, sealed; the server keeps nothing, so strangers cannot fill anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAttempt {
    /// The value that Discord echoes: 256 bits, base64url.
    pub state: Secret,
    /// The PKCE verifier (RFC 7636): 256 bits, base64url.
    pub verifier: Secret,
    /// Where to go afterwards.
    pub target: Target,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// What a good answer lets the server go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Proves to Discord that we are who asked.
    pub verifier: Secret,
    /// Where to go afterwards.
    pub target: Target,
}

/// Why an answer does not belong to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The browser stayed away too long.
    #[error("the attempt is over")]
    Expired,
    /// The state is that of another attempt.
    #[error("the state is another attempt's")]
    OtherState,
}

impl LoginAttempt {
    /// Begins an attempt with random bytes drawn for it: 32 for the state, 32 for the verifier.
    pub fn begin(random: &[u8; 64], target: Target, now: Timestamp) -> LoginAttempt {
        let (state, verifier) = random.split_at(32);
        LoginAttempt {
            state: Secret::new(URL_SAFE_NO_PAD.encode(state)),
            verifier: Secret::new(URL_SAFE_NO_PAD.encode(verifier)),
            target,
            expires_at: now.plus(ATTEMPT_MAX_AGE),
        }
    }

    /// Returns the PKCE challenge of method S256.
    pub fn challenge(&self) -> String {
        challenge(&self.verifier)
    }

    /// Returns whether the attempt still counts.
    pub fn is_open(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Compares what came back, in constant time.
    pub fn accept(self, state: &str, now: Timestamp) -> Result<Accepted, NotAccepted> {
        if !bool::from(self.state.expose().as_bytes().ct_eq(state.as_bytes())) {
            return Err(NotAccepted::OtherState);
        }
        if !self.is_open(now) {
            return Err(NotAccepted::Expired);
        }
        Ok(Accepted { verifier: self.verifier, target: self.target })
    }
}

fn challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_323_045_000);

    fn attempt(seed: u8) -> LoginAttempt {
        let mut random = [seed; 64];
        random[63] = !seed;
        LoginAttempt::begin(&random, Target::root(), NOW)
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn state_and_verifier_are_43_characters_of_their_own() {
        let attempt = attempt(7);
        assert_eq!((attempt.state.expose().len(), attempt.verifier.expose().len()), (43, 43));
        assert_ne!(attempt.state, attempt.verifier);
    }

    #[test]
    fn only_its_own_state_is_accepted_and_only_in_time() {
        let begun = attempt(7);
        let state = begun.state.expose().to_owned();
        let accept =
            |state: &str, after: Duration| begun.clone().accept(state, NOW.plus(after)).map(|a| a.verifier);
        let last = ATTEMPT_MAX_AGE - Duration::from_millis(1);

        assert_eq!(accept(&state, Duration::ZERO), Ok(begun.verifier.clone()));
        assert_eq!(accept(&state, last), Ok(begun.verifier.clone()));
        assert_eq!(accept(&state, ATTEMPT_MAX_AGE), Err(NotAccepted::Expired));
        assert_eq!(accept(attempt(8).state.expose(), Duration::ZERO), Err(NotAccepted::OtherState));
        for wrong in ["", &state[..42], &format!("{state}A"), &state.to_lowercase()] {
            assert_eq!(accept(wrong, Duration::ZERO), Err(NotAccepted::OtherState), "{wrong:?}");
        }
    }

    #[test]
    fn an_attempt_prints_no_secret() {
        let attempt = attempt(7);
        let shown = format!("{attempt:?}");
        assert!(!shown.contains(attempt.state.expose()) && !shown.contains(attempt.verifier.expose()));
    }
}
