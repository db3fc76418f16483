//! Whether a group may pull, and which messages its subscription wants.
//!
//! Owns checks 3, 4 and 8 of protocol.md 6.2. A pull that is ahead of its heartbeat (24, 25: "normal start-up races") is
//! not refused when it may be by tag. Nothing known of its group or topic: it is parked for the heartbeat, a second at most.
//! After that, and at once when an older subscription is known, it gets every message: clients select by exact tag again
//! themselves, so too much costs bytes, while the older tags would skip what the newer ones want. A Java client that changed
//! its subscription while its heartbeat lock was taken sends no heartbeat for 30 s, so waiting longer is no answer.
//! Never creates a group itself and never evaluates SQL92.

use ringmq_protocol::headers::pull::PullHeader;
use ringmq_protocol::names as group_names;
use ringmq_protocol::pull_flag;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::tags::TagFilter;

use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::PeerMessage;
use crate::group::{MessageModel, Wanted as Subscribed};
use crate::limits::SUBSCRIPTION_GRACE_MS;
use crate::metadata::Metadata;
use crate::parked::{Awaited, ParkedFrame};
use crate::peer;
use crate::shard::Shard;

/// What a pull's subscription comes to.
#[derive(Debug)]
pub enum Wanted {
    /// Messages with these tags.
    Filter(TagFilter),
    /// The heartbeat that says so has not arrived; wait for it a little.
    Heartbeat(Missing),
}

/// What to do when the heartbeat does not come in time.
#[derive(Debug)]
pub enum Missing {
    /// Give the pull every message.
    Everything,
    /// An expression is meant that clients do not evaluate themselves.
    Refuse(Refusal),
}

#[cold]
pub(crate) fn no_group(group: &str) -> Refusal {
    Refusal::new(
        ResponseCode::SubscriptionGroupNotExist,
        format!("subscription group[{group}] does not exist; create it or set autoCreateSubscriptionGroup=true"),
    )
}

/// The group's sysFlag. An unknown group is asked for when the settings allow it, and the pull goes on at once.
///
/// # Errors
/// 26 for a group that may not be created, 16 for one that may not consume.
pub(crate) fn check_group(shard: &mut Shard, group: &str, ask: &Ask<'_>, out: &mut Effects) -> Result<i32, Refusal> {
    if let Some(config) = shard.metadata.groups.get(group) {
        if !config.consume_enable {
            return Err(Refusal::new(
                ResponseCode::NoPermission,
                format!("subscription group[{group}] may not consume (consumeEnable=false)"),
            ));
        }
        return Ok(config.group_sys_flag);
    }
    create_group(shard, group, ask, out)?;
    Ok(0)
}

/// Has an unknown group created, if the settings allow.
///
/// # Errors
/// 26 when they do not, or when the name is no group's.
pub(crate) fn create_group(shard: &mut Shard, group: &str, ask: &Ask<'_>, out: &mut Effects) -> Result<(), Refusal> {
    if !shard.metadata.settings.topics.auto_create_subscription_group {
        return Err(no_group(group));
    }
    if let Err(error) = group_names::check_group(group) {
        return Err(Refusal::new(ResponseCode::SubscriptionGroupNotExist, format!("subscription group: {error}")));
    }
    peer::tell_control(shard, ask.now, PeerMessage::GroupWanted { group: group.into() }, out);
    Ok(())
}

/// What the pull wants: as it says itself, or as its group's heartbeats said.
///
/// # Errors
/// 23 for an expression that cannot be read, 16 for a broadcasting group that may not, 1 for SQL92.
pub(crate) fn wanted(
    metadata: &Metadata,
    header: &PullHeader<'_>,
    topic: &str,
    group: &str,
    ask: &Ask<'_>,
) -> Result<Wanted, Refusal> {
    let said = header.subscription.filter(|text| !text.is_empty());
    if header.sys_flag & pull_flag::SUBSCRIPTION != 0 {
        return own_words(header).map(Wanted::Filter);
    }
    let heartbeat = |code, what: &str| match said {
        // The pull brings what the broker misses.
        Some(_) => own_words(header).map(Wanted::Filter),
        None if is_by_tag(header) => Ok(Wanted::Heartbeat(Missing::Everything)),
        None => Ok(Wanted::Heartbeat(Missing::Refuse(Refusal::new(
            code,
            format!("the subscription of group[{group}] to topic[{topic}] {what}; the client's heartbeat brings it"),
        )))),
    };
    let Some(view) = metadata.views.get(group) else {
        return heartbeat(ResponseCode::SubscriptionNotExist, "is not known: the group is not online");
    };
    let may_broadcast = metadata.groups.get(group).is_none_or(|config| config.consume_broadcast_enable);
    if view.model == MessageModel::Broadcasting && !may_broadcast {
        return Err(Refusal::new(
            ResponseCode::NoPermission,
            format!("subscription group[{group}] may not broadcast (consumeBroadcastEnable=false)"),
        ));
    }
    match view.subscription(topic, ask.origin.conn) {
        None => heartbeat(ResponseCode::SubscriptionNotExist, "is not known"),
        Some(subscription) if subscription.version < header.sub_version => {
            if is_by_tag(header) && said.is_none() {
                return Ok(Wanted::Filter(TagFilter::All));
            }
            heartbeat(ResponseCode::SubscriptionNotLatest, "is older than the pull's")
        }
        Some(subscription) => match &subscription.wanted {
            Subscribed::Tags(filter) => Ok(Wanted::Filter(filter.clone())),
            Subscribed::Sql => Err(no_sql()),
        },
    }
}

fn is_by_tag(header: &PullHeader<'_>) -> bool {
    header.expression_type.is_none_or(|kind| kind.is_empty() || kind == "TAG")
}

/// The expression in the pull itself.
fn own_words(header: &PullHeader<'_>) -> Result<TagFilter, Refusal> {
    if !is_by_tag(header) {
        return Err(no_sql());
    }
    let Some(text) = header.subscription else { return Ok(TagFilter::All) };
    TagFilter::parse(&text.to_cow()).ok_or_else(|| {
        Refusal::new(
            ResponseCode::SubscriptionParseFailed,
            format!("the consumer's subscription \"{text}\" names no tag; write *, or tags joined by ||"),
        )
    })
}

#[cold]
fn no_sql() -> Refusal {
    Refusal::new(
        ResponseCode::SystemError,
        "the broker does not support consumer to filter message by SQL92 in this version; subscribe by tag",
    )
}

/// Parks a pull until its group's subscriptions arrive; `None` when it has waited long enough or cannot be parked.
pub(crate) fn wait(shard: &mut Shard, ask: &Ask<'_>, group: &str) -> Option<Answer> {
    let deadline = ask.wait_until.unwrap_or_else(|| ask.now.after_ms(SUBSCRIPTION_GRACE_MS));
    if deadline <= ask.now.mono_us || !shard.parked.has_room(ask.frame.len()) {
        return None;
    }
    let awaited = Awaited::Subscription(group.into());
    shard.parked.park(ParkedFrame { awaited, origin: ask.origin, frame: ask.frame.into(), deadline });
    Some(Answer::Held)
}
