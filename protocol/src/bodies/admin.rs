//! Settings as text: the bodies of 25, 26, 318 and 319.
//!
//! Owns the lines `key=value`. What a key means is not known here.

/// The pairs of a settings text. Blank lines, lines without `=` and comments (`#`, `!`) are skipped;
/// keys and values are trimmed, as Java's `Properties` does for what RocketMQ writes.
pub fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!'])).filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then_some((key, value.trim()))
    })
}

/// Appends one line of a settings text.
pub fn put_setting(out: &mut Vec<u8>, key: &str, value: &str) {
    for part in [key, "=", value, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_pairs() {
        let text = "# comment\n\n a = 1 \r\nb=x=y\nnone\n=3\nc=\n";
        assert_eq!(settings(text).collect::<Vec<_>>(), [("a", "1"), ("b", "x=y"), ("c", "")]);
        let mut out = Vec::new();
        put_setting(&mut out, "a", "1");
        assert_eq!(out, b"a=1\n");
    }
}
