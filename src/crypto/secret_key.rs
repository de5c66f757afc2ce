//! A key of 32 bytes, and the three things done with one: derive, lock, unlock.

use std::fmt;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::entropy::Entropy;

/// What the cipher adds to a text.
pub(super) const TAG: usize = 16;

/// 32 secret bytes, wiped when dropped.
///
/// They are on the heap, so that a map that grows does not leave copies of them behind.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct SecretKey(Box<[u8; 32]>);

impl SecretKey {
    /// Returns a new random key.
    pub(super) fn draw(entropy: &dyn Entropy) -> SecretKey {
        let mut key = Box::new([0; 32]);
        entropy.fill(&mut key[..]);
        SecretKey(key)
    }

    /// Copies a key out of `bytes`.
    pub(super) fn copy_of(bytes: &[u8; 32]) -> SecretKey {
        SecretKey(Box::new(*bytes))
    }

    /// Derives a key by HKDF-SHA256.
    #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes")]
    pub(super) fn derive(salt: &[u8], parts: &[&[u8]], info: &[&[u8]]) -> SecretKey {
        let ikm = Zeroizing::new(parts.concat());
        let mut key = Box::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), &ikm)
            .expand_multi_info(info, &mut key[..])
            .expect("32 bytes are within what HKDF gives");
        SecretKey(key)
    }

    /// Shows the bytes.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `text` by XChaCha20-Poly1305: the ciphertext with its tag behind it.
    ///
    /// `None` only beyond the cipher's 256 GiB.
    pub(super) fn lock(&self, nonce: &[u8; 24], associated: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        // The room for the tag is there from the start: a vector that moves would leave the text behind.
        let mut buffer = Vec::with_capacity(text.len() + TAG);
        buffer.extend_from_slice(text);
        self.cipher().encrypt_in_place(&XNonce::from(*nonce), associated, &mut buffer).ok()?;
        Some(buffer)
    }

    /// Opens what [`lock`](Self::lock) sealed, if nothing about it is different.
    pub(super) fn unlock(
        &self,
        nonce: &[u8; 24],
        associated: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(sealed.to_vec());
        self.cipher().decrypt_in_place(&XNonce::from(*nonce), associated, &mut *buffer).ok()?;
        Some(buffer)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_derived_as_rfc_5869_says() {
        // Appendix A.1, its first 32 bytes.
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let key = SecretKey::derive(&salt, &[&[0x0b; 10], &[0x0b; 12]], &[&info[..3], &info[3..]]);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(hex::encode(key.expose()), expected);
    }

    #[test]
    fn a_text_is_locked_as_the_draft_for_xchacha_says() {
        // draft-irtf-cfrg-xchacha-03, A.3.1.
        let key: [u8; 32] = std::array::from_fn(|n| 0x80 + u8::try_from(n).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + u8::try_from(n).unwrap());
        let associated = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                     future, sunscreen would be it.";
        let sealed = SecretKey::copy_of(&key).lock(&nonce, &associated, text).unwrap();
        assert!(hex::encode(&sealed).starts_with("bd6d179d3e83d43b9576579493c0e939572a1700252bfacc"));
        assert!(hex::encode(&sealed).ends_with("c0875924c1c7987947deafd8780acf49"));
    }
}
