//! Documentation of input and output: JSON schemas, the example of a `bundle.toml`, and the
//! examples of the help.

mod sample;

use fixtures::schema::misfits;
use sample::{RECIPE, noise, root_image, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Runs a command line in `folder` and returns its exit code and standard output.
fn bundle(folder: &Path, args: &str) -> (Option<i32>, Vec<u8>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rayos-bundle"));
    let output = command
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    (output.status.code(), output.stdout)
}

/// Returns a folder with the files that the example names, and a key.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("root.img"), root_image()).unwrap();
    fs::write(path.join("boot.efi"), b"MZ boot program ".repeat(400)).unwrap();
    fs::write(path.join("rayos.spdx.json"), "{}").unwrap();
    fs::write(path.join("bundle.toml"), RECIPE).unwrap();
    assert_eq!(bundle(path, "keygen -o k").0, Some(0));
    folder
}

fn schema(name: &str) -> Value {
    let text =
        fs::read_to_string(docs().join(format!("schemas/rayos-bundle.{name}-1.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Runs a command line, checks its output against the schema, and returns it.
#[track_caller]
fn fits(folder: &Path, name: &str, code: i32, args: &str) -> Value {
    let (found, printed) = bundle(folder, args);
    assert_eq!(found, Some(code), "{args}");
    let value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(misfits(&schema(name), &value), [""; 0], "{args}: {value:#}");
    value
}

#[test]
fn json_output_matches_its_schema() {
    let folder = folder();
    let path = folder.path();
    fits(
        path,
        "inspect",
        0,
        "create bundle.toml --key k.key -o x.bundle --json",
    );
    assert_eq!(
        fits(path, "inspect", 0, "inspect x.bundle --json")["verified"],
        false
    );
    assert_eq!(
        fits(path, "inspect", 0, "verify x.bundle --trust k.pub --json")["verified"],
        true
    );
    fits(path, "list", 0, "list x.bundle --json");
    assert_eq!(
        fits(path, "list", 0, "list x.bundle --json --chunks")["chunks"][0]["image"],
        "boot"
    );
    // A recipe with every key, and a delta.
    fs::copy(
        docs().join("bundle.example.toml"),
        path.join("example.toml"),
    )
    .unwrap();
    let mut root = root_image();
    root[4096..5000].copy_from_slice(&noise(9, 904));
    fs::write(path.join("root.img"), root).unwrap();
    fits(
        path,
        "inspect",
        0,
        "create example.toml --key k.key -o y.bundle --json",
    );
    let delta = fits(
        path,
        "inspect",
        0,
        "delta x.bundle y.bundle --key k.key -o d.bundle --json",
    );
    assert_eq!(delta["base"], "1.2.3");
    let chunks = fits(path, "list", 0, "list d.bundle --json --chunks")["chunks"].clone();
    assert!(
        chunks
            .as_array()
            .unwrap()
            .iter()
            .any(|chunk| chunk["kind"] == "delta"),
        "{chunks}"
    );
    fits(path, "diff", 0, "diff x.bundle y.bundle --json");
    assert_eq!(
        fits(
            path,
            "compare",
            0,
            "compare y.bundle --against root.img --json"
        )["differing"],
        Value::from([0; 0])
    );
    let differing = fits(
        path,
        "compare",
        3,
        "compare x.bundle --against root.img --json",
    );
    assert_eq!(differing["differing"][0]["offset"], 4096);
}

/// Returns the keys of a table of the example, with those that are commented out.
fn keys(example: &str, table: &str) -> Vec<String> {
    let section = example
        .split(&format!("\n{table}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("{table}"));
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let keys = lines.filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    keys.map(|(key, _)| key.to_owned())
        .filter(|key| !key.contains(' '))
        .collect()
}

#[test]
fn the_example_has_every_key_of_a_recipe() {
    let folder = folder();
    let path = folder.path();
    let example = fs::read_to_string(docs().join("bundle.example.toml")).unwrap();
    fs::write(path.join("x.toml"), &example).unwrap();
    let shown = fits(
        path,
        "inspect",
        0,
        "create x.toml --key k.key -o x.bundle --json",
    );
    assert_eq!(
        (&shown["created"], &shown["build"]["commit"]),
        (&1_700_000_000.into(), &"0123abc".into())
    );
    let chunk_sizes = [
        &shown["images"][0]["chunk_size"],
        &shown["images"][1]["chunk_size"],
    ];
    assert_eq!(chunk_sizes, [16384, 32768]);
    for table in ["[release]", "[sbom]", "[compression]", "[[image]]"] {
        // The refusal of an unknown key lists the known ones.
        let wrong = example.replacen(
            &format!("\n{table}\n"),
            &format!("\n{table}\nwrong = 1\n"),
            1,
        );
        let refused = bundle::recipe::Recipe::parse(&wrong, &path.join("x.toml"), None)
            .unwrap_err()
            .to_string();
        let (_, known) = refused
            .split_once("unknown field `wrong`, expected")
            .unwrap_or_else(|| panic!("{refused}"));
        let mut known: Vec<String> = known
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let mut shown = keys(&example, table);
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, known, "{table}");
    }
    // The bundle has the digest of the bill of materials.
    let sum = run("sha256sum", &["rayos.spdx.json"], path);
    assert!(
        String::from_utf8(sum)
            .unwrap()
            .starts_with(shown["sbom"]["sha256"].as_str().unwrap())
    );
}

/// Returns the example in the `--help` of a verb.
fn example(verb: &str) -> Vec<String> {
    let (code, help) = bundle(Path::new("."), &format!("{verb} --help"));
    assert_eq!(code, Some(0), "{verb}");
    let help = String::from_utf8(help).unwrap();
    let (_, example) = help
        .split_once("\nExample:\n")
        .unwrap_or_else(|| panic!("{verb}: {help}"));
    example
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_examples_of_the_help_succeed() {
    let folder = folder();
    let path = folder.path();
    let act = |line: &str| match line.split_once(' ').unwrap() {
        ("rayos-bundle", args) => assert_eq!(bundle(path, args).0, Some(0), "{line}"),
        (program, args) => drop(run(program, &args.split(' ').collect::<Vec<_>>(), path)),
    };
    // The first example uses the minimal recipe of the help.
    let help = String::from_utf8(bundle(path, "create --help").1).unwrap();
    let (_, minimal) = help.split_once("Minimal BUNDLE.TOML:\n").unwrap();
    let minimal: String = minimal
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.to_owned() + "\n")
        .collect();
    fs::write(path.join("bundle.toml"), minimal).unwrap();
    let lines = example("");
    assert_eq!(lines.len(), 4);
    lines.iter().for_each(|line| act(line));
    assert_eq!(fs::read(path.join("root.img")).unwrap(), root_image());
    assert_eq!(example("digest"), example("attach"));
    example("attach").iter().for_each(|line| act(line));
    assert_eq!(
        bundle(path, "verify x.bundle --trust keys/release.pub").0,
        Some(0)
    );
}
