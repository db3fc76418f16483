//! The name server alone.

use std::process::ExitCode;

use clap::Parser;
use ringmq_shards::args::NamesrvArgs;
use ringmq_shards::launch;

fn main() -> ExitCode {
    match launch::name_server(&NamesrvArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("mqnamesrv: {refused}");
            ExitCode::FAILURE
        }
    }
}
