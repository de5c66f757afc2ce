//! Not written yet.

pub mod stand_in;
