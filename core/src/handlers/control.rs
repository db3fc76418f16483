//! The control shard's decisions: how a change of metadata is made, and what happens without a request.
//!
//! Owns `commit` (store a change, apply it here, send it to every shard), the notices to group members, the creation of
//! topics and groups on demand, and the start. Requests that lead to changes are in `client`, `topic_admin`, `group_admin`
//! and `config`. All of it does nothing on other shards.

use ringmq_protocol::encode::Head;
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::client::ConsumerGroupHeader;
use ringmq_protocol::names;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::append;
use crate::control::{Control, Ticket};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::{ConnId, Now, PeerMessage, ShardId, TopicWish};
use crate::group::members::GroupChange;
use crate::group::{Group, MessageModel};
use crate::peer;
use crate::shard::Shard;
use crate::store::{AppendRefused, Position};
use crate::topic::{Change, Perm, Registration, TOPICS_MAX, Topic, TopicKind, TopicSpec, at_boot, next_version};

/// Most consumer groups: one costs about 300 bytes on every shard.
pub const GROUPS_MAX: usize = 1_048_576;

/// The control shard's own part; a request that came to another shard by mistake is refused.
pub(crate) fn control(shard: &mut Shard) -> Result<&mut Control, Refusal> {
    let id = shard.id;
    shard.control.as_deref_mut().ok_or_else(|| {
        Refusal::new(ResponseCode::SystemError, format!("shard {} does not decide about topics and groups", id.0))
    })
}

/// Makes a change: it is stored, holds here at once, and is on its way to every shard. The ticket says when it holds for ever
/// and everywhere.
///
/// # Errors
/// When the log does not take it; nothing is changed then.
pub(crate) fn commit(shard: &mut Shard, now: Now, mut change: Change, out: &mut Effects) -> Result<Ticket, Refusal> {
    if control(shard)?.pending.is_full() {
        return Err(Refusal::new(ResponseCode::SystemBusy, "too many changes of topics and groups wait; try again"));
    }
    let until = change.keep(&mut shard.log, now.mono_us).map_err(not_stored)?;
    let control = control(shard)?;
    let version = control.pending.change(until, &change);
    note(control, now, &change, out);
    control.pending.confirm(ShardId::CONTROL, version);
    let until = until.max(peer::change(shard, now, change, out));
    Ok(Ticket { version, until })
}

#[cold]
fn not_stored(refused: AppendRefused) -> Refusal {
    match refused {
        AppendRefused::TooLarge { limit } => {
            Refusal::new(ResponseCode::InvalidParameter, format!("it takes more than {limit} bytes to describe"))
        }
        AppendRefused::Full { .. } => {
            Refusal::new(ResponseCode::SystemBusy, "the disk is behind; try again when it has caught up")
        }
        AppendRefused::Stopped(fault) => append::stopped(&fault),
    }
}

/// Counts a change in the tables' versions and in what name servers are told.
fn note(control: &mut Control, now: Now, change: &Change, out: &mut Effects) {
    let registration = match change {
        Change::TopicPut(topic) => {
            control.topic_version = next_version(control.topic_version, now);
            Registration::put(control.topic_version, &topic.name)
        }
        Change::TopicDrop { name } => {
            control.topic_version = next_version(control.topic_version, now);
            Registration::dropped(control.topic_version, name)
        }
        // The broker's permission is part of every topic's.
        Change::Setting { key, .. } if &**key == "brokerPermission" => {
            control.topic_version = next_version(control.topic_version, now);
            Registration::all(control.topic_version)
        }
        Change::GroupPut(_) | Change::GroupDrop { .. } => {
            control.group_version = next_version(control.group_version, now);
            return;
        }
        Change::View { .. } | Change::Setting { .. } => return,
    };
    out.announce = Some(match out.announce.take() {
        Some(earlier) => earlier.then(registration),
        None => registration,
    });
}

/// Holds the answer encoded last back until the ticket is due.
pub(crate) fn hold(
    shard: &mut Shard,
    ticket: Ticket,
    to: &ReplyTo,
    answer: Answer,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    match answer {
        Answer::Now => {
            control(shard)?.pending.hold_last(ticket, *to, out);
            Ok(Answer::Held)
        }
        other => Ok(other),
    }
}

/// Everything of the log that exists now and every change made so far: what somebody waits for who asks for a thing that
/// exists already, but perhaps not yet everywhere.
fn everything(shard: &mut Shard) -> Ticket {
    let until = shard.log.appended();
    let version = shard.control.as_deref().map_or(0, |control| control.pending.version());
    Ticket { version, until }
}

