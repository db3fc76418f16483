//! Turns a configuration file and command-line overrides into settings, and says what was odd about them.
//!
//! Owns where each value came from, the notices (keys without meaning here, unknown keys), the refusals, the listing of
//! effective values, and changes at run time. It reads text; opening the file is the caller's part.

use std::collections::BTreeMap;
use std::fmt;

use super::nearest::nearest;
use super::properties::{self, Property};
use super::{Host, Row, Settings, When};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table's default.
    Default,
    /// A line of the configuration file.
    File {
        /// The file's name as the user gave it.
        path: String,
        /// Line, counted from 1.
        line: u32,
    },
    /// A command-line flag or an environment variable.
    Flag,
    /// updateBrokerConfig or updateNamesrvConfig.
    Admin,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Flag => f.write_str("command line"),
            Source::Admin => f.write_str("changed at run time"),
        }
    }
}

/// A setting that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The key at fault.
    pub key: String,
    /// What was written.
    pub value: String,
    /// What would be accepted.
    pub expected: String,
    /// Where it was written.
    pub source: Source,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {:?} is refused; expected {}", self.source, self.key, self.value, self.expected)
    }
}

/// Something worth one line at start, but no reason to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Keys of the Java broker that have no meaning here, in the order of the file.
    WithoutMeaning(Vec<String>),
    /// A key that neither broker knows.
    Unknown {
        /// The key as written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
        /// Where it was written.
        source: Source,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::WithoutMeaning(keys) => {
                write!(
                    f,
                    "{} setting(s) of the Java broker have no meaning here and are ignored: {}",
                    keys.len(),
                    keys.join(", ")
                )
            }
            Notice::Unknown { key, nearest: Some(nearest), source } => {
                write!(f, "{source}: unknown setting {key}, did you mean {nearest}? It is ignored")
            }
            Notice::Unknown { key, nearest: None, source } => write!(f, "{source}: unknown setting {key} is ignored"),
        }
    }
}

/// What the user gave: at most one file and any number of overrides, which win over the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Name and text of the configuration file.
    pub file: Option<(&'a str, &'a str)>,
    /// Key and value of each override; of equal keys the last one wins.
    pub flags: &'a [(&'a str, &'a str)],
}

/// Settings together with where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded<S> {
    /// The values.
    pub settings: S,
    /// Lines for the start-up log.
    pub notices: Vec<Notice>,
    /// The values before any change at run time.
    configured: S,
    sources: BTreeMap<&'static str, Source>,
    /// Java keys without meaning here, with the value given: admin tools read back what they wrote.
    carried: BTreeMap<String, String>,
}

/// What a change at run time did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Keys that now have another value, with that value as text.
    pub values: Vec<(&'static str, String)>,
    /// Keys that were taken note of without effect.
    pub without_effect: Vec<String>,
}

/// Reads the file, then the overrides, over the defaults.
///
/// # Errors
/// Every value that does not fit its row, not only the first; the settings are then unusable.
pub fn load<S: Settings>(host: &Host, given: Given<'_>) -> Result<Loaded<S>, Vec<Refused>> {
    let mut loaded = Loaded {
        settings: S::defaults(host),
        configured: S::defaults(host),
        notices: Vec::new(),
        sources: BTreeMap::new(),
        carried: BTreeMap::new(),
    };
    let mut refused = Vec::new();
    let mut without_meaning = Vec::new();
    let (path, text) = given.file.unwrap_or(("", ""));
    let of_file = properties::parse(text)
        .into_iter()
        .map(|Property { key, value, line }| (key, value, Source::File { path: path.to_owned(), line }));
    let of_flags = given.flags.iter().map(|&(key, value)| (key.to_owned(), value.to_owned(), Source::Flag));
    for (key, value, source) in of_file.chain(of_flags) {
        match loaded.take(&key, &value, &source) {
            Ok(true) => {}
            Ok(false) if S::is_java_key(&key) => {
                loaded.carried.insert(key.clone(), value);
                if !without_meaning.contains(&key) {
                    without_meaning.push(key);
                }
            }
            Ok(false) => {
                let nearest = nearest(&key, S::ROWS.iter().map(|row| row.key));
                loaded.notices.push(Notice::Unknown { key, nearest, source });
            }
            Err(wrong) => refused.push(wrong),
        }
    }
    if !without_meaning.is_empty() {
        loaded.notices.push(Notice::WithoutMeaning(without_meaning));
    }
    if refused.is_empty()
        && let Err((key, expected)) = loaded.settings.check()
    {
        let value = loaded.settings.get(key).unwrap_or_default();
        refused.push(Refused { key: key.to_owned(), value, expected, source: loaded.source(key) });
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    loaded.configured = loaded.settings.clone();
    Ok(loaded)
}

/// The first key of a settings text that stands on a list of keys separated by `;` (configBlackList).
#[must_use]
pub fn first_listed(text: &str, list: &str) -> Option<String> {
    let is_listed = |key: &str| list.split(';').any(|listed| listed.trim() == key);
    properties::parse(text).into_iter().map(|property| property.key).find(|key| is_listed(key))
}

fn row<S: Settings>(key: &str) -> Option<&'static Row> {
    S::ROWS.iter().find(|row| row.key == key)
}

