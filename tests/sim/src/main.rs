//! `ringmq-sim`: runs seeds and says which one found what.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use clap::Parser;
use ringmq_sim::planted::Planted;
use ringmq_sim::runs;
use ringmq_sim::world::Outcome;

/// Simulates a broker of several shards with power cuts, torn writes and failing disks.
#[derive(Parser)]
#[command(
    name = "ringmq-sim",
    version,
    after_help = "\
Examples:
  ringmq-sim --seeds 1000          a thousand fresh seeds
  ringmq-sim --seed 42             one seed again, bit for bit, with what it came to
  ringmq-sim --from 0 --seeds 500  seeds 0 to 499
  ringmq-sim --seeds 50 --steps 200 --every-step
                                   short seeds, each with a power cut after each of its steps"
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
    /// Cut the power after each step of each seed, too
    #[arg(long)]
    every_step: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed.filter(|_| !flags.every_step) {
        return one(seed, flags.steps);
    }
    let fresh = || UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64 & 0xffff_ffff;
    let from = flags.seed.or(flags.from).unwrap_or_else(fresh);
    let seeds = if flags.seed.is_some() { 1 } else { flags.seeds };
    println!("seeds {from} to {}, {} steps each", from + seeds - 1, flags.steps);
    many(from, seeds, &flags)
}

fn run(seed: u64, steps: u32) -> Result<Outcome, String> {
    runs::run(seed, steps, Planted::Nothing)
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

/// What all seeds came to: messages sent, kept; cuts, stops, faults; damaged directories healed, refused; segments released;
/// directories rewritten.
type Total = [u64; 9];

fn work(seed: u64, flags: &Flags, total: &mut Total) -> Result<(), String> {
    if flags.every_step {
        return runs::cut_at_every_step(seed, flags.steps);
    }
    let outcome = run(seed, flags.steps)?;
    let Outcome { trace: _, sent, kept, cuts, stops, faults, healed, refused, released, resharded } = outcome;
    let counts = [cuts, stops, faults, healed, refused, released, resharded].map(u64::from);
    let parts = [sent as u64, kept as u64].into_iter().chain(counts);
    total.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    Ok(())
}

fn many(from: u64, seeds: u64, flags: &Flags) -> ExitCode {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let (mut failed, mut total) = (Vec::new(), Total::default());
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= seeds {
                return (failed, total);
            }
            if n > 0 && n.is_multiple_of(1_000) {
                println!("  {n} seeds, {:.0} s", begin.elapsed().as_secs_f64());
            }
            failed.extend(work(from + n, flags, &mut total).err().map(|why| (from + n, why)));
        }
    };
    let (mut failed, mut total) = (Vec::new(), Total::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for handle in workers {
            let (some, sums) = handle.join().expect("a worker catches what a seed does");
            failed.extend(some);
            total.iter_mut().zip(sums).for_each(|(sum, part)| *sum += part);
        }
    });
    let [sent, kept, cuts, stops, faults, healed, refused, released, resharded] = total;
    println!(
        "{sent} messages sent, {kept} kept, {cuts} power cuts, {stops} orderly stops, {faults} disk faults, \
         {healed} damaged directories healed, {refused} refused, {released} segments released, {resharded} directories \
         rewritten to other numbers of shards, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    failed.sort();
    let more = if flags.every_step { " --every-step" } else { "" };
    for (seed, why) in failed.iter().take(20) {
        let steps = flags.steps;
        println!(
            "seed {seed}: {why}\n  again: cargo run --release -p ringmq-sim -- --seed {seed} --steps {steps}{more}"
        );
    }
    println!("{} passed, {} failed", seeds - failed.len() as u64, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
