//! Renders the page `docs/settings.md` from the settings tables.
//!
//! Owns the page's words; every fact on it comes from the rows. Writing the file is xtask's part.

use super::{BrokerSettings, Form, Host, NamesrvSettings, Row, Settings, When};

/// The whole page as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "<!-- Generated from the settings tables (core/src/settings); edit the rows, then run `cargo xtask pages --write`. -->\n\n\
         # Settings\n\n\
         `mqbroker -c broker.conf` and `mqnamesrv -c namesrv.conf` read RocketMQ's own `key = value` files: `#` and `!` start\n\
         comments, `=`, `:` or white space separates, a backslash at the end continues a line. Flags win over the file; `-p`\n\
         prints every effective value and where it came from. A value that does not fit stops the start and names key, value,\n\
         what is expected, file and line. Keys of the Java broker without meaning here are listed in one note; unknown keys are\n\
         ignored with the nearest known name.\n\n\
         *Change*: `start` is read once at start; `any time` can be changed with `mqadmin updateBrokerConfig` (or\n\
         `updateNamesrvConfig`). A broker keeps such a change in its data directory; it holds until it is changed again or until\n\
         the file or a flag says something else than it did when the change was made. A name server forgets it when it ends.\n",
    );
    let host = Host { name: "<host name>".to_owned(), home: "$HOME".to_owned() };
    page.push_str("\n## broker.conf\n");
    table(&mut page, &BrokerSettings::defaults(&host));
    page.push_str("\n## namesrv.conf\n");
    table(&mut page, &NamesrvSettings::defaults(&host));
    page
}

fn table<S: Settings>(page: &mut String, defaults: &S) {
    let mut section = "";
    for row in S::ROWS {
        if row.section != section {
            section = row.section;
            page.push_str(&format!(
                "\n### {section}\n\n| key | default | value | change | meaning |\n|---|---|---|---|---|\n"
            ));
        }
        page.push_str(&line(row, &defaults.get(row.key).unwrap_or_default()));
    }
}

fn line(row: &Row, default: &str) -> String {
    let default = if default.is_empty() { "not set".to_owned() } else { format!("`{default}`") };
    let value = match row.form {
        Form::Only { only, .. } => format!("`{only}` only"),
        ref form => form.expected(),
    };
    let why = match row.form {
        Form::Only { why, .. } => format!(" Any other value is refused: {why}."),
        _ => String::new(),
    };
    let change = match row.when {
        When::AtStart => "start",
        When::AnyTime => "any time",
    };
    format!("| `{}` | {default} | {value} | {change} | {}{why} |\n", row.key, row.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_line_per_row() {
        let page = page();
        for row in BrokerSettings::ROWS.iter().chain(NamesrvSettings::ROWS) {
            assert!(page.contains(&format!("| `{}` | ", row.key)), "{}", row.key);
        }
    }

    /// Every `# key = value` line of a sample must name a row; the samples show defaults, or an example where none can be.
    #[test]
    fn the_samples_name_settings_that_exist() {
        let broker = include_str!("../../../conf/broker.conf");
        let namesrv = include_str!("../../../conf/namesrv.conf");
        let rows = |sample: &str, is_row: &dyn Fn(&str) -> bool| {
            let assignments = sample.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
            let keys: Vec<&str> = assignments.map(|(key, _)| key).filter(|key| !key.contains(' ')).collect();
            assert!(keys.len() > 4);
            for key in keys {
                assert!(is_row(key), "{key}");
            }
        };
        rows(broker, &|key| BrokerSettings::ROWS.iter().any(|row| row.key == key));
        rows(namesrv, &|key| NamesrvSettings::ROWS.iter().any(|row| row.key == key));
    }

    #[test]
    fn no_cell_breaks_its_table() {
        for row in page().lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(row.matches(" | ").count(), 4, "{row}");
        }
    }
}
