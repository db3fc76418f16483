//! The broker, with a name server inside unless it is told of others.

use std::process::ExitCode;

use clap::Parser;
use ringmq_shards::args::BrokerArgs;
use ringmq_shards::launch;

fn main() -> ExitCode {
    match launch::broker(&BrokerArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("mqbroker: {refused}");
            ExitCode::FAILURE
        }
    }
}
