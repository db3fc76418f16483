//! `compare`: RingMQ beside the Apache broker and a broker that stores nothing. See `ringmq_perf::compare`.

use std::process::ExitCode;

use clap::Parser;
use ringmq_perf::compare::cli::Args;
use ringmq_perf::compare::{self, workloads};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for workload in workloads::WORKLOADS {
            println!("{:<20}  {}", workload.name, workload.about);
        }
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        eprintln!(
            "compare: this is a debug build, its figures would mislead; use: cargo run --release -p ringmq-perf --bin compare"
        );
        return ExitCode::from(2);
    }
    match compare::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("compare: {problem}");
            ExitCode::from(2)
        }
    }
}
