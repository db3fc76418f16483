//! Plays every `scripts/*.script` against shards in a harness.
//!
//! Owns nothing but the list: the language is `script/`'s, what happens is the scripts'.

mod script;

use std::path::Path;

/// All scripts, in the order of their names; one failure fails the test and names script and line.
#[test]
fn scripts_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "script"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut failed = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Err(problem) = script::play(&text) {
            failed.push(format!("{name}.script:{problem}"));
        }
    }
    assert!(failed.is_empty(), "\n{}\n", failed.join("\n"));
}
