//! House rules that neither rustc nor clippy know: file lengths and headers, words that name no job,
//! `unsafe` only where it is listed, the direction of dependencies, nothing of the machine in the tree.

use std::path::{Path, PathBuf};

use crate::steps::root;

/// No source file is longer: a longer one holds more than one noun.
const FILE_LINES: usize = 800;

/// Suffixes of a type's name that say a role instead of a thing.
const EMPTY_WORDS: [&str; 8] = ["Manager", "Processor", "Helper", "Util", "Utils", "Impl", "Wrapper", "Capability"];

/// The only files that may hold `unsafe`; each block there carries its argument, in a SAFETY comment above it.
const UNSAFE_FILES: [&str; 11] = [
    "protocol/src/ext.rs",
    "protocol/src/seek.rs",
    "shards/src/boot/heap.rs",
    "shards/src/boot/memory.rs",
    "shards/src/clock.rs",
    "shards/src/disk/ring.rs",
    "shards/src/disk/segment_file.rs",
    "shards/src/executor.rs",
    "shards/src/net/listener.rs",
    "shards/src/net/outbound.rs",
    "shards/src/net/table.rs",
];

/// Lines above an unsafe block in which its SAFETY comment may begin.
const SAFETY_REACH: usize = 6;

/// What each room may name among the rooms: `protocol <- core <- shards`; tools and perf know only protocol.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("protocol", &[]),
    ("core", &["protocol"]),
    ("shards", &["protocol", "core"]),
    ("tools", &["protocol"]),
    ("perf", &["protocol"]),
    ("tests/sim", &["protocol", "core"]),
];

/// Checks every rule; the error lists each place that breaks one.
pub fn check() -> Result<(), String> {
    let mut found = Vec::new();
    for file in sources(&root())? {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        check_file(&name, &text, &mut found);
    }
    for (room, allowed) in MAY_USE {
        check_dependencies(room, allowed, &mut found)?;
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("{} breaches of the house rules:\n  {}", found.len(), found.join("\n  ")))
}

fn check_file(name: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{name}: {lines} lines, the limit is {FILE_LINES}: split it by responsibility"));
    }
    let integration_test = name.contains("/tests/") && !name.starts_with("tests/");
    if !text.starts_with("//!") && !integration_test {
        found.push(format!("{name}: does not open with //! saying what the file is for"));
    }
    // The rules below are spelled out in this file, so it would find itself.
    if name.ends_with("xtask/src/tidy.rs") {
        return;
    }
    let unsafe_allowed = UNSAFE_FILES.contains(&name) || integration_test || name.contains("/benches/");
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{name}:{}", number + 1);
        let code = line.split("//").next().unwrap_or("");
        if let Some(word) = declared_type(code)
            && let Some(empty) = EMPTY_WORDS.iter().find(|empty| word.ends_with(**empty))
        {
            found.push(format!("{}: type {word} ends in {empty}, which names no job", place()));
        }
        if code.contains("unsafe {") {
            let above = text.lines().take(number).skip(number.saturating_sub(SAFETY_REACH));
            if !unsafe_allowed {
                found.push(format!("{}: unsafe outside the listed files", place()));
            } else if !above.chain([line]).any(|line| line.contains("SAFETY:")) {
                found.push(format!("{}: unsafe without its SAFETY argument", place()));
            }
        }
        for banned in ["#[ignore", "todo!(", "unimplemented!("] {
            if code.contains(banned) {
                found.push(format!("{}: {banned}", place()));
            }
        }
    }
}

/// The name that a line declares with struct, enum, trait or type.
fn declared_type(code: &str) -> Option<&str> {
    let code = code.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| code.strip_prefix(word))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn check_dependencies(room: &str, allowed: &[&str], found: &mut Vec<String>) -> Result<(), String> {
    let path = root().join(room).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let built = text.split("[dev-dependencies]").next().unwrap_or("");
    for other in ["protocol", "core", "shards", "tools", "perf"] {
        let named = built.lines().any(|line| line.starts_with(&format!("ringmq-{other}")));
        if named && !allowed.contains(&other) {
            found.push(format!("{room} depends on {other}: the direction is protocol <- core <- shards"));
        }
    }
    Ok(())
}

/// Every Rust source file below the rooms.
fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["protocol", "core", "shards", "tools", "perf", "tests"].iter().map(|room| root.join(room)).collect();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