/// Once, when the process starts: the broker's own topics and groups exist, and all topics are announced.
pub fn start(shard: &mut Shard, now: Now, out: &mut Effects) {
    let own_from = out.peers.len();
    for boot in at_boot(&shard.metadata.settings) {
        let known = shard.metadata.topics.get(&boot.name);
        // A list of delay levels that grew needs more queues; nothing else about an existing topic is touched.
        if known.is_none_or(|topic| topic.write_queues < boot.queues && !topic.takes_sends()) {
            let topic = shard.metadata.topics.plan(TopicSpec::plain(&boot.name, boot.queues, boot.perm));
            // A log that takes nothing is reported by whoever opened it; the topic then exists at the next start.
            let _ = commit(shard, now, Change::TopicPut(topic), out);
        }
    }
    for (name, broadcasts) in BOOT_GROUPS {
        if shard.metadata.groups.get(name).is_none() {
            let group = Group { consume_broadcast_enable: *broadcasts, ..Group::named(name) };
            let _ = commit(shard, now, Change::GroupPut(group), out);
        }
    }
    if let Some(control) = shard.control.as_deref() {
        out.announce = Some(Registration::all(control.topic_version));
    }
    peer::deliver_own(shard, now, own_from, out);
}

/// Groups that exist without having been created, and whether they may broadcast (SubscriptionGroupManager.init).
const BOOT_GROUPS: &[(&str, bool)] = &[
    ("TOOLS_CONSUMER", true),
    ("FILTERSRV_CONSUMER", true),
    ("SELF_TEST_C_GROUP", true),
    ("CID_ONS-HTTP-PROXY", true),
    ("CID_ONSAPI_PULL", true),
    ("CID_ONSAPI_PERMISSION", true),
    ("CID_ONSAPI_OWNER", true),
    ("CID_RMQ_SYS_TRANS", true),
];

/// A connection is gone: its client leaves every group, and its locks run out soon.
pub fn closed(shard: &mut Shard, now: Now, conn: ConnId, out: &mut Effects) {
    let Some(control) = shard.control.as_deref_mut() else { return };
    let groups = control.members.groups_of(conn);
    control.locks.closed(now, conn, &groups);
    for (group, change) in control.members.closed(now, conn) {
        let _ = changed(shard, now, &group, change, out);
    }
}

/// Tells shards and members what a heartbeat or a leaving changed in a group.
///
/// # Errors
/// When too many changes wait.
pub(crate) fn changed(
    shard: &mut Shard,
    now: Now,
    group: &str,
    change: GroupChange,
    out: &mut Effects,
) -> Result<Option<Ticket>, Refusal> {
    let mut ticket = None;
    if change.view {
        let view = control(shard)?.members.view(group).cloned();
        ticket = Some(commit(shard, now, Change::View { group: group.into(), view }, out)?);
    }
    if change.members || change.topics {
        notify(shard, group, out);
    }
    Ok(ticket)
}

/// Tells every member of a group to divide the queues anew (NOTIFY_CONSUMER_IDS_CHANGED).
fn notify(shard: &mut Shard, group: &str, out: &mut Effects) {
    let Shard { metadata, control, relays, .. } = shard;
    let Some(control) = control.as_deref() else { return };
    let wants = metadata.groups.get(group).is_none_or(|group| group.notify_consumer_ids_changed_enable);
    let broadcasts = control.members.view(group).is_some_and(|view| view.model == MessageModel::Broadcasting);
    if !metadata.settings.consuming.notify_consumer_ids_changed_enable || !wants || broadcasts {
        return;
    }
    let header = ConsumerGroupHeader { consumer_group: Text::plain(group) };
    for (conn, _) in control.members.consumers(group) {
        let code = RequestCode::NotifyConsumerIdsChanged.to_i32();
        let head = Head::oneway(Spelling::Json, code, relays.pushes.next_opaque());
        out.frame(conn, &head, |fields| header.encode(fields), |_| {});
    }
}

/// Lets go of answers that are due; on every shard after every input.
pub fn durable(shard: &mut Shard, _now: Now, durable: Position, out: &mut Effects) {
    let Some(control) = shard.control.as_deref_mut() else { return };
    if control.pending.is_empty() {
        return;
    }
    if let Some(fault) = shard.log.fault() {
        control.pending.fail(&append::stopped(fault), out);
    }
    control.pending.release(durable, out);
}

/// A shard has applied everything up to this version.
pub fn confirmed(shard: &mut Shard, from: ShardId, version: u64, out: &mut Effects) {
    let durable = shard.log.durable();
    let Some(control) = shard.control.as_deref_mut() else { return };
    control.pending.confirm(from, version);
    control.pending.release(durable, out);
}

