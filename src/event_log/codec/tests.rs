//! The promises of the codec.
