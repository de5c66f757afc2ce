//! The flags of the settings, made from the table of settings.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::settings::{self, Kind};

/// The settings given as flags.
///
/// A brief command understands all of them as well, and shows only those that matter to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags<const BRIEF: bool>(pub(super) BTreeMap<&'static str, String>);

/// Every setting, shown.
pub(super) type AllFlags = Flags<false>;

/// Every setting, most of them hidden.
pub(super) type BriefFlags = Flags<true>;

const SHOWN_IN_BRIEF: [&str; 2] = ["data-dir", "rust-log"];

impl<const BRIEF: bool> Args for Flags<BRIEF> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help(format!("The configuration file [{}]", settings::CONFIG_VARIABLE))
            .help_heading("Settings");
        let mut command = command.arg(file);
        for setting in settings::ALL.iter().filter(|setting| !setting.flag.is_empty()) {
            let hidden = setting.kind == Kind::Later || (BRIEF && !SHOWN_IN_BRIEF.contains(&setting.flag));
            let default = setting.default.map(|default| format!(", default {default}")).unwrap_or_default();
            let arg = Arg::new(setting.flag)
                .long(setting.flag)
                .value_name(setting.shape)
                .help(format!("{} [{}{default}]", setting.help, setting.variable))
                .help_heading("Settings")
                .hide(hidden);
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const BRIEF: bool> FromArgMatches for Flags<BRIEF> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let names = settings::ALL.iter().map(|setting| setting.flag).filter(|flag| !flag.is_empty());
        for name in names.chain(["config"]) {
            if let Some(value) = matches.get_one::<String>(name) {
                self.0.insert(name, value.clone());
            }
        }
        Ok(())
    }
}
