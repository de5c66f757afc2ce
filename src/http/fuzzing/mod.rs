//! Fuzzed: the headers that strangers write, as browsers and as proxies send them.

mod cookie;
mod forwarded;

pub use cookie::cookie;
#[cfg(test)]
pub(crate) use cookie::jars;
pub use forwarded::forwarded;
