//! The hours of `deleteWhen`.
//!
//! Owns the way from a wall clock to a local hour. Time zones are the driver's to know.

/// Whether it is one of the hours in `when` ("04" or "04;16"), on a wall clock that is `utc_offset_s` ahead of UTC
/// (UtilAll.isItTimeToDo).
pub fn is_hour(when: &str, wall_ms: i64, utc_offset_s: i32) -> bool {
    let local_s = wall_ms.div_euclid(1_000) + i64::from(utc_offset_s);
    let hour = local_s.rem_euclid(86_400) / 3_600;
    when.split(';').any(|listed| listed.trim().parse() == Ok(hour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_local_and_there_may_be_several() {
        let at = |hour: i64, minute: i64| (20_000 * 86_400 + hour * 3_600 + minute * 60) * 1_000;
        assert!(is_hour("04", at(4, 0), 0) && is_hour("4", at(4, 59), 0) && !is_hour("04", at(5, 0), 0));
        assert!(is_hour("04;16", at(16, 30), 0) && is_hour("04; 16", at(4, 30), 0) && !is_hour("04;16", at(10, 0), 0));
        assert!(is_hour("04", at(2, 30), 2 * 3_600) && is_hour("23", at(1, 0), -2 * 3_600));
        assert!(is_hour("00", at(23, 30), 3_600), "over midnight");
        assert!(!is_hour("x", at(4, 0), 0) && !is_hour("", at(0, 0), 0));
    }
}