impl<S: Settings> Loaded<S> {
    /// Where the value of `key` came from.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Sets one value; `Ok(false)` when no row has the key.
    fn take(&mut self, key: &str, value: &str, source: &Source) -> Result<bool, Refused> {
        let Some(row) = row::<S>(key) else {
            return Ok(false);
        };
        if self.settings.set(key, value) == Some(true) {
            self.sources.insert(row.key, source.clone());
            return Ok(true);
        }
        Err(Refused {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: row.form.expected(),
            source: source.clone(),
        })
    }

    /// Changes values at run time (UPDATE_BROKER_CONFIG, UPDATE_NAMESRV_CONFIG); all of them or none.
    ///
    /// A key that can only be read at start may be named with the value it already has: admin pages send the whole list back.
    ///
    /// # Errors
    /// The first key that is unknown, fixed at start, or has a value that does not fit.
    pub fn change(&mut self, text: &str) -> Result<Changed, Refused> {
        let mut next = self.clone();
        let mut changed = Changed::default();
        for Property { key, value, .. } in properties::parse(text) {
            let refuse =
                |expected: String| Refused { key: key.clone(), value: value.clone(), expected, source: Source::Admin };
            let Some(row) = row::<S>(&key) else {
                if !S::is_java_key(&key) {
                    let nearest = nearest(&key, S::ROWS.iter().map(|row| row.key));
                    return Err(refuse(
                        nearest.map_or("a known key".to_owned(), |name| format!("a known key, perhaps {name}")),
                    ));
                }
                next.carried.insert(key.clone(), value);
                changed.without_effect.push(key);
                continue;
            };
            let before = next.settings.get(row.key);
            next.take(&key, &value, &Source::Admin)?;
            let after = next.settings.get(row.key);
            if before == after {
                next.sources.insert(row.key, self.source(row.key));
                continue;
            }
            if row.when == When::AtStart {
                return Err(refuse("it to be changed in the configuration file, followed by a restart".to_owned()));
            }
            changed.values.push((row.key, after.unwrap_or_default()));
        }
        if let Err((key, expected)) = next.settings.check() {
            let value = next.settings.get(key).unwrap_or_default();
            return Err(Refused { key: key.to_owned(), value, expected, source: Source::Admin });
        }
        *self = next;
        Ok(changed)
    }

    /// The value of `key` that file, flags and defaults gave, whatever was changed since.
    #[must_use]
    pub fn configured(&self, key: &str) -> Option<String> {
        self.configured.get(key)
    }

    /// Takes up a change that an earlier run made and stored. It holds only while the configured value is still the one the
    /// change replaced: who edits the file afterwards means the file. Says whether it was taken up.
    pub fn restore(&mut self, key: &str, value: &str, replaced: &str) -> bool {
        let holds = row::<S>(key).is_some_and(|row| row.when == When::AnyTime)
            && self.configured.get(key).as_deref() == Some(replaced);
        let mut next = self.clone();
        if !holds || next.take(key, value, &Source::Admin) != Ok(true) || next.settings.check().is_err() {
            return false;
        }
        *self = next;
        true
    }

    /// `key=value` lines of everything, as GET_BROKER_CONFIG and GET_NAMESRV_CONFIG answer.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for row in S::ROWS {
            let value = self.settings.get(row.key).unwrap_or_default();
            lines.push_str(&format!("{}={}\n", row.key, value));
        }
        for (key, value) in &self.carried {
            lines.push_str(&format!("{key}={value}\n"));
        }
        lines
    }

    /// The effective settings for people (`-p`): by section, aligned, each with its source.
    #[must_use]
    pub fn listing(&self) -> String {
        let assignments: Vec<String> = S::ROWS
            .iter()
            .map(|row| format!("{} = {}", row.key, self.settings.get(row.key).unwrap_or_default()))
            .collect();
        let width = assignments.iter().map(String::len).filter(|&len| len <= 60).max().unwrap_or(0);
        let mut listing = String::new();
        let mut section = "";
        for (row, assignment) in S::ROWS.iter().zip(&assignments) {
            if row.section != section {
                section = row.section;
                listing.push_str(&format!("{}# {section}\n", if listing.is_empty() { "" } else { "\n" }));
            }
            listing.push_str(&format!("{assignment:width$}  # {}\n", self.source(row.key)));
        }
        listing
    }
}
