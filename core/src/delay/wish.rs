//! When a message wants to be delivered, as its properties say it.
//!
//! Owns the reading of DELAY and the TIMER_ properties and their limits (HookUtils.handleScheduleMessage,
//! transformTimerMessage). Never looks at the transaction state, never stores anything.

use ringmq_protocol::properties::{self, names};
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::Refusal;
use crate::limits::TIMER_MAX_MS;

/// When a message is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// After the time of this delay level, from 1 on.
    Level { level: u32, delay_ms: u64 },
    /// After so many milliseconds.
    Timer { delay_ms: u64 },
}

/// The wish in a properties string; `None` when the message is to be delivered at once. A DELAY above the last level
/// means the last level, and where a DELAY is, TIMER_ properties do not count.
///
/// # Errors
/// MESSAGE_ILLEGAL for a TIMER_ property that is no number or lies too far ahead.
pub fn wish(text: &str, levels_ms: &[u64], wall_ms: i64) -> Result<Option<Wish>, Refusal> {
    let mut level = None;
    let mut timers = [None; 3];
    let mut served = false;
    for (key, value) in properties::iter(text) {
        match key {
            names::DELAY => level = value.parse::<u32>().ok().filter(|level| *level > 0),
            names::TIMER_DELAY_SEC => timers[0] = Some((names::TIMER_DELAY_SEC, value)),
            names::TIMER_DELAY_MS => timers[1] = Some((names::TIMER_DELAY_MS, value)),
            names::TIMER_DELIVER_MS => timers[2] = Some((names::TIMER_DELIVER_MS, value)),
            // It has been through the schedule: this is what stops loops.
            names::TIMER_OUT_MS => served = true,
            _ => {}
        }
    }
    if let Some(level) = level {
        return Ok(of_level(level, levels_ms));
    }
    match timers.into_iter().flatten().next() {
        Some((key, value)) if !served => of_timer(key, value, wall_ms),
        _ => Ok(None),
    }
}

/// The wish of a delay level; `None` when there are no levels.
pub fn of_level(level: u32, levels_ms: &[u64]) -> Option<Wish> {
    let level = level.min(u32::try_from(levels_ms.len()).unwrap_or(u32::MAX));
    let delay_ms = *levels_ms.get(level.checked_sub(1)? as usize)?;
    Some(Wish::Level { level, delay_ms })
}

fn of_timer(key: &'static str, value: &str, wall_ms: i64) -> Result<Option<Wish>, Refusal> {
    let illegal = |why: String| Err(Refusal::new(ResponseCode::MessageIllegal, format!("{key}={value}: {why}")));
    let Ok(number) = value.parse::<i64>() else { return illegal("not a number".to_owned()) };
    let delay_ms = match key {
        names::TIMER_DELAY_SEC => number.saturating_mul(1_000),
        names::TIMER_DELAY_MS => number,
        _ => number.saturating_sub(wall_ms),
    };
    let Ok(delay_ms) = u64::try_from(delay_ms) else { return Ok(None) };
    if delay_ms > TIMER_MAX_MS {
        return illegal(format!("messages can be delayed by {} days at most", TIMER_MAX_MS / 86_400_000));
    }
    Ok((delay_ms > 0).then_some(Wish::Timer { delay_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: &[u64] = &[1_000, 5_000];

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Wish>, Refusal> {
        wish(&properties::build(pairs.iter().copied()), LEVELS, 1_000_000)
    }

    #[test]
    fn a_level_is_clamped_and_comes_before_timers() {
        let second = Ok(Some(Wish::Level { level: 2, delay_ms: 5_000 }));
        assert_eq!(of(&[("DELAY", "2")]), second);
        assert_eq!(of(&[("TIMER_DELAY_SEC", "x"), ("DELAY", "99")]), second);
        for none in ["0", "-1", "soon", ""] {
            assert_eq!(of(&[("DELAY", none)]), Ok(None), "{none}");
        }
        assert_eq!(of_level(1, &[]), None);
    }

    #[test]
    fn timers_have_a_precedence() {
        let all = [("TIMER_DELIVER_MS", "1000900"), ("TIMER_DELAY_MS", "700"), ("TIMER_DELAY_SEC", "3")];
        for (count, delay_ms) in [(1, 900), (2, 700), (3, 3_000)] {
            assert_eq!(of(&all[..count]), Ok(Some(Wish::Timer { delay_ms })));
        }
        assert_eq!(of(&[("TIMER_DELIVER_MS", "1000000")]), Ok(None), "due already");
        assert_eq!(of(&[("TIMER_DELAY_MS", "-5")]), Ok(None));
        assert_eq!(of(&[("TIMER_DELAY_MS", "700"), ("TIMER_OUT_MS", "1")]), Ok(None), "it was delivered before");
    }

    #[test]
    fn a_timer_that_makes_no_sense_is_refused() {
        for (key, value) in [
            ("TIMER_DELAY_SEC", "soon"),
            ("TIMER_DELAY_SEC", "259201"),
            ("TIMER_DELAY_SEC", "9223372036854775807"),
            ("TIMER_DELIVER_MS", "9223372036854775807"),
            ("TIMER_DELAY_MS", "259200001"),
        ] {
            let refusal = of(&[(key, value)]).expect_err("it is refused");
            assert!(refusal.remark.starts_with(&format!("{key}={value}: ")), "{}", refusal.remark);
        }
        assert_eq!(of(&[("TIMER_DELAY_MS", "259200000")]), Ok(Some(Wish::Timer { delay_ms: 259_200_000 })));
    }
}
