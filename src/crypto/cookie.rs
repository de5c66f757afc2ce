//! What a browser may keep for us: sealed, or only authenticated, and good for one purpose.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::id::{LogId, Secret};
use crate::entropy::Entropy;

use super::block::part;
use super::secret_key::SecretKey;

/// No browser keeps a longer cookie; nothing longer is looked at.
const LONGEST: usize = 8_192;
const NONCE: usize = 24;

/// The key behind login attempts, app cookies and tickets.
///
/// Each purpose has its own key, so what was made for one is worth nothing for another. The log id is part of
/// each, so two installations with one `COOKIE_SECRET` do not take each other's.
#[derive(Clone)]
pub struct CookieKey {
    root: SecretKey,
    entropy: Arc<dyn Entropy>,
}

impl CookieKey {
    /// Derives the key from `COOKIE_SECRET`.
    pub fn from_secret(log: LogId, secret: &Secret, entropy: Arc<dyn Entropy>) -> CookieKey {
        CookieKey::derive(log, secret.expose().as_bytes(), entropy)
    }

    pub(super) fn from_key(log: LogId, key: &SecretKey, entropy: Arc<dyn Entropy>) -> CookieKey {
        CookieKey::derive(log, key.expose(), entropy)
    }

    fn derive(log: LogId, secret: &[u8], entropy: Arc<dyn Entropy>) -> CookieKey {
        CookieKey { root: SecretKey::derive(&log.0, &[secret], &[b"doorbook/v1/cookie"]), entropy }
    }

    /// Seals `plaintext` for `purpose`: base64url of nonce and ciphertext.
    ///
    /// It opens only with the same `associated` bytes. At most 6,000 bytes come back: a cookie is short.
    #[expect(clippy::expect_used, reason = "the cipher takes 256 GiB")]
    pub fn seal(&self, purpose: &str, associated: &[u8], plaintext: &[u8]) -> String {
        let nonce = self.entropy.draw::<NONCE>();
        let sealed = self.key("seal", purpose).lock(&nonce, associated, plaintext).expect("it is short");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made for the same purpose and the same `associated` bytes.
    pub fn open(&self, purpose: &str, associated: &[u8], text: &str) -> Option<Zeroizing<Vec<u8>>> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        self.key("seal", purpose).unlock(nonce, associated, sealed)
    }

    /// Authenticates `message` for `purpose` by HMAC-SHA256.
    pub fn tag(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        // The first half of HKDF is HMAC-SHA256, the salt being its key (RFC 5869, section 2.2).
        let (tag, _) = Hkdf::<Sha256>::extract(Some(self.key("tag", purpose).expose()), message);
        part(&tag, 0)
    }

    /// Says, in constant time, whether `tag` is that of `message`.
    pub fn verify_tag(&self, purpose: &str, message: &[u8], tag: &[u8]) -> bool {
        bool::from(self.tag(purpose, message).ct_eq(tag))
    }

    fn key(&self, way: &str, purpose: &str) -> SecretKey {
        let info = [b"doorbook/v1/cookie/", way.as_bytes(), b"/", purpose.as_bytes()];
        SecretKey::derive(&[], &[self.root.expose()], &info)
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}
