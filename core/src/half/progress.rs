//! What of the half messages survives a restart.
//!
//! Owns the payloads of the checkpoint section and of the HalfChecked record, and what a record of the log says about half
//! messages. A decision is in the record that it leads to (see the room's first page).
//!
//! ```text
//! section:     per message 0 position | 8 queue offset | 16 checks (4) | 20 immunity ms + 1, 0 for none | 28
//! HalfChecked: per message 0 position | 8 checks (4) | 12
//! ```

use ringmq_protocol::offset::{POSITION_LIMIT, Position, WireOffset};
use ringmq_protocol::record::RecordRef;
use ringmq_protocol::wire::Reader;

use super::table::{Table, Undecided};
use super::{HALF_TOPIC, Half, immunity_ms};

/// A payload that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHalfState;

/// What recovery has found so far.
#[derive(Debug, Default)]
pub struct Progress {
    table: Table,
}

impl Progress {
    /// Takes the checkpoint's section, before any record behind it.
    ///
    /// # Errors
    /// When it is not one.
    pub fn restore(&mut self, section: &[u8]) -> Result<(), BadHalfState> {
        let mut reader = Reader::new(section);
        while !reader.is_empty() {
            let row = (|| Some((reader.i64()?, reader.i64()?, reader.i32()?, reader.i64()?)))();
            let (at, queue_offset, checks, immunity) = row.ok_or(BadHalfState)?;
            let at = position(at).ok_or(BadHalfState)?;
            let queue_offset = u64::try_from(queue_offset).map_err(|_| BadHalfState)?;
            self.table.found(at, Undecided::new(queue_offset, (immunity as u64).checked_sub(1)));
            self.table.found_checks(at, checks as u32);
        }
        Ok(())
    }

    /// Takes a HalfChecked record.
    ///
    /// # Errors
    /// When it is not one.
    pub fn checked_record(&mut self, payload: &[u8]) -> Result<(), BadHalfState> {
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let row = (|| Some((reader.i64()?, reader.i32()?)))();
            let (at, checks) = row.ok_or(BadHalfState)?;
            self.table.found_checks(position(at).ok_or(BadHalfState)?, checks as u32);
        }
        Ok(())
    }

    /// Looks at a message record: a new half message, or the end of one. Records in log order, each once.
    pub fn saw(&mut self, record: &RecordRef<'_>) {
        if record.topic() == HALF_TOPIC {
            let own = WireOffset::from_wire(record.physical_offset()).map(WireOffset::position);
            if let (Some(own), Ok(queue_offset)) = (own, u64::try_from(record.queue_offset())) {
                self.table.found(own, Undecided::new(queue_offset, immunity_ms(record.properties())));
            }
        } else if let Some(half) = WireOffset::from_wire(record.prepared_transaction_offset()) {
            self.table.settle(half.position());
        }
    }

    /// What is undecided after the whole log. The duty is to run at once afterwards.
    pub fn finish(self) -> Half {
        Half { table: self.table }
    }
}

fn position(at: i64) -> Option<Position> {
    u64::try_from(at).ok().filter(|at| *at < POSITION_LIMIT).map(Position)
}

impl Half {
    /// The checkpoint's section: true for everything appended so far.
    pub fn section(&self) -> Vec<u8> {
        let mut section = Vec::with_capacity(28 * self.len());
        for (position, half) in self.table.iter() {
            section.extend_from_slice(&position.0.to_be_bytes());
            section.extend_from_slice(&half.queue_offset.to_be_bytes());
            section.extend_from_slice(&half.checks.to_be_bytes());
            let immunity = half.immunity_ms.map_or(0, |ms| ms.saturating_add(1));
            section.extend_from_slice(&immunity.to_be_bytes());
        }
        section
    }
}

/// One row of a HalfChecked record.
pub fn put_checked(payload: &mut Vec<u8>, position: Position, checks: u32) {
    payload.extend_from_slice(&position.0.to_be_bytes());
    payload.extend_from_slice(&checks.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::table::Pace;
    use super::*;
    use ringmq_protocol::properties::{self, names};
    use ringmq_protocol::record::{Message, PropertyParts};

    fn record(topic: &str, offset: i64, physical: i64, prepared: i64, properties: &str) -> Vec<u8> {
        let message = Message {
            topic,
            queue_id: 0,
            flag: 0,
            queue_offset: offset,
            physical_offset: physical,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: "10.0.0.9:1".parse().unwrap(),
            store_timestamp: 0,
            store_host: "10.0.0.1:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: prepared,
            body: b"x",
            properties: PropertyParts::just(properties),
        };
        let size = message.size().unwrap();
        let mut bytes = vec![0; size.total];
        message.encode_into(&mut bytes, &size);
        bytes
    }

    fn saw(progress: &mut Progress, bytes: &[u8]) {
        progress.saw(&RecordRef::parse(bytes).unwrap());
    }

    fn undecided(half: &Half) -> Vec<(u64, u64, u32, Option<u64>)> {
        let row =
            |(position, half): (Position, &Undecided)| (position.0, half.queue_offset, half.checks, half.immunity_ms);
        half.table.iter().map(row).collect()
    }

    #[test]
    fn the_log_tells_what_is_undecided() {
        let mut progress = Progress::default();
        let immune = properties::build([(names::CHECK_IMMUNITY_TIME_IN_SECONDS, "9")]);
        saw(&mut progress, &record(HALF_TOPIC, 0, 100, 0, ""));
        saw(&mut progress, &record(HALF_TOPIC, 1, 300, 0, &immune));
        saw(&mut progress, &record(HALF_TOPIC, 2, 500, 0, ""));
        saw(&mut progress, &record("orders", 0, 700, 0, ""));
        saw(&mut progress, &record("orders", 1, 900, 100, ""));
        let mut checked = Vec::new();
        put_checked(&mut checked, Position(500), 2);
        put_checked(&mut checked, Position(100), 1);
        assert_eq!(progress.checked_record(&checked), Ok(()));
        let half = progress.finish();
        assert_eq!(undecided(&half), [(300, 1, 0, Some(9_000)), (500, 2, 2, None)]);
        let mut again = Progress::default();
        assert_eq!(again.restore(&half.section()), Ok(()));
        let mut again = again.finish();
        assert_eq!(undecided(&again), undecided(&half));
        again.table.set_pace(Pace { first_ms: 6, again_ms: 30 }, 0);
        assert_eq!(again.table.next_due_ms(), Some(30));
    }

    #[test]
    fn damaged_payloads_are_refused() {
        let mut progress = Progress::default();
        assert_eq!(progress.restore(&[0; 27]), Err(BadHalfState));
        assert_eq!(progress.restore(&[0xff; 28]), Err(BadHalfState));
        assert_eq!(progress.checked_record(&[0; 11]), Err(BadHalfState));
        assert_eq!(progress.checked_record(&[0xff; 12]), Err(BadHalfState));
    }
}