/// Time passed: silent members leave, groups without members are forgotten, locks of dead members run out, notices are
/// repeated.
pub fn tick(shard: &mut Shard, now: Now, out: &mut Effects) {
    let Shard { control, metadata, .. } = shard;
    let Some(control) = control.as_deref_mut() else { return };
    let consuming = &metadata.settings.consuming;
    let mut expired = control.locks.expire(now);
    let mut silent = Vec::new();
    let mut forgotten = Vec::new();
    if control.is_sweep_due(now) {
        let ago = |ms: u64| now.mono_us.saturating_sub(ms.saturating_mul(1_000));
        silent = control.members.silent(ago(consuming.channel_expired_timeout));
        forgotten = control.members.forget_empty(ago(consuming.subscription_expired_timeout));
    }
    while let Some(group) = control.take_notice(now) {
        expired.push(group);
    }
    for group in expired {
        notify(shard, &group, out);
    }
    for conn in silent {
        closed(shard, now, conn, out);
        out.closes.push(conn);
    }
    for group in forgotten {
        let _ = commit(shard, now, Change::View { group, view: None }, out);
    }
}

/// A shard asks for a topic that a message was sent to.
pub fn topic_wanted(shard: &mut Shard, now: Now, from: ShardId, wish: &TopicWish, out: &mut Effects) {
    let made = wanted_topic(shard, from, wish).and_then(|spec| match spec {
        None => Ok(everything(shard)),
        Some(spec) => {
            let topic = shard.metadata.topics.plan(spec);
            commit(shard, now, Change::TopicPut(topic), out)
        }
    });
    let decided = |outcome| PeerMessage::TopicDecided { topic: wish.topic.clone(), outcome };
    match (made, shard.control.as_deref_mut()) {
        (Ok(ticket), Some(control)) => control.pending.tell(ticket, from, decided(Ok(()))),
        (Err(refusal), _) => out.peers.push((from, decided(Err(refusal)))),
        (Ok(_), None) => {}
    }
    durable(shard, now, shard.log.durable(), out);
}

/// The topic with a queue on this shard more, if the broker wants to store something of its own there: the topic was made when
/// the directory had other shards.
fn with_queue_on(shard: &Shard, from: ShardId, wish: &TopicWish, known: &Topic) -> Option<TopicSpec> {
    let is_own = wish.queues > 0 || matches!(TopicKind::of(&wish.topic), TopicKind::System { .. });
    if !wish.default_topic.is_empty() || !is_own || known.shards.first_of(from).is_some() {
        return None;
    }
    let more = known.queues() + 1..=known.queues() + 2 * u32::from(shard.shards);
    let reaches = |spec: &TopicSpec| shard.metadata.topics.plan(spec.clone()).shards.first_of(from).is_some();
    more.map(|queues| known.spec(queues, queues)).find(reaches)
}

/// What a topic that a shard wants shall be; `None` if it exists.
fn wanted_topic(shard: &Shard, from: ShardId, wish: &TopicWish) -> Result<Option<TopicSpec>, Refusal> {
    let topics = &shard.metadata.topics;
    if let Some(known) = topics.get(&wish.topic) {
        return Ok(with_queue_on(shard, from, wish, known));
    }
    if let (true, Ok(queues @ 1..)) = (wish.default_topic.is_empty(), u32::try_from(wish.queues)) {
        // A POP retry topic. The broker made its name of legal ones, perhaps with a sign that clients may not use.
        topics_have_room(shard)?;
        return Ok(Some(TopicSpec::plain(&wish.topic, queues, Perm::READ_WRITE)));
    }
    names::check_topic(&wish.topic)
        .map_err(|error| Refusal::new(ResponseCode::InvalidParameter, format!("topic: {error}")))?;
    topics_have_room(shard)?;
    let plain = |queues: u32| Ok(Some(TopicSpec::plain(&wish.topic, queues.max(1), Perm::READ_WRITE)));
    let retry_queues = |group: &str| shard.metadata.groups.get(group).map_or(1, |group| group.retry_queues);
    match (TopicKind::of(&wish.topic), wish.default_topic.is_empty()) {
        (TopicKind::Retry(group), _) => plain(retry_queues(&group)),
        (TopicKind::Dlq(_), true) => plain(1),
        // Every shard keeps what it gives up on itself.
        (TopicKind::System { .. }, true) => plain(u32::from(shard.shards)),
        (TopicKind::User, true) => Err(not_exist(&wish.topic, "it is not made on demand")),
        (TopicKind::User | TopicKind::Dlq(_) | TopicKind::System { .. }, false) => from_model(shard, wish).map(Some),
    }
}

