//! The name server's key-value configuration: the only thing it remembers over a restart (KVConfigManager).
//!
//! Owns namespaces, keys and values and their file form, which is the Java name server's `kvConfig.json`. It never opens the
//! file: whoever drives the name server asks for the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The namespace that orders topics: topic to `broker:queues;broker:queues`.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Most keys and values together, bytes: the whole file is written with every change.
pub const KV_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvConfig {
    config_table: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(skip)]
    bytes: usize,
}

/// The configuration would become larger than [`KV_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvFull;

impl KvConfig {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let mut config: KvConfig = serde_json::from_str(text)?;
        let sizes = config.config_table.values().flatten().map(|(key, value)| key.len() + value.len());
        config.bytes = sizes.sum();
        Ok(config)
    }

    /// The file's bytes.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings can always be written as JSON")
    }

    /// Sets a value.
    ///
    /// # Errors
    /// When there is no room.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), KvFull> {
        let table = self.config_table.entry(namespace.to_owned()).or_default();
        let before = table.get(key).map_or(0, |value| key.len() + value.len());
        let bytes = self.bytes - before + key.len() + value.len();
        if bytes > KV_BYTES_MAX {
            return Err(KvFull);
        }
        self.bytes = bytes;
        table.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// A value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.config_table.get(namespace)?.get(key).map(String::as_str)
    }

    /// Removes a key; says whether it was there.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let Some(value) = self.config_table.get_mut(namespace).and_then(|table| table.remove(key)) else {
            return false;
        };
        self.bytes -= key.len() + value.len();
        true
    }

    /// All of a namespace.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.config_table.get(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_java_name_server_s() {
        let mut config = KvConfig::default();
        config.put(ORDER_TOPIC_CONFIG, "t", "b:8").unwrap();
        assert_eq!(KvConfig::read(r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"t":"b:8"}}}"#).unwrap(), config);
        let text = String::from_utf8(config.file()).unwrap();
        assert_eq!(KvConfig::read(&text).unwrap(), config);
        assert!(KvConfig::read("{").is_err());
    }

    #[test]
    fn sizes_are_counted_and_limited() {
        let mut config = KvConfig::default();
        config.put("n", "k", "12345").unwrap();
        config.put("n", "k", "1").unwrap();
        assert_eq!(config.bytes, 2);
        assert_eq!(config.put("n", "big", &"x".repeat(KV_BYTES_MAX)), Err(KvFull));
        assert!(config.delete("n", "k") && !config.delete("n", "k"));
        assert_eq!((config.bytes, config.get("n", "k")), (0, None));
    }
}
