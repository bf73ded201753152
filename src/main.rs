//! The command line. All it does is in [`wgen::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    wgen::cli::main()
}
