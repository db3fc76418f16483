//! A topic's attributes: which keys exist, what they may be, and how a change to them reads.
//!
//! Owns the table of keys (TopicAttributes of the Java broker plus our
//! `flush.type` and `reserve.size`) and the rules of `+key=value,-key`
//! (AttributeUtil). It never knows what a key does; readers of a topic ask for a key's typed value.

use std::collections::BTreeMap;
use std::fmt;

/// When a send to a topic is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushMode {
    /// After the message is durable.
    Sync,
    /// As soon as it is in memory.
    Async,
}

enum Rule {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number, -1 or more.
    Number,
}

struct Row {
    key: &'static str,
    rule: Rule,
    changeable: bool,
}

/// Every key a topic may carry. Words that the Java broker knows and this one does not serve are left out, so that asking for
/// them is refused instead of ignored: BatchCQ and RocksDBCQ queues, COMPACTION.
const ROWS: &[Row] = &[
    Row {
        key: "message.type",
        rule: Rule::OneOf(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
        changeable: true,
    },
    Row { key: "queue.type", rule: Rule::OneOf(&["SimpleCQ"]), changeable: false },
    Row { key: "cleanup.policy", rule: Rule::OneOf(&["DELETE"]), changeable: false },
    Row { key: "reserve.time", rule: Rule::Number, changeable: true },
    Row { key: RESERVE_SIZE, rule: Rule::Number, changeable: true },
    Row { key: FLUSH_TYPE, rule: Rule::OneOf(&["SYNC", "ASYNC"]), changeable: true },
];

const FLUSH_TYPE: &str = "flush.type";

const RESERVE_SIZE: &str = "reserve.size";

/// Keys and values without sign, in the order of the keys. Nearly all of a million topics have none, and pay one word for it:
/// `None` is the only form of being empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "one word instead of three in each of a million topics")]
pub struct Attributes(Option<Box<BTreeMap<Box<str>, Box<str>>>>);

/// Why a change of attributes is refused (RocketMQ answers code 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeError {
    /// Not `+key=value` and not `-key`.
    Form(String),
    /// A key that occurs twice in one change.
    Twice(String),
    /// A key that does not exist.
    Unknown(String),
    /// A value that the key cannot have.
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A new topic has nothing to delete.
    DeleteAtCreation(String),
    /// The topic does not have the key.
    Absent(String),
    /// The key is fixed when the topic is made.
    Fixed(String),
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeError::Form(part) => write!(f, "attribute {part:?} is neither +key=value nor -key"),
            AttributeError::Twice(key) => write!(f, "attribute {key} is named twice"),
            AttributeError::Unknown(key) => {
                let known: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
                write!(f, "attribute {key} is not known; known are {}", known.join(", "))
            }
            AttributeError::Value { key, value } => {
                write!(f, "attribute {key} cannot be {value:?}; ")?;
                match ROWS.iter().find(|row| row.key == key).map(|row| &row.rule) {
                    Some(Rule::OneOf(words)) => write!(f, "it is one of {}", words.join(", ")),
                    Some(Rule::Number) | None => f.write_str("it is a number of -1 or more"),
                }
            }
            AttributeError::DeleteAtCreation(key) => write!(f, "a new topic cannot delete its attribute {key}"),
            AttributeError::Absent(key) => write!(f, "the topic has no attribute {key} to delete"),
            AttributeError::Fixed(key) => write!(f, "attribute {key} is fixed when the topic is made"),
        }
    }
}

/// One step of a change.
enum Step<'a> {
    Set(&'a str, &'a str),
    Delete(&'a str),
}

impl<'a> Step<'a> {
    fn key(&self) -> &'a str {
        match self {
            Step::Set(key, _) | Step::Delete(key) => key,
        }
    }
}

