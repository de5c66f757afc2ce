//! What keeps personal facts and tokens unreadable without `data/keys/`, and what forgets them for good.
//!
//! [`KeyRing`] is the whole of `data/keys/` in memory: it seals and opens boxes, knows which Discord user is
//! which pseudonym, signs, and holds the [`CookieKey`]. Reading it never touches the disk.
//!
//! ```text
//! kek          the root: one random key, two while a rekey is going on
//! subjects     Discord id, pseudonym and key of each user      months    a key for each calendar month
//! log, signer  one key each                                    cookie    one key, without COOKIE_SECRET
//! signer.next  the key that signs next, until the log names it
//! signer.past  what each key that signed said of the one after it; not secret
//! ```
//!
//! It makes keys ([`KeyRing::ensure_subject`]), destroys them for good ([`KeyRing::forget`]), and hands the
//! signature on ([`KeyRing::prepare_signer`]). [`KeyRing::look`] only reads. [`write_escrow`] puts all of it into
//! one file under a passphrase.

mod block;
mod cookie;
mod directory;
mod error;
mod escrow;
mod escrow_header;
mod files;
mod fingerprint;
mod forget;
mod growing;
mod handover;
mod keeper;
mod kek;
mod key_file;
mod key_ring;
#[cfg(test)]
mod kills;
mod known;
mod look;
mod rekey;
mod restore;
mod sealing;
mod secret_key;
mod signer;
#[cfg(test)]
mod trial;

pub use cookie::{CookieKey, TagKey};
pub use error::{EscrowError, KeyError, OpenError, SealError};
pub use escrow::{Escrow, read_escrow, write_escrow};
pub use escrow_header::EscrowHeader;
pub use forget::Forget;
pub use handover::handovers;
pub use key_ring::{KeyRing, KeySettings};
pub use signer::{NewSigner, signer_succession, verify_signature, verify_signer_succession};
