//! Background steps of a shard: each bounded, each with its own deadline, none running while there is nothing to do.
//!
//! Owns the table of duties (one row each) and when each is due. A duty sleeps until somebody arms it; its step says
//! when it wants to run again. Never runs a step by itself: `Shard::apply` does on `Input::Tick`.

use crate::effects::Effects;
use crate::event::Now;
use crate::shard::Shard;

/// When a duty wants to run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At this mono time, microseconds.
    At(u64),
    /// When it is armed.
    WhenArmed,
}

/// One bounded step of a duty.
pub type Step = fn(&mut Shard, Now, &mut Effects) -> Next;

macro_rules! duties {
    ($($(#[$meta:meta])* $name:ident => $step:path;)*) => {
        /// The duties of a shard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Duty { $($(#[$meta])* $name,)* }

        impl Duty {
            /// All of them, in the order they run when due together.
            pub const ALL: &[Duty] = &[$(Duty::$name,)*];

            /// What it does.
            pub fn step(self) -> Step {
                match self { $(Duty::$name => $step,)* }
            }
        }
    };
}

duties! {
    /// Writes changed consumer offsets to the log.
    WriteOffsets => crate::handlers::offset::write_offsets;
    /// Answers gathers whose parts are late.
    EndGathers => crate::gather::end_late;
    /// Delivers delayed messages that are due.
    Deliver => crate::delay::deliver_due;
    /// Asks producers about half messages that nobody decided.
    CheckHalves => crate::half::check_due;
    /// Takes back popped messages that were not acknowledged in time.
    Revive => crate::pop::revive::revive_due;
}

/// When each duty is due.
#[derive(Debug)]
pub struct Duties {
    due: [Option<u64>; Duty::ALL.len()],
}

impl Default for Duties {
    fn default() -> Self {
        Duties { due: [None; Duty::ALL.len()] }
    }
}

impl Duties {
    /// Wants the duty to run at `at` (mono microseconds) or earlier.
    #[inline]
    pub fn arm(&mut self, duty: Duty, at: u64) {
        let due = &mut self.due[duty as usize];
        *due = Some(due.map_or(at, |earlier| earlier.min(at)));
    }

    /// When the next one is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.due.iter().flatten().min().copied()
    }

    /// Takes a due duty; its step may arm it again.
    pub fn take_due(&mut self, mono_us: u64) -> Option<Duty> {
        let due = |duty: &&Duty| self.due[**duty as usize].is_some_and(|at| at <= mono_us);
        let duty = *Duty::ALL.iter().find(due)?;
        self.due[duty as usize] = None;
        Some(duty)
    }
}
