//! What fastjson adds to JSON, turned back into JSON.
//!
//! Owns [`standardize`]. RocketMQ's Java side writes integer keys without quotes (`{0:"addr"}`) and
//! objects as keys (`{{"brokerName":"b","queueId":0,"topic":"t"}:5}`); Go writes null for empty sets.
//! Here integer keys get their quotes, a key object becomes a string that holds its JSON (which
//! `QueueMap` reads back), and members that are null disappear. Depth is bounded; nothing is judged
//! beyond that, because serde parses the result.

use crate::encode::put_json_text;
use crate::text::Text;

/// How deep values may nest; the deepest body of RocketMQ has six levels.
const DEPTH_LIMIT: usize = 32;

/// The body as standard JSON; `None` if it cannot be one.
pub(super) fn standardize(body: &[u8]) -> Option<Vec<u8>> {
    let mut walk = Walk { bytes: body, at: 0 };
    let mut out = Vec::with_capacity(body.len() + body.len() / 4);
    walk.value(&mut out, DEPTH_LIMIT)?;
    walk.space();
    (walk.at == body.len()).then_some(out)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Takes this byte if it is next after white space.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let next = self.peek() == byte;
        self.at += usize::from(next);
        next
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.space();
        match self.peek() {
            b'{' => self.object(out, depth.checked_sub(1)?),
            b'[' => self.array(out, depth.checked_sub(1)?),
            b'"' => self.string(out),
            _ => self.scalar(out),
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.at += 1;
        out.push(b'{');
        let mut more = !self.takes(b'}');
        let mut first = true;
        while more {
            let start = out.len();
            if !first {
                out.push(b',');
            }
            self.key(out, depth)?;
            if !self.takes(b':') {
                return None;
            }
            out.push(b':');
            let value_at = out.len();
            self.value(out, depth)?;
            if &out[value_at..] == b"null" {
                out.truncate(start);
            } else {
                first = false;
            }
            more = self.takes(b',');
            if !more && !self.takes(b'}') {
                return None;
            }
        }
        out.push(b'}');
        Some(())
    }

    fn key(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.space();
        match self.peek() {
            b'"' => self.string(out),
            b'{' => {
                let mut key = Vec::new();
                self.value(&mut key, depth)?;
                out.push(b'"');
                put_json_text(out, Text::plain(std::str::from_utf8(&key).ok()?));
                out.push(b'"');
                Some(())
            }
            b'-' | b'0'..=b'9' => {
                out.push(b'"');
                self.scalar(out)?;
                out.push(b'"');
                Some(())
            }
            _ => None,
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.at += 1;
        out.push(b'[');
        let mut more = !self.takes(b']');
        while more {
            self.value(out, depth)?;
            more = self.takes(b',');
            if more {
                out.push(b',');
            } else if !self.takes(b']') {
                return None;
            }
        }
        out.push(b']');
        Some(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let stop = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += stop + 1;
            if rest[stop] == b'"' {
                break;
            }
            self.at += 1;
        }
        out.extend_from_slice(self.bytes.get(start..self.at)?);
        Some(())
    }

    /// A number or a word, up to whatever ends it.
    fn scalar(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') {
            self.at += 1;
        }
        out.extend_from_slice(&self.bytes[start..self.at]);
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(body: &str) -> Option<String> {
        standardize(body.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn integer_keys_get_quotes() {
        let body = r#"{ "a" : {0:"x:1", -1 : [1, {2:3}]} }"#;
        assert_eq!(standard(body).unwrap(), r#"{"a":{"0":"x:1","-1":[1,{"2":3}]}}"#);
    }

    #[test]
    fn key_objects_become_strings() {
        let body = r#"{"t":{{"brokerName":"b\"","queueId":0,"topic":"t"}:{"m":5}}}"#;
        let expected = r#"{"t":{"{\"brokerName\":\"b\\\"\",\"queueId\":0,\"topic\":\"t\"}":{"m":5}}}"#;
        assert_eq!(standard(body).unwrap(), expected);
    }

    #[test]
    fn null_members_disappear() {
        assert_eq!(standard(r#"{"a":null,"b":1,"c":null}"#).unwrap(), r#"{"b":1}"#);
        assert_eq!(standard(r#"{"a":null}"#).unwrap(), "{}");
        assert_eq!(standard(r#"{"a":1,"b":null,"c":2}"#).unwrap(), r#"{"a":1,"c":2}"#);
    }

    #[test]
    fn what_cannot_be_json_is_refused() {
        for body in ["", "{", "[1,", "{\"a\"}", "{a:1}", "\"open", "\"\\", "{} x", "[1 2]"] {
            assert_eq!(standard(body), None, "{body}");
        }
        assert_eq!(standard(&"[".repeat(100_000)), None);
        assert_eq!(standard(&"{".repeat(100_000)), None);
    }
}
