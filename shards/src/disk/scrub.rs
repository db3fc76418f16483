//! The scrub: full segments and their indexes are read slowly, over and over, and what is damaged is said before anybody needs it.
//!
//! Owns the pace and the order. What is damaged is core's to say; a consumer who comes to it later is led past it. Never reads
//! the segments that are written to: recovery and their consumers do.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ringmq_core::event::{DiskError, Input};
use ringmq_core::shard::Shard;
use ringmq_core::store::cold::Damage;
use ringmq_core::store::continuity::{Continuity, Lost};
use ringmq_core::store::index_file::IndexFile;
use ringmq_core::store::survey::{Met, Survey};
use ringmq_core::store::{Position, SegmentBase};

use super::Disk;
use super::said::{News, Of};
use super::segment_file::SegmentFile;
use crate::clock;
use crate::limits;

impl Disk {
    /// Starts the scrub, in the background.
    pub fn start_scrub(self: &Rc<Self>) {
        let scrub = Disk::keep_scrubbing(Rc::downgrade(self));
        glommio::spawn_local_into(scrub, self.queues.preparing).expect("the queue was made").detach();
    }

    /// Reads everything that is full, round after round, until the shard is gone.
    async fn keep_scrubbing(disk: Weak<Disk>) {
        loop {
            let Some(every) = disk.upgrade().and_then(|own| own.scrub_every()) else { return };
            glommio::timer::sleep(limits::SCRUB_REST.min(every)).await;
            let Some(own) = disk.upgrade() else { return };
            let begun_us = clock::mono_us();
            let directory = own.directory.clone();
            if let Some((_, hosted)) = own.owner() {
                own.said.forget_below(hosted.shard.apply(|shard| shard.log.start().0));
            }
            drop(own);
            // A few hundred names; no helper thread, whose answer nobody would take when the broker stops.
            for base in indexed(&directory).unwrap_or_default() {
                let Some(own) = disk.upgrade() else { return };
                // One that went away meanwhile is nobody's loss.
                let _ = own.scrub(base).await;
            }
            // The setting may change meanwhile.
            while let Some(every) = disk.upgrade().and_then(|own| own.scrub_every())
                && clock::mono_us() < begun_us + every.as_micros() as u64
            {
                glommio::timer::sleep(limits::SCRUB_REST.min(every)).await;
            }
        }
    }

    /// From the beginning of one round to the next; none at the end of the process.
    fn scrub_every(&self) -> Option<Duration> {
        let (_, hosted) = self.owner()?;
        Some(Duration::from_secs(hosted.shard.apply(|shard| shard.metadata.settings.store.scrub_every)))
    }

    /// One segment and its index.
    async fn scrub(self: &Rc<Self>, base: SegmentBase) -> Result<(), DiskError> {
        let Some(mut survey) = self.survey(base) else { return Ok(()) };
        self.scrub_index(base).await?;
        let path = self.directory.join(base.log_name());
        let file = SegmentFile::open(&path, self.mode).await?;
        let mut found: Vec<Damage> = Vec::new();
        while let Some(range) = survey.next_read() {
            self.pause(range.len).await;
            let read = file.read(range.offset, range.len as usize).await?;
            survey.supply(read.as_ref(), |met| match met {
                Met::Damage(damage) => found.push(damage),
                Met::Record(..) | Met::End(_) => {}
            });
        }
        // Released and used again meanwhile: then it is not this segment's bytes that were read.
        if fs::metadata(&path).is_err() {
            return Ok(());
        }
        let places: Vec<String> = found.iter().map(|damage| damage.place(&self.layout)).collect();
        let finding = Some(places.join(", ")).filter(|places| !places.is_empty());
        match self.said.note(base, Of::Segment, finding.as_deref()) {
            News::None => return Ok(()),
            News::Healed => {
                let name = base.log_name();
                crate::info!(
                    "shard {}: scrub: {name} is whole again; what was damaged is served after a restart",
                    self.id.0
                );
                return Ok(());
            }
            News::Found => {}
        }
        if let Err(error) = self.name_queues(base, &file, &found).await {
            // The next round says it.
            let _ = self.said.note(base, Of::Segment, None);
            return Err(error);
        }
        if let Some((driver, hosted)) = self.owner() {
            for damage in found {
                driver.happened(&hosted, Input::Damaged { damage });
            }
        }
        Ok(())
    }

