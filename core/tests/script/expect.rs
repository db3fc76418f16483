//! `< CLIENT CODE field=value ...`: what a client received.

use ringmq_protocol::command::Command;
use ringmq_protocol::frame;
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::record;

use super::{Play, Words};

impl Play {
    /// Compares the next frame a client received.
    pub fn expect(&mut self, rest: &str) -> Result<(), String> {
        let words = Words::of(rest);
        let client = self.client(words.plain.first().ok_or("< CLIENT ...")?)?;
        let frame = self.harness.take(client.origin.conn);
        if words.plain.get(1) == Some(&"nothing") {
            return frame.map_or(Ok(()), |frame| Err(format!("received {}", shown(&frame))));
        }
        let Some(bytes) = frame else { return Err("received nothing".to_owned()) };
        let cut = frame::split(&bytes).map_err(|error| error.to_string())?.ok_or("half a frame")?;
        let command = Command::parse(cut).map_err(|error| error.to_string())?;
        if cut.spelling != client.spelling {
            return Err(format!("answered in the other spelling: {}", shown(&bytes)));
        }
        let code = words.plain.get(1).and_then(|code| code.parse::<i32>().ok());
        if code.is_some_and(|code| code != command.code) {
            return Err(format!("received {}", shown(&bytes)));
        }
        if !command.is_response() {
            self.push = command.opaque;
        }
        if let Some(id) = command.ext.get("msgId").and_then(|id| OffsetId::decode(&id.to_cow())) {
            self.sent = id.offset.to_string();
        }
        for (key, value) in &words.pairs {
            if let Some(front) = key.strip_prefix("body~") {
                holds(&command, &format!("{front}={value}"))?;
                continue;
            }
            if let Some(name) = value.strip_prefix('>') {
                self.keep(name, &found(&command, key)?);
                continue;
            }
            check(&command, key, value).map_err(|problem| format!("{problem}; received {}", shown(&bytes)))?;
        }
        for part in words.plain.iter().filter_map(|word| word.strip_prefix("body~")) {
            holds(&command, part)?;
        }
        for text in words.plain.iter().filter_map(|word| word.strip_prefix("remark~")) {
            let remark = command.remark.map(|remark| remark.to_cow().into_owned()).unwrap_or_default();
            if !remark.contains(&text.replace('+', " ")) {
                return Err(format!("the remark is \"{remark}\""));
            }
        }
        Ok(())
    }
}

/// Whether the body contains a text.
fn holds(command: &Command<'_>, part: &str) -> Result<(), String> {
    let body = String::from_utf8_lossy(command.body);
    if body.contains(part) { Ok(()) } else { Err(format!("{part} is not in the body {body}")) }
}

fn found(command: &Command<'_>, key: &str) -> Result<String, String> {
    Ok(match key {
        "bodies" => records(command, |record| String::from_utf8_lossy(record.body()).into_owned())?,
        "sizes" => records(command, |record| record.body().len().to_string())?,
        "topics" => records(command, |record| record.topic().to_owned())?,
        "physicals" => records(command, |record| record.physical_offset().to_string())?,
        "prepared" => records(command, |record| record.prepared_transaction_offset().to_string())?,
        "queues" => records(command, |record| record.queue_id().to_string())?,
        "borns" => records(command, |record| record.born_timestamp().to_string())?,
        "pushed" => command
            .ext
            .get("properties")
            .map(|text| text.to_cow().replace('\u{1}', ":").replace('\u{2}', ";"))
            .unwrap_or_default(),
        "offsets" => records(command, |record| record.queue_offset().to_string())?,
        "properties" => records(command, |record| record.properties().replace('\u{1}', ":").replace('\u{2}', ";"))?,
        "sysFlags" => records(command, |record| record.sys_flag().to_string())?,
        "storeHosts" => records(command, |record| record.store_host().to_string())?,
        "reconsumes" => records(command, |record| record.reconsume_times().to_string())?,
        "messages" => records(command, |_| "m".to_owned())?.matches('m').count().to_string(),
        "body" => String::from_utf8_lossy(command.body).into_owned(),
        "length" => command.body.len().to_string(),
        "msgIdLength" => command.ext.get("msgId").map_or(0, |id| id.to_cow().len()).to_string(),
        // Their blanks are written as in requests.
        "startOffsetInfo" | "msgOffsetInfo" | "orderCountInfo" => {
            command.ext.get(key).map_or("absent".to_owned(), |text| text.to_cow().replace(' ', "+"))
        }
        _ => match command.ext.get(key) {
            Some(text) => text.to_cow().into_owned(),
            None => "absent".to_owned(),
        },
    })
}

fn check(command: &Command<'_>, key: &str, value: &str) -> Result<(), String> {
    let found = found(command, key)?;
    // `key=value...` compares the beginning only, `key=...value...` looks for it anywhere.
    let agrees = match (value.strip_prefix("..."), value.strip_suffix("...")) {
        (Some(part), Some(_)) => found.contains(part.trim_end_matches("...")),
        (None, Some(front)) => found.starts_with(front),
        (Some(back), None) => found.ends_with(back),
        (None, None) => found == value,
    };
    if agrees { Ok(()) } else { Err(format!("{key} is {found}")) }
}

/// Something of every message in the body, comma-joined. Every record is checked on the way.
fn records(command: &Command<'_>, of: impl Fn(&record::RecordRef<'_>) -> String) -> Result<String, String> {
    let mut all = Vec::new();
    for record in record::iter(command.body) {
        let record = record.map_err(|error| error.to_string())?;
        record.check_body().map_err(|error| error.to_string())?;
        all.push(of(&record));
    }
    Ok(all.join(","))
}

fn shown(bytes: &[u8]) -> String {
    match frame::split(bytes).ok().flatten().and_then(|frame| Command::parse(frame).ok()) {
        Some(command) => format!(
            "code {} remark {:?} ext {:?} body of {} bytes",
            command.code,
            command.remark.map(|remark| remark.to_cow().into_owned()),
            command.ext,
            command.body.len()
        ),
        None => format!("{} bytes that are no frame", bytes.len()),
    }
}
