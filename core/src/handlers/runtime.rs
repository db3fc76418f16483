//! How the broker is doing: GET_BROKER_RUNTIME_INFO (28), and the refusal of figures that are not kept (315).
//!
//! Owns the keys that mqadmin and the dashboard read (protocol.md 10.3) and what each shard contributes. Figures that have no
//! meaning here (queues of thread pools) are given as 0, because older tools fail on a missing key.

use std::collections::BTreeMap;

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::cluster::KvTable;
use ringmq_protocol::headers::group::StatsHeader;
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, ShardId};
use crate::gather::Part;
use crate::shard::Shard;
use crate::store::retention::Volume;

/// One shard's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    /// Messages per 1,000 seconds over 10, 60 and 600 s.
    rates_in: [u64; 3],
    rates_out: [u64; 3],
    /// Bytes of the log's life, and those not on the disk yet.
    appended: u64,
    undurable: u64,
    /// How long the oldest of those has been waiting for the disk, ms.
    undurable_ms: u64,
    /// Damaged places found in the log, and messages that consumers were led past because of them.
    damaged: [u64; 2],
    /// When the oldest message was stored, ms; `None` without messages.
    earliest_ms: Option<i64>,
    now_ms: i64,
    /// When the process started, ms; from the control shard.
    started_ms: Option<i64>,
    /// Whether its log stopped after a failed write.
    stopped: bool,
    /// Bytes of the log's life that have expired.
    expired: u64,
    /// The volume its files lie on; all shards share one.
    volume: Option<Volume>,
}

/// Keys that older tools read and that mean nothing here.
const ZEROS: &[&str] = &[
    "sendThreadPoolQueueSize",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "EndTransactionQueueSize",
    "sendThreadPoolQueueCapacity",
    "pullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueCapacity",
    "queryThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "EndTransactionThreadPoolQueueCapacity",
    "pageCacheLockTimeMills",
    "dispatchBehindBytes",
    "remainTransientStoreBufferNumbs",
    "timerReadBehind",
    "timerOffsetBehind",
    "timerCongestNum",
    "timerEnqueueTps",
    "timerDequeueTps",
    "putMessageEntireTimeMax",
    "getMessageEntireTimeMax",
    "msgPutTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgGetTotalYesterdayMorning",
    "msgGetTotalTodayMorning",
];

/// This shard's figures.
pub fn part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let Shard { counts, log, queues, control, .. } = shard;
    let rates_in = counts.rate_in.look(ask.now, counts.messages_in);
    let rates_out = counts.rate_out.look(ask.now, counts.messages_out);
    let oldest = queues.earliest_ms(log.layout())?;
    Ok(Some(Part::Figures(Box::new(Figures {
        messages_in: counts.messages_in,
        messages_out: counts.messages_out,
        bytes_in: counts.bytes_in,
        rates_in,
        rates_out,
        appended: log.appended().0,
        undurable: log.undurable().bytes,
        undurable_ms: log
            .undurable()
            .oldest_us
            .map_or(0, |oldest| ask.now.mono_us.saturating_sub(oldest).div_ceil(1_000)),
        damaged: [counts.frames_damaged, counts.messages_damaged],
        earliest_ms: oldest,
        now_ms: ask.now.wall_ms,
        started_ms: control.as_deref().map(|control| control.started_ms),
        stopped: log.fault().is_some(),
        expired: log.start().0,
        volume: log.retention.volume,
    }))))
}

/// Adds the shards' figures up.
pub fn merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let mut all = Figures::default();
    for part in parts {
        if let Part::Figures(own) = part {
            all.add(&own);
        }
    }
    let _ = out.answer_body(to, &bodies::to_vec(&KvTable { table: all.table() }));
}

