//! From a command line to settings: the file is read, flags win over it, what is odd about them is said.
//!
//! Owns the reading of the file and the facts about the machine that defaults depend on. What a setting means is core's.

use std::path::Path;

use ringmq_core::settings::{self, Given, Host, Loaded, Settings};

use super::Refused;

/// Facts about this machine that defaults depend on.
pub fn host() -> Host {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
    Host {
        name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
        // Without a home (systemd units) the working directory is at least a place the operator chose.
        home: home.unwrap_or_else(|| ".".to_owned()),
    }
}

/// Reads the settings.
///
/// # Errors
/// A file that cannot be read, or values that do not fit: all of them in one line.
pub fn load<S: Settings>(file: Option<&Path>, flags: &[(&str, &str)]) -> Result<Loaded<S>, Refused> {
    let name = file.map(|path| path.display().to_string()).unwrap_or_default();
    let text = match file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            Refused::new(format!("the configuration file {name} cannot be read: {error}"), "correct the path after -c")
        })?),
    };
    let given = Given { file: text.as_deref().map(|text| (name.as_str(), text)), flags };
    settings::load(&host(), given).map_err(|refused| {
        let all: Vec<String> = refused.iter().map(ToString::to_string).collect();
        Refused::new(all.join("; "), "see --help and docs/settings.md")
    })
}
