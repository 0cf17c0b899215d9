//! Every line of the programs that writes to a disk or a variable is reached by a scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tests::sim::hardware::operation::Operation;
use tests::sim::machine::firmware::Assertions;
use tests::sim::scenario::{SCENARIOS, Simulator};

/// Folders of the programs' sources.
const FOLDERS: [&str; 4] = [
    "bootctl/src",
    "bootctl/guard/src",
    "updater/src",
    "installer/src",
];
/// Calls that write.
const CALLS: [&str; 5] = [
    ".write_at(",
    ".set(",
    "vars.delete(",
    "disk.write(",
    "disk::write_at(",
];
/// Functions that no program calls.
const UNCALLED: [&str; 1] = ["erase"];
/// Files that implement the access to disks and variables, that run on another machine, or whose own
/// test cuts the power at each write.
const ELSEWHERE: [(&str, &str); 8] = [
    ("bootctl/src/disk/device/", "implements the trait"),
    ("bootctl/src/firmware/efivars/", "implements the trait"),
    ("bootctl/src/disk/window.rs", "forwards to the trait"),
    ("bootctl/guard/src/disk.rs", "forwards to the trait"),
    ("bootctl/guard/src/firmware/", "implements the trait"),
    (
        "bootctl/src/disk/table_repair.rs",
        "bootctl/tests/table_repair.rs cuts the power at each write",
    ),
    ("installer/src/media.rs", "makes a stick on another machine"),
    ("installer/src/disk/plan_report.rs", "writes text"),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// A line that writes.
#[derive(Debug)]
struct Site {
    text: String,
    /// Its function.
    function: String,
}

/// Every line that writes, by file and line number, outside of tests.
fn sites() -> BTreeMap<(String, u32), Site> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&project().join(folder), &mut files);
    }
    let mut sites = BTreeMap::new();
    for path in files {
        let name = path
            .strip_prefix(project())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if ELSEWHERE
            .iter()
            .any(|(elsewhere, _)| name.starts_with(elsewhere))
            || name.contains("tests")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let mut function = String::new();
        for (line, number) in code.lines().zip(1..) {
            if let Some((_, after)) = line
                .split_once("fn ")
                .filter(|_| !line.trim_start().starts_with("//"))
            {
                function = after
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap()
                    .to_owned();
            }
            let comment = line.trim_start().starts_with("//");
            let uncalled = UNCALLED.contains(&function.as_str());
            if !comment && !uncalled && CALLS.iter().any(|call| line.contains(call)) {
                let site = Site {
                    text: line.trim().to_owned(),
                    function: function.clone(),
                };
                sites.insert((name.clone(), number), site);
            }
        }
    }
    sites
}

impl Site {
    fn is_tail(&self) -> bool {
        (self.text.starts_with("return ") || !self.text.ends_with(';')) && !self.text.contains('?')
    }
}

/// True if a line of code calls the function. *Pure.*
fn calls(line: &str, function: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let call = format!("{function}(");
    line.match_indices(&call).any(|(at, _)| {
        let before = line[..at].trim_end();
        !line[..at].ends_with(is_name) && !before.ends_with("fn")
    })
}

fn line_of(file: &str, line: u32) -> String {
    let text = std::fs::read_to_string(project().join(file)).unwrap_or_default();
    text.lines()
        .nth(line as usize - 1)
        .unwrap_or_default()
        .to_owned()
}

/// File and line of every frame of a backtrace that is in the programs' sources.
fn frames(backtrace: &str) -> impl Iterator<Item = (String, u32)> + '_ {
    backtrace.lines().filter_map(|line| {
        let location = line.trim().strip_prefix("at ")?;
        let location = FOLDERS
            .iter()
            .find_map(|folder| location.find(folder).map(|at| &location[at..]))?;
        let mut parts = location.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    })
}

#[test]
fn every_write_of_the_programs_is_reached() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    let mut missing = sites();
    assert!(missing.len() >= 15, "the search itself: {missing:?}");
    let mut removed = false;
    for scenario in &SCENARIOS {
        let start = simulator.initial_state(scenario, 512)?;
        let mut sim = simulator.machine(&start, 512, scenario.workload, Assertions::All)?;
        sim.set_faults(&scenario.faults());
        sim.operation_log().record_backtraces();
        sim.run_until_rest();
        let reached: std::collections::BTreeSet<_> = sim
            .operation_log()
            .take_backtraces()
            .iter()
            .flat_map(|trace| frames(trace).collect::<Vec<_>>())
            .collect();
        let called: Vec<String> = reached
            .iter()
            .map(|(file, line)| line_of(file, *line))
            .collect();
        // A call over several lines is reported at one of them. A tail call may have no frame: then
        // the line that calls its function stands for it.
        removed |= sim
            .operation_log()
            .take()
            .iter()
            .any(|op| matches!(op, Operation::Variable(_, None)));
        missing.retain(|(file, line), site| {
            let by_caller = site.is_tail() && called.iter().any(|line| calls(line, &site.function));
            !by_caller
                && !reached
                    .iter()
                    .any(|(other, at)| other == file && line.abs_diff(*at) <= 2)
        });
    }
    assert!(missing.is_empty(), "no scenario reaches: {missing:#?}");
    assert!(removed, "no scenario deletes a variable");
    Ok(())
}
