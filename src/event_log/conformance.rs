//! The promises of every engine.
