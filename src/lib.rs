//! doorbook: a Discord login server whose source of truth is an event log.
//!
//! The modules in reading order: what may happen ([`domain`]), how it is kept ([`event_log`]) and sealed
//! ([`crypto`]), the one door to change ([`app`]), the way out ([`discord`]), what goes on between two
//! commands ([`grants`]), questions about the log ([`audit`]), and the ways in ([`http`], [`control`], [`cli`]).

pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod crypto;
pub mod discord;
pub mod disk;
pub mod domain;
pub mod entropy;
pub mod event_log;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grants;
pub mod http;
pub mod serve;
pub mod telemetry;
