//! Any record, for property tests.
