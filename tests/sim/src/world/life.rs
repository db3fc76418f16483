//! The life of segments and of the directory: looks at the volume, files that go or are used again, another number of shards.
//!
//! Owns what the driver does about released segments, step by step, so that the power can be cut between any two; and what the
//! volume looks like. What may go the ledger is told here and nowhere else.

use ringmq_core::event::Input;
use ringmq_core::retain;
use ringmq_core::store::Checkpoint;
use ringmq_core::store::retention::Volume;

use super::{Removal, SHARDS, World};
use crate::ledger::After;
use crate::planted::Planted;

impl World {
    /// Once a second, on one shard. Now and then the disk is nearly full, with whatever.
    pub(super) fn look_at_volume(&mut self) {
        let id = self.node();
        let segment = self.harness.nodes[0].shard.log.layout().segment_size();
        let all = self.harness.nodes.len() as u64 * segment;
        let crowded = self.random.percent(8);
        if crowded {
            self.ledger.disk_is_crowded();
        }
        let lies = self.planted == Planted::ReleasesTooMuch;
        let used = if crowded || lies { 86 + self.random.below(10) } else { 10 + self.random.below(60) };
        let node = &mut self.harness.nodes[usize::from(id.0)];
        let total = 100 * all;
        let spares = node.disk.spares.len() as u32;
        let volume =
            Volume { total, used: total * used / 100, free: total - total * used / 100, spares, ..Volume::default() };
        let before = node.shard.log.start().0;
        self.harness.apply(id, Input::Volume(volume));
        self.harness.settle();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        self.outcome.released += ((node.shard.log.start().0 - before) / segment) as u32;
        if self.planted == Planted::RemovesEarly {
            let start = node.shard.log.start().0;
            node.disk.segments.retain(|base, _| *base >= start);
        }
    }

    /// One step of the removal of a released segment's files.
    pub(super) fn remove_released(&mut self) {
        let id = self.node();
        let node = &mut self.harness.nodes[usize::from(id.0)];
        let Some(at) = self.removing.iter().position(|(shard, _, _)| *shard == id) else {
            if let Some(base) = node.shard.log.take_removable(node.shard.reads.oldest()) {
                self.removing.push((id, base.0, Removal::Taken));
            }
            return;
        };
        let (_, base, step) = self.removing[at];
        match step {
            Removal::Taken => {
                node.disk.indexes.remove(&base);
                node.disk.partials.remove(&base);
                self.removing[at].2 = Removal::WithoutIndex;
            }
            Removal::WithoutIndex => {
                let file = node.disk.segments.remove(&base);
                if node.disk.spares.len() < retain::spares(&node.shard) {
                    node.disk.spares.extend(file);
                }
                node.shard.log.removed();
                self.removing.swap_remove(at);
            }
        }
    }

    /// The broker stops, its directory is rewritten to another number of shards, and it starts.
    pub(super) fn reshard(&mut self) -> Result<(), String> {
        let to = 1 + self.random.below(SHARDS) as u16;
        self.restart_with(After::Stop, Some(to))
    }

    /// Starts on the directory rewritten to so many shards.
    pub(super) fn start_rewritten(&mut self, to: u16) -> Result<(), String> {
        self.outcome.resharded += 1;
        self.harness.reshard(to).map_err(|error| format!("to {to} shards: {error}"))?;
        // A half message has another place now; its producer is asked about it again.
        self.halves.clear();
        if self.planted == Planted::ReshardForgetsOffsets {
            for node in &mut self.harness.nodes {
                node.disk.checkpoints = without_offsets(&node.disk.checkpoints);
            }
            self.harness.crash().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn without_offsets(checkpoints: &[Option<Vec<u8>>; 2]) -> [Option<Vec<u8>>; 2] {
    checkpoints.clone().map(|file| {
        let mut checkpoint = Checkpoint::decode(&file?)?;
        checkpoint.sections.retain(|section| section.kind != 17);
        Some(checkpoint.encode())
    })
}