impl Attributes {
    /// Takes stored attributes as they are; keys this version does not know are kept, for a newer one wrote them.
    #[must_use]
    pub fn from_stored(pairs: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Self {
        Attributes::of(pairs.into_iter().collect())
    }

    fn of(pairs: BTreeMap<Box<str>, Box<str>>) -> Self {
        Attributes(if pairs.is_empty() { None } else { Some(Box::new(pairs)) })
    }

    /// The attributes after `change`, a comma list of `+key=value` and `-key`. `creating` is whether the topic is new.
    ///
    /// # Errors
    /// The first rule that is broken; nothing is changed then.
    pub fn changed(&self, change: &str, creating: bool) -> Result<Attributes, AttributeError> {
        let steps = parse(change)?;
        let mut next = self.0.as_deref().cloned().unwrap_or_default();
        for step in &steps {
            self.check(step, creating)?;
            match *step {
                Step::Set(key, value) => {
                    next.insert(key.into(), value.into());
                }
                Step::Delete(key) => {
                    next.remove(key);
                }
            }
        }
        Ok(Attributes::of(next))
    }

    fn check(&self, step: &Step<'_>, creating: bool) -> Result<(), AttributeError> {
        let key = step.key();
        if creating && matches!(step, Step::Delete(_)) {
            return Err(AttributeError::DeleteAtCreation(key.to_owned()));
        }
        let row = ROWS.iter().find(|row| row.key == key).ok_or_else(|| AttributeError::Unknown(key.to_owned()))?;
        if !creating && !row.changeable {
            return Err(AttributeError::Fixed(key.to_owned()));
        }
        match *step {
            Step::Set(_, value) if !row.rule.allows(value) => {
                Err(AttributeError::Value { key: key.to_owned(), value: value.to_owned() })
            }
            Step::Delete(_) if self.get(key).is_none() => Err(AttributeError::Absent(key.to_owned())),
            Step::Set(..) | Step::Delete(_) => Ok(()),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref()?.get(key).map(AsRef::as_ref)
    }

    /// The topic's own flush mode, when it has one.
    #[must_use]
    pub fn flush(&self) -> Option<FlushMode> {
        match self.get(FLUSH_TYPE) {
            Some("SYNC") => Some(FlushMode::Sync),
            Some("ASYNC") => Some(FlushMode::Async),
            _ => None,
        }
    }

    /// How many bytes of messages the topic keeps at most (whole segments, so a little more), on the broker as a whole;
    /// -1 is no limit.
    #[must_use]
    pub fn reserve_size(&self) -> Option<u64> {
        self.get(RESERVE_SIZE)?.parse().ok()
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|pairs| pairs.iter()).map(|(key, value)| (&**key, &**value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, BTreeMap::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Rule {
    fn allows(&self, value: &str) -> bool {
        match self {
            Rule::OneOf(words) => words.contains(&value),
            Rule::Number => value.parse::<i64>().is_ok_and(|number| number >= -1),
        }
    }
}

/// The steps of a change in order; empty parts are skipped (a trailing comma).
fn parse(change: &str) -> Result<Vec<Step<'_>>, AttributeError> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for part in change.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let step = match (part.strip_prefix('+').and_then(|set| set.split_once('=')), part.strip_prefix('-')) {
            (Some((key, value)), _) if !key.is_empty() && !value.is_empty() => Step::Set(key.trim(), value.trim()),
            (None, Some(key)) if !key.is_empty() => Step::Delete(key.trim()),
            _ => return Err(AttributeError::Form(part.to_owned())),
        };
        if steps.iter().any(|earlier| earlier.key() == step.key()) {
            return Err(AttributeError::Twice(step.key().to_owned()));
        }
        steps.push(step);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_sets_and_update_changes() {
        let made = Attributes::default().changed("+message.type=FIFO, +queue.type=SimpleCQ,", true).unwrap();
        assert_eq!(made.iter().collect::<Vec<_>>(), [("message.type", "FIFO"), ("queue.type", "SimpleCQ")]);
        let next = made.changed("+message.type=NORMAL,+flush.type=ASYNC,+reserve.time=3600000", false).unwrap();
        assert_eq!(next.get("message.type"), Some("NORMAL"));
        assert_eq!(next.flush(), Some(FlushMode::Async));
        assert_eq!(next.changed("-flush.type", false).unwrap().flush(), None);
        assert_eq!(made.changed("", false).unwrap(), made);
    }

    #[test]
    fn each_rule_refuses() {
        let none = Attributes::default();
        let refusal = |change: &str, creating: bool| none.changed(change, creating).unwrap_err().to_string();
        assert_eq!(
            refusal("message.type=FIFO", true),
            "attribute \"message.type=FIFO\" is neither +key=value nor -key"
        );
        assert_eq!(refusal("+a", true), "attribute \"+a\" is neither +key=value nor -key");
        assert_eq!(refusal("+flush.type=SYNC,-flush.type", false), "attribute flush.type is named twice");
        assert!(refusal("+colour=red", true).starts_with("attribute colour is not known; known are message.type, "));
        assert_eq!(
            refusal("+flush.type=LATER", true),
            "attribute flush.type cannot be \"LATER\"; it is one of SYNC, ASYNC"
        );
        assert_eq!(
            refusal("+reserve.time=-2", true),
            "attribute reserve.time cannot be \"-2\"; it is a number of -1 or more"
        );
        assert_eq!(refusal("-flush.type", true), "a new topic cannot delete its attribute flush.type");
        assert_eq!(refusal("-flush.type", false), "the topic has no attribute flush.type to delete");
        assert_eq!(refusal("+queue.type=SimpleCQ", false), "attribute queue.type is fixed when the topic is made");
    }

    #[test]
    fn stored_keys_of_a_newer_version_are_kept() {
        let stored = Attributes::from_stored([("future.key".into(), "1".into())]);
        assert_eq!(stored.changed("+flush.type=SYNC", false).unwrap().len(), 2);
    }
}
