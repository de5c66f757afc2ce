//! What must hold for any bytes: the properties that `fuzz/` looks for a way around, and the bytes it has tried.
//!
//! Each stands beside what it is about, and takes whatever bytes there are. A property that does not hold panics.
//! `docs/fuzzing.md` says how to run them; `cargo test` runs each with every file in `fuzz/corpus/`.

pub use crate::audit::fuzzing::import;
pub use crate::config::fuzzing::rules;
pub use crate::discord::fuzzing::discord;
pub use crate::domain::fuzzing::rd;
pub use crate::event_log::codec::fuzzing::frame;
pub use crate::http::fuzzing::{cookie, forwarded};

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;
