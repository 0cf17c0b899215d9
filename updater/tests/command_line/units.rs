//! systemd accepts the units in `dist/systemd`.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_accepts_the_units() {
    let dir = tempfile::tempdir().expect("directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(from).expect("units").flatten() {
        // systemd checks that the programs exist.
        let text = std::fs::read_to_string(entry.path()).expect("unit");
        let text = text.replace(
            "/usr/bin/rayos-updater",
            env!("CARGO_BIN_EXE_rayos-updater"),
        );
        let unit = dir.path().join(entry.file_name());
        std::fs::write(&unit, text).expect("unit");
        units.push(unit);
    }
    assert_eq!(units.len(), 4);
    match Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A machine without systemd does not use the units, either; the continuous integration
            // has systemd.
        }
        Err(error) => panic!("systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            // systemd also checks the units that ours depend on; those of the distribution do not
            // matter here.
            let ours: Vec<_> = said
                .lines()
                .filter(|line| line.contains("rayos-update"))
                .collect();
            assert!(ours.is_empty(), "{said}");
        }
    }
}
