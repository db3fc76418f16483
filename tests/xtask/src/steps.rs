//! The steps of a full check, in the order that fails soonest, each timed and named.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How much of the check to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All steps, with the real Java and Go clients and valgrind.
    Everything,
    /// All steps that need nothing but Rust.
    WithoutClients,
}

/// The workspace's root: two levels above this package.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the package lies at tests/xtask").to_path_buf()
}

/// Runs the steps; the first that fails ends the run.
pub fn run(scope: Scope) -> Result<(), String> {
    let begin = Instant::now();
    step("tidy", crate::tidy::check)?;
    cargo("fmt", &["fmt", "--all", "--check"])?;
    cargo("clippy", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    step("pages", || crate::pages::check(false))?;
    cargo("unit, script and golden tests", &["test", "--workspace", "--quiet"])?;
    cargo("release build", &["build", "--release", "--workspace", "--quiet"])?;
    if scope == Scope::Everything {
        step("instructions per message", || crate::instructions::check(false))?;
    }
    step("simulation", || simulate("400"))?;
    step("power cuts at every step", || simulator("ringmq-sim", &["--seeds", "8", "--steps", "120", "--every-step"]))?;
    step("starts on damaged directories", || fuzz_recovery("0.2"))?;
    cargo("real processes", &["test", "--release", "--quiet", "--package", "ringmq-e2e", "--features", "processes"])?;
    if scope == Scope::Everything {
        step("real Java and Go clients", || command(Command::new("bash").arg("tests/interop/run.sh").arg("--quick")))?;
    }
    println!("\nall checks passed in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Runs `seeds` fresh seeds of the simulator.
pub fn simulate(seeds: &str) -> Result<(), String> {
    seeds.parse::<u64>().map_err(|_| format!("'{seeds}' is not a number of seeds"))?;
    simulator("ringmq-sim", &["--seeds", seeds])
}

/// Damages directories for so many minutes and starts brokers on them.
pub fn fuzz_recovery(minutes: &str) -> Result<(), String> {
    minutes.parse::<f64>().map_err(|_| format!("'{minutes}' is not a number of minutes"))?;
    simulator("ringmq-fuzz", &["--minutes", minutes])
}

fn simulator(binary: &str, arguments: &[&str]) -> Result<(), String> {
    let run = ["run", "--release", "--quiet", "--package", "ringmq-sim", "--bin", binary, "--"];
    command(Command::new("cargo").args(run).args(arguments))
}

fn cargo(name: &str, arguments: &[&str]) -> Result<(), String> {
    step(name, || command(Command::new("cargo").args(arguments)))
}

fn step(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("\n== {name}");
    let begin = Instant::now();
    work().map_err(|why| format!("step '{name}' failed: {why}"))?;
    println!("== {name}: ok, {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn command(command: &mut Command) -> Result<(), String> {
    let status = command
        .current_dir(root())
        .status()
        .map_err(|error| format!("{:?} did not start: {error}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
