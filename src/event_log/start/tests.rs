//! The promises of a start.
