//! Requests with JSON bodies that scripts need often: heartbeats and locks.

use super::Words;

/// HEART_BEAT: `id=c1 group=G topics=T:*,U:A||B version=1 model=CLUSTERING type=CONSUME_PASSIVELY producer=P`;
/// `fingerprint=` and `without` make it a V2 one.
pub fn heartbeat(words: &Words<'_>) -> String {
    let get = |key: &str, default: &'static str| words.get(key).map_or(default.to_owned(), str::to_owned);
    let subscription = |text: &str| {
        let (topic, expression) = text.split_once(':').unwrap_or((text, "*"));
        let kind = get("expression", "TAG");
        let version = get("version", "1");
        format!(
            r#"{{"topic":"{topic}","subString":"{}","subVersion":{version},"expressionType":"{kind}","tagsSet":[],"codeSet":[]}}"#,
            expression.replace('+', " ")
        )
    };
    let topics = get("topics", "");
    let topics: Vec<String> = topics.split(',').filter(|text| !text.is_empty()).map(subscription).collect();
    let consumer = words.get("group").map_or(String::new(), |group| {
        format!(
            r#"{{"groupName":"{group}","consumeType":"{}","messageModel":"{}","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{}]}}"#,
            get("type", "CONSUME_PASSIVELY"),
            get("model", "CLUSTERING"),
            topics.join(",")
        )
    });
    let producer = words.get("producer").map_or(String::new(), |group| format!(r#"{{"groupName":"{group}"}}"#));
    format!(
        r#"{{"clientID":"{}","producerDataSet":[{producer}],"consumerDataSet":[{consumer}],"heartbeatFingerprint":{},"withoutSub":{}}}"#,
        get("id", "c1"),
        get("fingerprint", "0"),
        words.plain.contains(&"without")
    )
}

/// LOCK_BATCH_MQ and UNLOCK_BATCH_MQ: `id=c1 group=G topic=T queues=0,1`.
pub fn locks(words: &Words<'_>) -> String {
    let get = |key: &str, default: &'static str| words.get(key).map_or(default.to_owned(), str::to_owned);
    let topic = get("topic", "T");
    let queue = |id: &str| format!(r#"{{"topic":"{topic}","brokerName":"host","queueId":{id}}}"#);
    let queues: Vec<String> = get("queues", "0").split(',').map(queue).collect();
    format!(
        r#"{{"consumerGroup":"{}","clientId":"{}","onlyThisBroker":false,"mqSet":[{}]}}"#,
        get("group", "G"),
        get("id", "c1"),
        queues.join(",")
    )
}
