//! Finds the name a user probably meant when he wrote one that does not exist.
//!
//! Owns the edit distance and the cut beyond which no guess is better than a wrong one. It never reads settings.

/// The candidate nearest to `written`, ignoring case; `None` when even the nearest is more than a third of its length away.
#[must_use]
pub fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let allowed = (written.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(&written, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Damerau-Levenshtein distance with adjacent swaps (optimal string alignment): what a typing slip costs.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("listenprot", "listenport"), 1);
    }

    #[test]
    fn the_nearest_name_wins_and_a_far_one_is_not_offered() {
        let names = ["listenPort", "brokerName", "brokerId"];
        assert_eq!(nearest("listenprot", names.into_iter()), Some("listenPort"));
        assert_eq!(nearest("brokername", names.into_iter()), Some("brokerName"));
        assert_eq!(nearest("somethingElseEntirely", names.into_iter()), None);
    }
}
