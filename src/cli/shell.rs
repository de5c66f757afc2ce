//! `doorbook completions` and `doorbook man`: what a package installs beside the program.

use super::failure::Failure;
use super::outside::Outside;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook completions bash > /etc/bash_completion.d/doorbook")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  doorbook man serve | man -l -")]
pub(super) struct ManArgs {
    /// The page of that command, such as `serve` or `sessions list`
    command: Vec<String>,
}

pub(super) fn completions(
    args: CompletionsArgs,
    mut command: clap::Command,
    outside: &mut Outside,
) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write, and a reader may hang up.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "doorbook", &mut script);
    outside.stdout.write_all(&script).map_err(Failure::Output)
}

pub(super) fn man(args: ManArgs, mut command: clap::Command, outside: &mut Outside) -> Result<(), Failure> {
    command.build();
    let mut page = &command;
    let mut name = vec!["doorbook".to_owned()];
    for word in &args.command {
        page = page
            .find_subcommand(word)
            .ok_or_else(|| Failure::Usage(format!("there is no command `{} {word}`", name.join(" "))))?;
        name.push(word.clone());
    }
    clap_mangen::Man::new(page.clone()).render(&mut outside.stdout).map_err(Failure::Output)
}
