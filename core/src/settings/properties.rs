//! Reads `key = value` text the way `java.util.Properties` does, because that is what broker.conf files are written in.
//!
//! Owns: comments (`#`, `!`), the three separators (`=`, `:`, white space), continuation lines, escapes, and the number of
//! the line each key stands on. It never knows what a key means and never touches a file.

/// One `key = value` of a file, with the number of the line its key stands on (1 is the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key with its escapes resolved.
    pub key: String,
    /// The value with its escapes resolved; white space before it is dropped, white space after it too (Java keeps the
    /// latter, then trims it when it converts numbers; a path with a blank at its end is always a mistake).
    pub value: String,
    /// Line of the key, counted from 1.
    pub line: u32,
}

/// All properties of `text` in the order they stand there; a key that occurs twice occurs twice here (the later one wins).
#[must_use]
pub fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        let key = unescape(key);
        if !key.is_empty() {
            properties.push(Property { key, value: unescape(value).trim_end().to_owned(), line });
        }
    }
    properties
}

/// Joins continued lines and drops blanks and comments. A comment is never continued.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(u32, String)> = None;
    for (index, natural) in text.split('\n').enumerate() {
        let natural = natural.strip_suffix('\r').unwrap_or(natural).trim_start_matches(is_blank);
        let (first, mut joined) = match open.take() {
            Some(open) => open,
            None if natural.is_empty() || natural.starts_with(['#', '!']) => continue,
            None => (index as u32 + 1, String::new()),
        };
        if is_continued(natural) {
            joined.push_str(&natural[..natural.len() - 1]);
            open = Some((first, joined));
        } else {
            joined.push_str(natural);
            lines.push((first, joined));
        }
    }
    lines.extend(open);
    lines
}

/// An odd number of backslashes at the end: the last one is not itself escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c' | '\u{feff}')
}

/// Cuts at the first separator that is not escaped: `=` or `:`, or white space with at most one of them after it.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' || is_blank(c) {
            let rest = line[at..].trim_start_matches(is_blank);
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start_matches(is_blank));
        }
    }
    (line, "")
}

/// Resolves `\t \n \r \f \uXXXX`; a backslash before anything else only drops itself.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4).and_then(char::from_u32) {
                    Some(decoded) => {
                        plain.push(decoded);
                        chars.nth(3);
                    }
                    // Java throws here; a lone `\u` in a path is better kept than refused.
                    None => plain.push('u'),
                }
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().map(|property| (property.key, property.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_and_blanks_are_those_of_java() {
        let text = "# comment \\\n! another\n\n  listenPort = 10911  \nbrokerName:broker-a\r\nbrokerId 0\nempty=\nalone\n\tkey\\ with\\=odd = a=b:c\n";
        assert_eq!(
            pairs(text),
            [
                pair("listenPort", "10911"),
                pair("brokerName", "broker-a"),
                pair("brokerId", "0"),
                pair("empty", ""),
                pair("alone", ""),
                pair("key with=odd", "a=b:c"),
            ]
        );
    }

    #[test]
    fn a_continued_value_loses_the_indent_of_its_next_line() {
        let text = "messageDelayLevel=1s 5s \\\n      10s\nnext=1\\\\\nlast=open\\";
        assert_eq!(pairs(text), [pair("messageDelayLevel", "1s 5s 10s"), pair("next", "1\\"), pair("last", "open")]);
    }

    #[test]
    fn escapes_are_resolved_and_broken_ones_do_not_panic() {
        assert_eq!(
            pairs("a=\\u4e2d\\u6587\\t.\nb=\\u12\nc=\\"),
            [pair("a", "中文\t."), pair("b", "u12"), pair("c", "")]
        );
    }

    #[test]
    fn the_line_of_a_key_is_remembered() {
        let lines: Vec<u32> = parse("\n# one\na=1\\\n2\nb=3").iter().map(|property| property.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
