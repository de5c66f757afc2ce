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

    /// Returns the key that authenticates messages for `purpose`.
    pub fn tag_key(&self, purpose: &str) -> TagKey {
        TagKey(self.key("tag", purpose))
    }

    fn key(&self, way: &str, purpose: &str) -> SecretKey {
        let info = [b"doorbook/v1/cookie/", way.as_bytes(), b"/", purpose.as_bytes()];
        SecretKey::derive(&[], &[self.root.expose()], &info)
    }
}

/// The key that authenticates messages for one purpose.
#[derive(Clone)]
pub struct TagKey(SecretKey);

impl TagKey {
    /// Authenticates `message` by HMAC-SHA256.
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        // The first half of HKDF is HMAC-SHA256, the salt being its key (RFC 5869, section 2.2).
        let (tag, _) = Hkdf::<Sha256>::extract(Some(self.0.expose()), message);
        part(&tag, 0)
    }

    /// Says, in constant time, whether `tag` is that of `message`.
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        bool::from(self.tag(message).ct_eq(tag))
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn key(log: u8, secret: &str) -> CookieKey {
        CookieKey::from_secret(LogId([log; 16]), &Secret::new(secret), Arc::new(SeededEntropy::new("cookie")))
    }

    #[test]
    fn a_sealed_text_opens_for_its_purpose_and_nothing_else() {
        let ours = key(1, "a secret of at least 32 bytes or so");
        let text = ours.seal("attempt", b"bound", b"state and verifier");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_eq!(*ours.open("attempt", b"bound", &text).unwrap(), b"state and verifier");
        assert_ne!(ours.seal("attempt", b"bound", b"state and verifier"), text, "the nonce is drawn anew");
        assert!(ours.open("ticket", b"bound", &text).is_none());
        assert!(ours.open("attempt", b"", &text).is_none());
        assert!(key(2, "a secret of at least 32 bytes or so").open("attempt", b"bound", &text).is_none());
        assert!(key(1, "another secret of at least 32 bytes").open("attempt", b"bound", &text).is_none());
    }

    #[test]
    fn a_sealed_text_that_was_changed_cut_or_blown_up_does_not_open() {
        let ours = key(1, "secret");
        let text = ours.seal("attempt", b"", b"state");
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = [&text[..at], other, &text[at + 1..]].concat();
            assert!(ours.open("attempt", b"", &changed).is_none(), "{at}");
            assert!(ours.open("attempt", b"", &text[..at]).is_none(), "{at}");
        }
        for wrong in ["", "=", "é", " ", &format!("{text}="), &format!("{text}A"), &format!(" {text}")] {
            assert!(ours.open("attempt", b"", wrong).is_none(), "{wrong:?}");
        }
        let longest = ours.seal("attempt", b"", &[7; 6_000]);
        assert_eq!(ours.open("attempt", b"", &longest).unwrap().len(), 6_000);
        let too_long = ours.seal("attempt", b"", &[7; 6_200]);
        assert!(ours.open("attempt", b"", &too_long).is_none());
    }

    #[test]
    fn a_tag_holds_for_its_message_and_purpose_alone() {
        let ours = key(1, "secret").tag_key("app");
        let tag = ours.tag(b"sid and scope");
        assert!(ours.verify(b"sid and scope", &tag));
        assert!(!ours.verify(b"sid and another", &tag));
        assert!(!ours.verify(b"sid and scope", &tag[..31]));
        assert!(!ours.verify(b"sid and scope", &[]));
        assert!(!key(1, "secret").tag_key("ticket").verify(b"sid and scope", &tag));
        assert!(!key(2, "secret").tag_key("app").verify(b"sid and scope", &tag));
    }

    #[test]
    fn the_forms_are_frozen() {
        // Computed once by another program, from the forms as documented.
        let ours = key(1, "secret");
        assert_eq!(
            hex::encode(ours.tag_key("app").tag(b"message")),
            "f2b31587132e3eb8dbf3d3b61107344fde098144a196510bddfd4de10fa67429"
        );
        assert_eq!(
            ours.seal("attempt", b"bound", b"state"),
            "QmSanzWjijdgpG6Y62ChvURjN6Vx7PSFPaXN71pH1mRjXI5oia-biYd2NLGv"
        );
    }

    #[test]
    fn a_tag_is_hmac_sha_256_as_rfc_4231_says() {
        // Test case 2, by the construction that `tag` uses.
        let (tag, _) = Hkdf::<Sha256>::extract(Some(b"Jefe"), b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(part::<32>(&tag, 0)), expected);
    }
}
