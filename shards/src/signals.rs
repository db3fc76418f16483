//! SIGTERM, Ctrl-C, and the bell that tells executors to stop.
//!
//! Owns the signal mask and the thread that waits for signals. The first signal rings every bell; the second ends the
//! process at once. No handler runs in signal context: signals are blocked everywhere and fetched by one thread.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// The exit code after a second signal, as shells report a process ended by SIGINT.
const EXIT_IMPATIENT: i32 = 130;

/// The side of a bell that an executor listens on: one byte arrives when it is time to stop.
///
/// A socket pair and not a shared flag, because a sleeping executor must be woken and glommio polls sockets.
#[derive(Debug)]
pub struct Bell(pub UnixStream);

/// The side that rings.
#[derive(Debug)]
pub struct Rope(UnixStream);

/// Makes a bell and its rope.
///
/// # Errors
/// The system is out of file descriptors.
pub fn bell() -> std::io::Result<(Rope, Bell)> {
    let (rope, bell) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    Ok((Rope(rope), Bell(bell)))
}

impl Rope {
    /// Rings the bell. An executor that is gone already hears nothing, which is fine.
    pub fn pull(&mut self) {
        let _ = self.0.write_all(b"!");
    }
}

/// Blocks SIGTERM and SIGINT for this thread and every thread started after it. Call before starting any.
pub fn block() {
    stop_signals().thread_block().expect("blocking two valid signals cannot fail");
}

/// Starts the thread that waits for signals and pulls the ropes.
///
/// # Errors
/// The system refuses another thread.
pub fn watch(mut ropes: Vec<Rope>) -> std::io::Result<()> {
    thread::Builder::new().name("signals".to_owned()).stack_size(64 * 1024).spawn(move || {
        let first = stop_signals().wait();
        crate::info!("{}: stopping; a second one ends the process at once", name(first));
        for rope in &mut ropes {
            rope.pull();
        }
        let second = stop_signals().wait();
        crate::warn!("{}: ended without waiting; the log will be replayed at the next start", name(second));
        std::process::exit(EXIT_IMPATIENT);
    })?;
    Ok(())
}

fn stop_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT])
}

fn name(signal: nix::Result<Signal>) -> &'static str {
    signal.map_or("signal", Signal::as_str)
}