impl Figures {
    fn add(&mut self, own: &Figures) {
        self.messages_in += own.messages_in;
        self.messages_out += own.messages_out;
        self.bytes_in += own.bytes_in;
        for (sum, rate) in self.rates_in.iter_mut().zip(own.rates_in) {
            *sum += rate;
        }
        for (sum, rate) in self.rates_out.iter_mut().zip(own.rates_out) {
            *sum += rate;
        }
        self.appended += own.appended;
        self.undurable += own.undurable;
        self.undurable_ms = self.undurable_ms.max(own.undurable_ms);
        for (sum, own) in self.damaged.iter_mut().zip(own.damaged) {
            *sum += own;
        }
        self.earliest_ms = match (self.earliest_ms, own.earliest_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.now_ms = self.now_ms.max(own.now_ms);
        self.started_ms = self.started_ms.or(own.started_ms);
        self.stopped |= own.stopped;
        self.expired += own.expired;
        self.volume = self.volume.or(own.volume);
    }

    fn table(&self) -> BTreeMap<String, String> {
        let mut table: BTreeMap<String, String> = ZEROS.iter().map(|key| ((*key).to_owned(), "0".to_owned())).collect();
        let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
        let tps = |milli: [u64; 3]| milli.map(|rate| format!("{}.{:03}", rate / 1_000, rate % 1_000)).join(" ");
        let started = self.started_ms.unwrap_or(self.now_ms);
        put("brokerVersionDesc", concat!("V5_3_3 RingMQ ", env!("CARGO_PKG_VERSION")).to_owned());
        put("brokerActive", (!self.stopped).to_string());
        put("bootTimestamp", started.to_string());
        put("runtime", duration_text(self.now_ms - started));
        put("putTps", tps(self.rates_in));
        for key in ["getTransferredTps", "getTotalTps", "getFoundTps"] {
            put(key, tps(self.rates_out));
        }
        put("getMissTps", tps([0; 3]));
        put("msgPutTotalTodayNow", self.messages_in.to_string());
        put("msgGetTotalTodayNow", self.messages_out.to_string());
        put("putMessageTimesTotal", self.messages_in.to_string());
        put("putMessageSizeTotal", self.bytes_in.to_string());
        put("putMessageAverageSize", format!("{:.1}", self.bytes_in as f64 / self.messages_in.max(1) as f64));
        put("putMessageDistributeTime", String::new());
        put("putLatency99", "0.0".to_owned());
        put("putLatency999", "0.0".to_owned());
        // clusterList shows the hours since then: without messages it is none.
        put("earliestMessageTimeStamp", self.earliest_ms.unwrap_or(self.now_ms).to_string());
        put("commitLogMinOffset", self.expired.to_string());
        put("commitLogMaxOffset", self.appended.to_string());
        put("remainHowManyDataToFlush", format!("{} B", self.undurable));
        // What a power cut now would take of async topics; RingMQ's own.
        put("undurableBytes", self.undurable.to_string());
        put("undurableMs", self.undurable_ms.to_string());
        put("ringmqDamagedPlaces", self.damaged[0].to_string());
        put("ringmqDamagedMessagesSkipped", self.damaged[1].to_string());
        // -1 is RocketMQ's own word for a ratio that is not known. Queues lie on the log's volume.
        let ratio = self.volume.and_then(|volume| volume.used_percent());
        let ratio = ratio.map_or("-1.0".to_owned(), |percent| format!("{}", f64::from(percent) / 100.0));
        put("commitLogDiskRatio", ratio.clone());
        put("consumeQueueDiskRatio", ratio);
        put("commitLogDirCapacity", capacity_text(self.volume));
        put("startAcceptSendRequestTimeStamp", "0".to_owned());
        table
    }
}

/// `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`, as tools show it.
fn duration_text(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// `Total : 251.0 GiB, Free : 61.0 GiB.`, as tools show it.
fn capacity_text(volume: Option<Volume>) -> String {
    match volume.filter(|volume| volume.total > 0) {
        Some(volume) => format!("Total : {}, Free : {}.", bytes_text(volume.total), bytes_text(volume.free)),
        None => "Total : unknown, Free : unknown.".to_owned(),
    }
}

/// Bytes in the largest fitting unit (MixAll.humanReadableByteCount).
fn bytes_text(bytes: u64) -> String {
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    match power.checked_sub(1) {
        None => format!("{bytes} B"),
        Some(unit) => {
            let value = bytes as f64 / (1u64 << (10 * power)) as f64;
            format!("{value:.1} {}iB", ["K", "M", "G", "T", "P", "E"][unit as usize])
        }
    }
}

/// VIEW_BROKER_STATS_DATA: no such figure is kept. Tools take code 1 for "nothing yet" and go on.
pub fn no_figure(_shard: &mut Shard, ask: &Ask<'_>, _out: &mut Effects) -> Result<Answer, Refusal> {
    let StatsHeader { stats_name, stats_key } = ask.header()?;
    let remark = format!("The stats <{stats_name}> <{stats_key}> not exist: this version keeps no figures per topic");
    Err(Refusal::new(ResponseCode::SystemError, remark))
}
