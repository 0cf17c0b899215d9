//! The plan for people: a table of the disks, every reason against each, and the chosen disk drawn
//! as it is and as it would be.

use super::choose::Candidate;
use super::disk_facts::DiskFacts;
use super::disk_map::DiskMap;
use super::drawing::{bar, list};
use super::file_system::shown;
use super::plan_report::PlanReport;
use super::safety::DiskContent;
use cli::quantity::bytes;

/// Columns of a drawing.
const WIDTH: usize = 76;

/// Returns the plan as text. *Pure.* `facts` has the disks of `report`, in any order.
#[must_use]
pub fn plan_text(report: &PlanReport, facts: &[DiskFacts]) -> String {
    let mut text = String::new();
    if report.sample {
        line(
            &mut text,
            "A sample machine. For this machine: --enumerate-local-disks",
        );
        line(&mut text, "");
    }
    table(&mut text, report, facts);
    line(&mut text, "");
    let chosen = report.blockdevices.iter();
    let chosen = chosen
        .clone()
        .find(|it| Some(&it.disk.path) == report.target.as_ref());
    match (chosen, &report.plan) {
        (Some(chosen), Some(plan)) => {
            let map = map_of(chosen, facts);
            let map = map.unwrap_or_else(|| DiskMap::blank(chosen.disk.size));
            line(&mut text, &format!("Target: {}", describe(chosen)));
            drawing(&mut text, "Now", &map);
            drawing(&mut text, "After the installation", &map.planned(plan));
        }
        _ => line(&mut text, "No disk is chosen; the table has the reasons."),
    }
    line(&mut text, "");
    if let Some(hash) = &report.hash {
        line(&mut text, &format!("Plan hash: {hash}"));
    }
    line(&mut text, "Nothing was written.");
    if report.hash.is_some() && !report.sample {
        let command = "To install exactly this: rayos-installer apply --answers FILE \
                       --bundle BUNDLE --plan-hash HASH";
        line(&mut text, command);
    }
    text
}

fn table(text: &mut String, report: &PlanReport, facts: &[DiskFacts]) {
    let row = |text: &mut String, [path, size, id, content]: [&str; 4]| {
        let row = format!("{path:<14} {size:>11}  {id:<22} {content}");
        line(text, row.trim_end());
    };
    row(text, ["DISK", "SIZE", "ID", "CONTENT"]);
    for candidate in &report.blockdevices {
        let disk = &candidate.disk;
        let path = disk.path.display().to_string();
        let content = content(candidate, map_of(candidate, facts).as_ref());
        row(text, [&path, &bytes(disk.size), disk.id(), &content]);
        for problem in &candidate.problems {
            line(text, &format!("    no: {problem}"));
        }
        if candidate.problems.is_empty() {
            let named = if disk.is_removable() {
                "    only if it is named as the target: it is removable"
            } else {
                "    can be installed to"
            };
            line(text, named);
        }
    }
}

fn drawing(text: &mut String, title: &str, map: &DiskMap) {
    line(text, "");
    line(text, &format!("{title} (# RayOS, . free):"));
    for row in bar(map, WIDTH).into_iter().chain(list(map)) {
        line(text, &row);
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn map_of(candidate: &Candidate, facts: &[DiskFacts]) -> Option<DiskMap> {
    let found = facts.iter().find(|it| it.disk.path == candidate.disk.path);
    found?.map.clone()
}

/// Returns path, model, id and size of a disk, for people. *Pure.*
#[must_use]
pub fn describe(candidate: &Candidate) -> String {
    let disk = &candidate.disk;
    let model = shown(disk.model.as_deref().unwrap_or("unknown model"));
    let (path, size) = (disk.path.display(), bytes(disk.size));
    format!("{path}, {model}, {size}, id {}", shown(disk.id()))
}

/// Returns what a disk holds, in a few words. *Pure.*
#[must_use]
pub fn content(candidate: &Candidate, map: Option<&DiskMap>) -> String {
    let systems = map.map(|map| map.systems().join(", ")).unwrap_or_default();
    let ours = match &candidate.content {
        None => return "cannot be read".to_owned(),
        Some(DiskContent::Installed { version }) => format!("RayOS {version}"),
        Some(DiskContent::Unfinished | DiskContent::UnfinishedBeside) => {
            "RayOS, interrupted".to_owned()
        }
        Some(DiskContent::Remains) => "RayOS without boot record".to_owned(),
        Some(DiskContent::Blank) => return "blank".to_owned(),
        Some(DiskContent::Other(_)) if systems.is_empty() => return "not empty".to_owned(),
        Some(DiskContent::Other(_)) => return systems,
    };
    match systems.is_empty() {
        true => ours,
        false => format!("{ours}, {systems}"),
    }
}
