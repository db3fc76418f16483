//! What a client says about itself: HEART_BEAT (34) and CHECK_CLIENT_CONFIG (46).
//!
//! Owns the shapes of protocol.md 8.1 (RocketMQ: `HeartbeatData`). Java and Go spell them differently:
//! Go writes `codeSet` as strings, `subVersion` in nanoseconds and empty sets as null.

use super::named::{LenientInt, named};
use serde::{Deserialize, Serialize};

named! {
    /// How a group consumes.
    pub enum ConsumeType {
        /// The client asks when it likes: pull and lite pull.
        Actively = "CONSUME_ACTIVELY",
        /// The client delivers to a listener: push.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// POP.
        Pop = "CONSUME_POP",
    }

    /// Who of a group gets a message.
    pub enum MessageModel {
        /// Everyone.
        Broadcasting = "BROADCASTING",
        /// One of them.
        #[default]
        Clustering = "CLUSTERING",
    }

    /// Where a group without stored offset begins.
    pub enum ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated.
        LastOffsetAndMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// The body of HEART_BEAT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// Address, process and more: unique per client instance.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// The consumer groups the client is in.
    pub consumer_data_set: Vec<ConsumerData>,
    /// The producer groups the client is in.
    pub producer_data_set: Vec<ProducerData>,
    /// 0: a client that always sends everything.
    pub heartbeat_fingerprint: i32,
    /// The subscriptions are left out because the broker knows them by the fingerprint.
    #[serde(alias = "isWithoutSub")]
    pub without_sub: bool,
}

/// One consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConsumerData {
    pub group_name: String,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

/// One producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProducerData {
    pub group_name: String,
}

/// What a group wants of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Filtering by a class on a filter server: long gone.
    pub class_filter_mode: bool,
    /// The hashes of the tags.
    pub code_set: Vec<LenientInt>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// The expression.
    pub sub_string: String,
    /// Grows with each change; milliseconds from Java, nanoseconds or 0 from Go.
    pub sub_version: i64,
    /// The tags.
    pub tags_set: Vec<String>,
    /// The topic.
    pub topic: String,
}

/// The expression type of tag expressions.
pub const TAG: &str = "TAG";

/// The expression type of SQL expressions.
pub const SQL92: &str = "SQL92";

impl Default for SubscriptionData {
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    /// Whether the expression is one of tags; an empty type is.
    pub fn is_tag(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == TAG
    }
}

/// The body of CHECK_CLIENT_CONFIG (46).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct CheckClientConfig {
    pub client_id: String,
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub subscription_data: SubscriptionData,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::{decode, to_vec};

    #[test]
    fn a_java_heartbeat_is_read() {
        let body = br#"{"clientID":"10.0.0.1@12345#123456","consumerDataSet":[{"consumeFromWhere":
            "CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g",
            "messageModel":"BROADCASTING","subscriptionDataSet":[{"classFilterMode":false,
            "codeSet":[97,98],"expressionType":"TAG","subString":"a || b","subVersion":1700000000000,
            "tagsSet":["a","b"],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":7,
            "producerDataSet":[{"groupName":"p"}],"withoutSub":true,"someday":{"x":[1]}}"#;
        let data: HeartbeatData = decode(body).unwrap();
        assert_eq!(data.client_id, "10.0.0.1@12345#123456");
        assert_eq!((data.heartbeat_fingerprint, data.without_sub), (7, true));
        let group = &data.consumer_data_set[0];
        assert_eq!(group.consume_type, ConsumeType::Passively);
        assert_eq!(group.message_model, MessageModel::Broadcasting);
        assert_eq!(group.consume_from_where, ConsumeFromWhere::FirstOffset);
        assert_eq!(group.subscription_data_set[0].code_set, [LenientInt(97), LenientInt(98)]);
        assert_eq!(data.producer_data_set[0].group_name, "p");
        assert_eq!(decode::<HeartbeatData>(&to_vec(&data)).unwrap(), data);
    }

    #[test]
    fn a_go_heartbeat_is_read() {
        let body = br#"{"clientID":"c","producerDataSet":null,"consumerDataSet":[{"groupName":"g",
            "consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering","consumeFromWhere":
            "CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"t",
            "subString":"*","tagsSet":null,"codeSet":["97","-5"],"subVersion":1700000000000000000,
            "expressionType":"TAG"}],"unitMode":false}]}"#;
        let data: HeartbeatData = decode(body).unwrap();
        let subscription = &data.consumer_data_set[0].subscription_data_set[0];
        assert_eq!(subscription.code_set, [LenientInt(97), LenientInt(-5)]);
        assert_eq!(subscription.sub_version, 1_700_000_000_000_000_000);
        assert!(subscription.tags_set.is_empty() && data.producer_data_set.is_empty());
    }

    #[test]
    fn unknown_names_and_missing_members_take_their_defaults() {
        let body = br#"{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":"X",
            "messageModel":0,"subscriptionDataSet":[{"topic":"t"}]}]}"#;
        let data: HeartbeatData = decode(body).unwrap();
        let group = &data.consumer_data_set[0];
        assert_eq!(group.consume_type, ConsumeType::Passively);
        assert_eq!(group.message_model, MessageModel::Broadcasting);
        assert!(group.subscription_data_set[0].is_tag());
    }
}
