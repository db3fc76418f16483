//! The broker, with a name server inside unless it is told of others.

use std::process::ExitCode;

use clap::Parser;
use ringmq_shards::args::{BrokerArgs, BrokerCommand};
use ringmq_shards::boot::Refused;
use ringmq_shards::boot::heap::Heap;
use ringmq_shards::{check, doctor, launch};

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> ExitCode {
    match run(&BrokerArgs::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(refused) => {
            eprintln!("mqbroker: {refused}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(args: &BrokerArgs) -> Result<bool, Refused> {
    match args.command {
        Some(BrokerCommand::Doctor) => doctor::examine(args),
        None if args.check => check::run(args),
        None => launch::broker(args).map(|()| true),
    }
}
