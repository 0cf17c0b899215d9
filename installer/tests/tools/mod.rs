//! Tools of the system, as independent judges.

use std::path::Path;
use std::process::Command;

/// Runs a tool on a file, asserts that it succeeds, and returns its output.
pub(crate) fn output_of(tool: &str, arguments: &[&str], file: &Path) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(tool)
        .args(arguments)
        .arg(file)
        .env("PATH", path)
        .output()
        .expect(tool);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(
        output.status.success(),
        "{tool}: {}: {printed}",
        output.status
    );
    printed
}