    /// Says whose messages are lost, as far as the segment itself tells.
    async fn name_queues(&self, base: SegmentBase, file: &SegmentFile, found: &[Damage]) -> Result<(), DiskError> {
        let Some(mut survey) = self.survey(base) else { return Ok(()) };
        // Of the first segment it is known that every queue begins in it at 0.
        let mut seen = Continuity::new(base.0 == 0);
        while let Some(range) = survey.next_read() {
            self.pause(range.len).await;
            let read = file.read(range.offset, range.len as usize).await?;
            survey.supply(read.as_ref(), |met| match met {
                Met::Record(at, bytes) => seen.record(at, bytes),
                Met::Damage(damage) => seen.damage(damage),
                Met::End(_) => {}
            });
        }
        for toll in seen.finish().0.iter().filter(|toll| found.contains(&toll.damage) && !toll.lost.is_empty()) {
            let queues: Vec<String> = toll.lost.iter().map(Lost::to_string).collect();
            let place = toll.damage.place(&self.layout);
            crate::error!("shard {}: scrub: {place}: lost are {}", self.id.0, queues.join(", "));
        }
        Ok(())
    }

    fn survey(&self, base: SegmentBase) -> Option<Survey> {
        let end = Position(self.layout.end_of(base));
        let (_, hosted) = self.owner()?;
        hosted.shard.apply(|shard: &mut Shard| {
            (shard.log.durable() >= end).then(|| Survey::new(self.layout, shard.log.seed(), base, end))
        })
    }

    async fn scrub_index(&self, base: SegmentBase) -> Result<(), DiskError> {
        let file = SegmentFile::open(&self.directory.join(base.index_name()), self.mode).await?;
        let mut bytes = Vec::with_capacity(file.size() as usize);
        while (bytes.len() as u64) < file.size() {
            let len = (file.size() - bytes.len() as u64).min(limits::READ_CHUNK as u64);
            self.pause(len).await;
            let read = file.read(bytes.len() as u64, len as usize).await?;
            if read.as_ref().is_empty() {
                break;
            }
            bytes.extend_from_slice(read.as_ref());
        }
        let finding = IndexFile::decode(&bytes, &self.layout, base).is_none().then_some("its checksum is wrong");
        let news = self.said.note(base, Of::Index, finding);
        if news == News::Healed {
            crate::info!("shard {}: scrub: {} is whole again", self.id.0, base.index_name());
        }
        if news == News::Found {
            crate::error!(
                "shard {}: scrub: {}/{} is damaged: its checksum is wrong. It is made again from the segment",
                self.id.0,
                self.directory.display(),
                base.index_name()
            );
        }
        if finding.is_some()
            && let Some((_, hosted)) = self.owner()
        {
            hosted.shard.apply(|shard| shard.queues.found_damaged(base));
        }
        Ok(())
    }

    /// Keeps to the allowed bytes a second (scrubRate); waits while there is none.
    async fn pause(&self, bytes: u64) {
        loop {
            let rate = self.owner().map_or(0, |(_, hosted)| {
                hosted.shard.apply(|shard: &mut Shard| shard.metadata.settings.store.scrub_rate)
            });
            match rate {
                0 => glommio::timer::sleep(limits::SCRUB_REST).await,
                rate => return glommio::timer::sleep(Duration::from_micros(bytes * 1_000_000 / rate)).await,
            }
            if self.owner().is_none() {
                return;
            }
        }
    }
}

/// The segments of a directory that have an index, and so are full.
fn indexed(directory: &Path) -> io::Result<Vec<SegmentBase>> {
    let mut bases = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let base = name.to_str().and_then(SegmentBase::parse_name).filter(|(_, extension)| *extension == "index");
        bases.extend(base.map(|(base, _)| base));
    }
    Ok(bases.into_iter().collect())
}
