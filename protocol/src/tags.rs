//! Tags and their hashes.
//!
//! Owns the hash a consume queue stores per message and the set of hashes a subscription asks for.
//! The broker matches hashes; the client compares the exact strings afterwards (protocol.md 4.7, 6.6).

/// Java's `String.hashCode`: over UTF-16 units, wrapping at 32 bits.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// What the index stores for the TAGS property of a message; 0 if it has none.
pub fn tags_code(tags: Option<&str>) -> i64 {
    tags.map_or(0, |tags| i64::from(java_hash(tags)))
}

/// A parsed tag expression: everything, or the messages whose tag hash is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// `*`, or an empty expression.
    All,
    /// Sorted hashes of the tags of `A || B`; never empty.
    Hashes(Box<[i32]>),
}

/// The separator of tags in an expression.
const OR: &str = "||";

impl TagFilter {
    /// Reads an expression such as `*` or `TagA || TagB`. Tokens are trimmed, empty ones ignored
    /// (RocketMQ: `FilterAPI.buildSubscriptionData`).
    ///
    /// # Errors
    /// `None` if nothing but separators is left: RocketMQ refuses `||` too.
    pub fn parse(expression: &str) -> Option<Self> {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Some(TagFilter::All);
        }
        let mut hashes: Vec<i32> = tags(expression).map(java_hash).collect();
        if hashes.is_empty() {
            return None;
        }
        hashes.sort_unstable();
        hashes.dedup();
        Some(TagFilter::Hashes(hashes.into()))
    }

    /// Whether a message with this stored tag hash is wanted. A message without tags has hash 0 and
    /// matches only [`TagFilter::All`] (or a tag that hashes to 0, which the client sorts out).
    #[inline]
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Hashes(hashes) => i32::try_from(tags_code).is_ok_and(|code| hashes.binary_search(&code).is_ok()),
        }
    }
}

/// The tags an expression lists.
pub fn tags(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(OR).map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_java_s() {
        // Worked out independently from the definition; the third is the famous Java minimum.
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("标签"), 857_175);
        assert_eq!(java_hash("😀"), 1_772_899);
        assert_eq!(tags_code(None), 0);
        assert_eq!(tags_code(Some("polygenelubricants")), i64::from(i32::MIN));
    }

    #[test]
    fn expressions_become_sets() {
        for all in ["*", "", "  ", " * "] {
            assert_eq!(TagFilter::parse(all), Some(TagFilter::All));
        }
        let filter = TagFilter::parse(" TagA||  || TagB || TagA").unwrap();
        assert!(filter.matches(tags_code(Some("TagA"))));
        assert!(filter.matches(tags_code(Some("TagB"))));
        assert!(!filter.matches(tags_code(Some("TagC"))));
        assert!(!filter.matches(tags_code(None)));
        // A delayed message's slot holds a time, which fits no 32-bit hash.
        assert!(!filter.matches(1_700_000_000_000));
        assert_eq!(TagFilter::parse("||"), None);
        assert_eq!(TagFilter::parse(" || || "), None);
    }
}