/// A topic after the model of the one the producer named (TBW102).
fn from_model(shard: &Shard, wish: &TopicWish) -> Result<TopicSpec, Refusal> {
    let TopicWish { topic, default_topic, queues, sys_flag } = wish;
    if !shard.metadata.settings.topics.auto_create_topic_enable {
        return Err(not_exist(topic, "and the broker does not create topics by itself (autoCreateTopicEnable=false)"));
    }
    let Some(model) = shard.metadata.topics.get(default_topic) else {
        return Err(not_exist(topic, &format!("nor does its model topic[{default_topic}]")));
    };
    if !model.perm.inherited() {
        return Err(not_exist(topic, &format!("and topic[{default_topic}] may not be its model (perm lacks inherit)")));
    }
    let queues = u32::try_from(*queues).unwrap_or(0).min(model.write_queues).max(1);
    let perm = model.perm.without_inherit();
    Ok(TopicSpec { sys_flag: *sys_flag, filter: model.filter, ..TopicSpec::plain(topic, queues, perm) })
}

#[cold]
fn not_exist(topic: &str, why: &str) -> Refusal {
    Refusal::new(
        ResponseCode::TopicNotExist,
        format!("topic[{topic}] not exist, {why}; apply first please: mqadmin updateTopic -t {topic}"),
    )
}

/// Refuses one more topic when there are too many.
///
/// # Errors
/// At [`TOPICS_MAX`].
pub(crate) fn topics_have_room(shard: &Shard) -> Result<(), Refusal> {
    if shard.metadata.topics.len() < TOPICS_MAX {
        return Ok(());
    }
    Err(Refusal::new(ResponseCode::SystemError, format!("the broker has {TOPICS_MAX} topics, the most it may have")))
}

/// A shard was asked by a group that nobody knows; it is made if the settings allow. Nobody waits for it.
pub fn group_wanted(shard: &mut Shard, now: Now, _from: ShardId, group: &str, out: &mut Effects) {
    let _ = ensure_group(shard, now, group, out);
}

/// Makes an unknown group; `None` when the group exists.
///
/// # Errors
/// SUBSCRIPTION_GROUP_NOT_EXIST when it may not be made.
pub(crate) fn ensure_group(
    shard: &mut Shard,
    now: Now,
    name: &str,
    out: &mut Effects,
) -> Result<Option<Ticket>, Refusal> {
    if shard.metadata.groups.get(name).is_some() {
        return Ok(None);
    }
    let not_exist = |why: String| {
        Refusal::new(
            ResponseCode::SubscriptionGroupNotExist,
            format!("subscription group[{name}] does not exist, {why}"),
        )
    };
    if !shard.metadata.settings.topics.auto_create_subscription_group {
        return Err(not_exist(
            "and the broker does not create groups by itself (autoCreateSubscriptionGroup=false)".to_owned(),
        ));
    }
    names::check_group(name).map_err(|error| not_exist(format!("and cannot: {error}")))?;
    groups_have_room(shard)?;
    commit(shard, now, Change::GroupPut(Group::named(name)), out).map(Some)
}

/// Refuses one more group when there are too many.
///
/// # Errors
/// At [`GROUPS_MAX`].
pub(crate) fn groups_have_room(shard: &Shard) -> Result<(), Refusal> {
    if shard.metadata.groups.len() < GROUPS_MAX {
        return Ok(());
    }
    Err(Refusal::new(ResponseCode::SystemError, format!("the broker has {GROUPS_MAX} groups, the most it may have")))
}

/// Makes a group's retry topic; `None` when it exists or the group wants none.
///
/// # Errors
/// When the log does not take it.
pub(crate) fn ensure_retry_topic(
    shard: &mut Shard,
    now: Now,
    group: &str,
    sys_flag: i32,
    out: &mut Effects,
) -> Result<Option<Ticket>, Refusal> {
    let name = names::retry_topic(group);
    let queues = shard.metadata.groups.get(group).map_or(0, |group| group.retry_queues);
    if queues == 0 || shard.metadata.topics.get(&name).is_some() {
        return Ok(None);
    }
    topics_have_room(shard)?;
    let spec = TopicSpec { sys_flag, ..TopicSpec::plain(&name, queues, Perm::READ_WRITE) };
    let topic = shard.metadata.topics.plan(spec);
    commit(shard, now, Change::TopicPut(topic), out).map(Some)
}

/// The ticket of the later of two.
pub(crate) fn later(one: Option<Ticket>, other: Option<Ticket>) -> Option<Ticket> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// Answers when the ticket is due, at once without one.
pub(crate) fn finish(
    shard: &mut Shard,
    ticket: Option<Ticket>,
    ask: &Ask<'_>,
    answer: Answer,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    match ticket {
        Some(ticket) => hold(shard, ticket, &ask.to(), answer, out),
        None => Ok(answer),
    }
}
