//! The rules, pure: what an event is, what follows from a command, and what replaying events gives.
//!
//! Nothing here reads a clock, draws a random number, touches a file or knows a format.

pub mod access;
pub mod app_cookie;
pub mod command;
pub mod decide;
pub mod drawn;
pub mod event;
pub mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod host;
pub mod id;
pub mod identity;
pub mod login;
pub mod path;
pub mod record;
pub mod rules;
pub mod scopes;
pub mod state;
pub mod target;
pub mod time;
