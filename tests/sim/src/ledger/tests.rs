//! The ledger finds what it is there for.

use super::*;

fn queue() -> QueueKey {
    ("T".to_owned(), 0)
}

fn from_zero(numbers: &[usize]) -> Content {
    Content { first: 0, numbers: numbers.to_vec() }
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
    assert!(ledger.settle(&queue(), &from_zero(&[0]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[0, 1]), After::Cut).is_ok());
}

#[test]
fn an_asynchronous_topic_may_lose_its_end_in_a_power_cut_only() {
    let mut ledger = plain(1, false);
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Stop).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_ok());
    assert!(ledger.seen(&queue(), 0, 0).is_err(), "what is lost stays lost");
}

#[test]
fn order_duplicates_and_strangers_are_found() {
    let mut ledger = plain(2, true);
    assert!(ledger.settle(&queue(), &from_zero(&[1, 0]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[0, 0]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[0, 7]), After::Cut).is_err());
    assert!(ledger.settle(&("U".to_owned(), 0), &from_zero(&[0]), After::Cut).is_err());
}

#[test]
fn what_a_consumer_saw_must_not_change() {
    let mut ledger = plain(2, true);
    ledger.seen(&queue(), 0, 0).expect("it was sent");
    assert!(ledger.seen(&queue(), 0, 1).is_err());
    let mut ledger = plain(1, true);
    ledger.seen(&queue(), 0, 0).expect("it was sent");
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_err());
}

#[test]
fn a_delayed_message_comes_once_and_not_early() {
    let mut ledger = with(1, true, Kind::Later { not_before_us: 50 });
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_ok(), "it waits");
    assert!(ledger.seen(&queue(), 0, 0).is_err(), "it is early");
    ledger.clock(50);
    assert!(ledger.all_kept().is_err());
    assert!(ledger.seen(&queue(), 0, 0).is_ok());
    assert!(ledger.settle(&queue(), &from_zero(&[0, 0]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[0]), After::Cut).is_ok());
    assert!(ledger.all_kept().is_ok());
}

#[test]
fn a_half_message_shows_when_it_was_committed() {
    let mut ledger = with(2, true, Kind::Half { commit: None });
    ledger.acknowledged(0, 0).expect("the first answer");
    assert!(ledger.seen(&queue(), 0, 0).is_err());
    ledger.decides(0, true);
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_ok(), "nobody said that it is done");
    ledger.decided(0);
    assert!(ledger.settle(&queue(), &from_zero(&[]), After::Cut).is_err());
    assert!(ledger.settle(&queue(), &from_zero(&[0]), After::Cut).is_ok());
    ledger.decides(1, false);
    ledger.decided(1);
    assert!(ledger.settle(&queue(), &from_zero(&[0, 1]), After::Cut).is_err());
}

#[test]
fn a_deleted_topic_begins_anew() {
    let mut ledger = plain(2, true);
    ledger.acknowledged(0, 0).expect("the first answer");
    ledger.settle(&queue(), &from_zero(&[0]), After::Stop).expect("it is there");
    ledger.dropped("T");
    assert!(ledger.settle(&queue(), &from_zero(&[0]), After::Cut).is_err());
    let number = ledger.sent(queue(), 0, true, Kind::Plain);
    ledger.acknowledged(number, 0).expect("the first answer");
    assert!(ledger.settle(&queue(), &from_zero(&[number]), After::Cut).is_ok());
}

#[test]
fn only_what_is_old_enough_may_go_and_nothing_from_the_middle() {
    let mut ledger = plain(3, true);
    ledger.keeps_for(100);
    (0..3).for_each(|n| ledger.acknowledged(n, n as i64).expect("the first answer"));
    ledger.settle(&queue(), &from_zero(&[0, 1, 2]), After::Cut).expect("all is there");
    let later = Content { first: 2, numbers: vec![2] };
    ledger.clock(99);
    assert!(ledger.settle(&queue(), &later, After::Cut).is_err(), "too early");
    ledger.clock(100);
    assert!(ledger.settle(&queue(), &later, After::Cut).is_ok());
    assert!(ledger.settle(&queue(), &Content { first: 1, numbers: vec![1, 2] }, After::Cut).is_ok(), "shown once more");
    assert!(ledger.settle(&queue(), &Content { first: 1, numbers: vec![2] }, After::Cut).is_err(), "elsewhere");
    assert!(ledger.settle(&queue(), &Content::from(2), After::Cut).is_err(), "the end does not go first");
}

#[test]
fn a_full_disk_lets_go_of_what_was_there() {
    let mut ledger = plain(1, true);
    ledger.acknowledged(0, 0).expect("the first answer");
    ledger.disk_is_crowded();
    assert!(ledger.settle(&queue(), &Content::from(1), After::Cut).is_ok());
    let number = ledger.sent(queue(), 0, true, Kind::Plain);
    ledger.acknowledged(number, 1).expect("the first answer");
    assert!(ledger.settle(&queue(), &Content::from(2), After::Cut).is_err(), "that was when it was not there yet");
}
