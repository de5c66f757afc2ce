//! What replaying events gives.

/// The state.
#[derive(Debug, Default)]
pub struct State {}
