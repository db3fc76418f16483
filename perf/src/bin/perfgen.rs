//! perfgen's entry: refuses what would measure nothing, reads the command line, and leaves with an exit code.

use std::process::ExitCode;

use clap::Parser;
use ringmq_perf::cli::Cli;
use ringmq_perf::commands;

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("perfgen measures nothing in a debug build; build it with: cargo build --release -p ringmq-perf");
        return ExitCode::from(2);
    }
    match commands::execute(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("perfgen: {problem}");
            ExitCode::from(2)
        }
    }
}
