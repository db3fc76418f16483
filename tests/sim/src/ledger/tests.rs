//! The ledger finds what it is there for.

use super::*;

fn queue() -> QueueKey {
    ("T".to_owned(), 0)
}

fn with(count: usize, durable: bool, kind: Kind) -> Ledger {
    let mut ledger = Ledger::default();
    for _ in 0..count {
        ledger.sent(queue(), 0, durable, kind);
    }
    ledger
}

fn plain(count: usize, durable: bool) -> Ledger {
    with(count, durable, Kind::Plain)
}

#[test]
fn an_acknowledged_message_of_a_durable_topic_must_stay() {
    let mut ledger = plain(2, true);
    ledger.acknowledged(0, 0).expect("the first answer");
    ledger.acknowledged(1, 1).expect("the first answer");
    assert!(ledger.settle(&queue(), &[0], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[0, 1], After::Cut).is_ok());
}

#[test]
fn an_asynchronous_topic_may_lose_its_end_in_a_power_cut_only() {
    let mut ledger = plain(1, false);
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &[], After::Stop).is_err());
    assert!(ledger.settle(&queue(), &[], After::Cut).is_ok());
    assert!(ledger.seen(&queue(), 0, 0).is_err(), "what is lost stays lost");
}

#[test]
fn order_duplicates_and_strangers_are_found() {
    let mut ledger = plain(2, true);
    assert!(ledger.settle(&queue(), &[1, 0], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[0, 0], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[0, 7], After::Cut).is_err());
    assert!(ledger.settle(&("U".to_owned(), 0), &[0], After::Cut).is_err());
}

#[test]
fn what_a_consumer_saw_must_not_change() {
    let mut ledger = plain(2, true);
    ledger.seen(&queue(), 0, 0).expect("it was sent");
    assert!(ledger.seen(&queue(), 0, 1).is_err());
    let mut ledger = plain(1, true);
    ledger.seen(&queue(), 0, 0).expect("it was sent");
    assert!(ledger.settle(&queue(), &[], After::Cut).is_err());
}

#[test]
fn a_delayed_message_comes_once_and_not_early() {
    let mut ledger = with(1, true, Kind::Later { not_before_us: 50 });
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &[], After::Cut).is_ok(), "it waits");
    assert!(ledger.seen(&queue(), 0, 0).is_err(), "it is early");
    ledger.clock(50);
    assert!(ledger.all_kept().is_err());
    assert!(ledger.seen(&queue(), 0, 0).is_ok());
    assert!(ledger.settle(&queue(), &[0, 0], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[0], After::Cut).is_ok());
    assert!(ledger.all_kept().is_ok());
}

#[test]
fn a_half_message_shows_when_it_was_committed() {
    let mut ledger = with(2, true, Kind::Half { commit: None });
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.seen(&queue(), 0, 0).is_err());
    ledger.decides(0, true);
    assert!(ledger.settle(&queue(), &[], After::Cut).is_ok(), "nobody said that it is done");
    ledger.decided(0);
    assert!(ledger.settle(&queue(), &[], After::Cut).is_err());
    assert!(ledger.settle(&queue(), &[0], After::Cut).is_ok());
    ledger.decides(1, false);
    ledger.decided(1);
    assert!(ledger.settle(&queue(), &[0, 1], After::Cut).is_err());
}

#[test]
fn a_deleted_topic_begins_anew() {
    let mut ledger = plain(2, true);
    ledger.acknowledged(0, 0).expect("the first answer");
    ledger.settle(&queue(), &[0], After::Stop).expect("it is there");
    ledger.dropped("T");
    assert!(ledger.settle(&queue(), &[0], After::Cut).is_err());
    let number = ledger.sent(queue(), 0, true, Kind::Plain);
    ledger.acknowledged(number, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &[number], After::Cut).is_ok());
}
