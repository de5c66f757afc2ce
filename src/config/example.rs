//! `.env.example` and the README's table, written from the settings themselves.

use std::fmt::Write as _;

use super::settings::{self, Kind, Setting};

/// Returns the contents of `.env.example`.
pub fn dot_env() -> String {
    let mut text = String::from(
        "# doorbook reads `.env` in the directory it is started in; what the environment already sets counts more.\n\
         # Copy this file to `.env`, fill in what is required, and see `doorbook config check`.\n\
         # Put a value with a space, a # or a $ in 'single quotes'.\n",
    );
    let _ = writeln!(text, "\n# Required.");
    for setting in settings::ALL.iter().filter(|setting| setting.required.is_some()) {
        entry(&mut text, setting, "");
    }
    let _ = writeln!(text, "\n# Optional; the values shown are the defaults.");
    for setting in settings::ALL.iter().filter(|s| s.required.is_none() && s.kind != Kind::Later) {
        entry(&mut text, setting, "#");
    }
    let _ = writeln!(
        text,
        "\n# The file with the same settings, if it is not ./doorbook.toml or /etc/doorbook/doorbook.toml."
    );
    let _ = writeln!(text, "#{}=", settings::CONFIG_VARIABLE);
    let _ = writeln!(text, "\n# Not supported by this version yet: setting one of these is an error.");
    for setting in settings::ALL.iter().filter(|setting| setting.kind == Kind::Later) {
        entry(&mut text, setting, "#");
    }
    text
}

fn entry(text: &mut String, setting: &Setting, comment: &str) {
    let _ = writeln!(text, "\n# {}.", setting.help);
    if let Some(place) = setting.required {
        let _ = writeln!(text, "# From: {place}");
    }
    if let Some(alias) = setting.alias {
        let _ = writeln!(text, "# {alias} is read as well.");
    }
    if setting.kind == Kind::Secret {
        let _ = writeln!(text, "# Or the name of a file that holds it: {}.", setting.file_variable());
    }
    let _ = writeln!(text, "{comment}{}={}", setting.variable, setting.default.unwrap_or_default());
}

/// Returns the README's table of settings, in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for setting in settings::ALL.iter().filter(|setting| setting.kind != Kind::Later) {
        let default = match (setting.default, setting.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, Some(_)) => "required".to_owned(),
            (None, None) => "none".to_owned(),
        };
        let mut names = format!("`{}`", setting.variable);
        if setting.kind == Kind::Secret {
            let _ = write!(names, ", `{}`", setting.file_variable());
        }
        let _ = writeln!(text, "| {names} | {default} | {} |", setting.help);
    }
    text
}
