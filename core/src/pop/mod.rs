//! POP consumption: the broker, not the client, remembers who holds which message and until when.
//!
//! A pop hands messages of a queue to a group and makes them invisible to it for a time. What is acknowledged in that time
//! is done; what is not goes to the group's POP retry topic (`%RETRY%group_topic`), from which it is popped again.
//! Where the Java broker writes check-points and acks as timer messages and merges them later, each shard here keeps one
//! list per group and queue: what is out, and what comes next. Every change of it is a small record in the shard's log
//! (`record.rs`), so a recovered log has the list as of its end.
//!
//! **Acked once, gone for good.** An ack is answered when its record is durable. A message leaves the list by its ack or by
//! its copy into the retry topic, which lies on the same shard and stands in the same log, behind a record that announces it:
//! whatever prefix of the log a crash leaves, an answered ack is in it together with everything it refers to.
//! Popping itself waits for nothing: a pop that a crash forgot is handed out again.
//!
//! Owns the lists (`lines`), the pops that wait for a message (`rooms`), the strings of receipts (`receipt`) and the duty
//! that revives (`revive`). Requests are `handlers/pop*.rs`'s.

pub mod lines;
pub mod place;
pub mod receipt;
pub mod record;
pub mod revive;
pub mod rooms;

use std::collections::VecDeque;

use crate::append;
use crate::effects::Refusal;
use crate::event::{GatherId, Now, ShardId};
use crate::shard::Shard;
use crate::store::{OwnKind, OwnRecord, Position};
use lines::{Line, LineId, Lines};
use record::Op;
use rooms::Rooms;

/// Everything about POP on one shard.
#[derive(Debug, Default)]
pub struct Pop {
    pub lines: Lines,
    pub rooms: Rooms,
    /// Counts the pops: with which queue one begins, and whether with the retry topic.
    pub(crate) turn: usize,
    /// End of the last own record about POP; answers that promise something wait for it.
    pub(crate) written: Position,
    /// Batches of acks of other shards' clients (and own ones) that are not on disk yet, in log order.
    pub(crate) acked: VecDeque<(Position, ShardId, GatherId)>,
}

/// Writes one change of one line; the line itself is changed by the caller, behind it.
///
/// # Errors
/// SYSTEM_BUSY when the disk must catch up first, SERVICE_NOT_AVAILABLE when the log has stopped. Nothing changed then.
pub(crate) fn write(shard: &mut Shard, now: Now, line: LineId, op: &Op<'_>) -> Result<(), Refusal> {
    let Shard { log, pop, .. } = shard;
    let Line { topic, queue, group, .. } = &pop.lines[line];
    let payload = record::payload(topic, *queue, group, op);
    let record = OwnRecord { kind: OwnKind::Pop, payload: &payload };
    let size = record.size();
    let position = log.append(now.mono_us, size, |_, bytes| record.encode(bytes)).map_err(append::not_taken)?;
    pop.written = Position(position.0 + size as u64);
    Ok(())
}

/// A group is deleted: what it held is nobody's.
pub(crate) fn drop_group(shard: &mut Shard, now: Now, group: &str) {
    for id in shard.pop.lines.of_group(group) {
        // Refused: the lines are back after a restart, and with them messages that nobody asks for.
        let _ = write(shard, now, id, &Op::Gone);
        shard.pop.lines.drop_line(id);
    }
}
