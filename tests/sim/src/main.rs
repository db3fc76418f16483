//! `ringmq-sim`: runs seeds and says which one found what.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use clap::Parser;
use ringmq_sim::world::{Outcome, World};

/// Simulates a broker of several shards with power cuts, torn writes and failing disks.
#[derive(Parser)]
#[command(
    name = "ringmq-sim",
    version,
    after_help = "\
Examples:
  ringmq-sim --seeds 1000          a thousand fresh seeds
  ringmq-sim --seed 42             one seed again, bit for bit, with what it came to
  ringmq-sim --from 0 --seeds 500  seeds 0 to 499"
)]
struct Flags {
    /// One seed
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed; fresh ones from the clock if absent
    #[arg(long)]
    from: Option<u64>,
    /// Actions per seed
    #[arg(long, default_value_t = 1_500)]
    steps: u32,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        return one(seed, flags.steps);
    }
    let fresh = || UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64 & 0xffff_ffff;
    let from = flags.from.unwrap_or_else(fresh);
    println!("seeds {from} to {}, {} steps each", from + flags.seeds - 1, flags.steps);
    many(from, flags.seeds, flags.steps)
}

fn run(seed: u64, steps: u32) -> Result<Outcome, String> {
    World::new(seed)?.run(steps)
}

fn one(seed: u64, steps: u32) -> ExitCode {
    match (run(seed, steps), run(seed, steps)) {
        (Ok(first), Ok(second)) if first == second => {
            println!("seed {seed}: {first:?}");
            ExitCode::SUCCESS
        }
        (Err(first), Err(second)) if first == second => {
            println!("seed {seed}: {first}");
            ExitCode::FAILURE
        }
        (first, second) => {
            println!("seed {seed} does not replay:\n  {first:?}\n  {second:?}");
            ExitCode::FAILURE
        }
    }
}

fn many(from: u64, seeds: u64, steps: u32) -> ExitCode {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let (mut failed, mut total) = (Vec::new(), [0_u64; 5]);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= seeds {
                return (failed, total);
            }
            if n > 0 && n.is_multiple_of(1_000) {
                println!("  {n} seeds, {:.0} s", begin.elapsed().as_secs_f64());
            }
            match run(from + n, steps) {
                Err(why) => failed.push((from + n, why)),
                Ok(outcome) => {
                    let Outcome { trace: _, sent, kept, cuts, stops, faults } = outcome;
                    let parts = [sent as u64, kept as u64, cuts.into(), stops.into(), faults.into()];
                    total.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
                }
            }
        }
    };
    let (mut failed, mut total) = (Vec::new(), [0_u64; 5]);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for handle in workers {
            // A panic in a shard is a finding as well; the seed is in its message's thread output.
            let (some, sums) = handle.join().expect("a shard panicked: run the seeds one by one to see which");
            failed.extend(some);
            total.iter_mut().zip(sums).for_each(|(sum, part)| *sum += part);
        }
    });
    let [sent, kept, cuts, stops, faults] = total;
    println!(
        "{sent} messages sent, {kept} kept, {cuts} power cuts, {stops} orderly stops, {faults} disk faults, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    failed.sort();
    for (seed, why) in failed.iter().take(20) {
        println!("seed {seed}: {why}\n  again: cargo run --release -p ringmq-sim -- --seed {seed} --steps {steps}");
    }
    println!("{} passed, {} failed", seeds - failed.len() as u64, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
