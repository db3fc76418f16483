//! The project's checks under one command, `cargo xtask`: what CI runs, the tidy rules, the generated pages.
//!
//! Owns the order of the steps and nothing of what they check: a step is a command anyone can run by hand.

mod instructions;
mod pages;
mod steps;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  ci           everything CI runs: tidy, pages, fmt, clippy, tests, simulation, processes, real clients
  test         the same without the real clients and the counting (no JDK, Maven, Go or valgrind needed)
  tidy         file lengths, file headers, words and dependencies that must not appear
  pages        check that the generated pages under docs/ are current (--write rewrites them)
  instructions count the instructions that a message takes and compare (--write accepts them; needs valgrind)
  sim [N]      N fresh seeds of the simulator (default 1000); the seed of a failure is printed
  fuzz recovery [--minutes N]
               damages directories and starts brokers on them (default 1 minute)

Examples:
  cargo xtask ci
  cargo xtask pages --write
  cargo xtask sim 5000
  cargo xtask fuzz recovery --minutes 30
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ci"] => steps::run(steps::Scope::Everything),
        ["test"] => steps::run(steps::Scope::WithoutClients),
        ["tidy"] => tidy::check(),
        ["pages"] => pages::check(false),
        ["pages", "--write"] => pages::check(true),
        ["instructions"] => instructions::check(false),
        ["instructions", "--write"] => instructions::check(true),
        ["sim"] => steps::simulate("1000"),
        ["sim", seeds] => steps::simulate(seeds),
        ["fuzz", "recovery"] => steps::fuzz_recovery("1"),
        ["fuzz", "recovery", "--minutes", minutes] => steps::fuzz_recovery(minutes),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("xtask: no command '{}'\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask: {why}");
            ExitCode::FAILURE
        }
    }
}
