//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    match doorbook::cli::Outside::of_process() {
        Ok(mut outside) => doorbook::cli::run(std::env::args_os(), &mut outside),
        // Not even the working directory can be read: there is nowhere to look for a configuration.
        Err(_) => ExitCode::from(3),
    }
}
