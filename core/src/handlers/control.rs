//! The control shard's part of `apply`.

use crate::effects::Effects;
use crate::event::{ConnId, Now, ShardId, TopicWish};
use crate::shard::Shard;
use crate::store::Position;

pub fn closed(_: &mut Shard, _: Now, _: ConnId, _: &mut Effects) {}
pub fn durable(_: &mut Shard, _: Now, _: Position, _: &mut Effects) {}
pub fn tick(_: &mut Shard, _: Now, _: &mut Effects) {}
pub fn topic_wanted(_: &mut Shard, _: Now, _: ShardId, _: &TopicWish, _: &mut Effects) {}
pub fn group_wanted(_: &mut Shard, _: Now, _: ShardId, _: &str, _: &mut Effects) {}
pub fn confirmed(_: &mut Shard, _: Now, _: ShardId, _: u64, _: &mut Effects) {}
pub fn start(_: &mut Shard, _: Now, _: &mut Effects) {}
