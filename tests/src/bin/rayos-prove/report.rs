//! Writes docs/reliability.md from the results of runs.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use tests::catalogue::{NOTHING, rows};
use tests::sim::explore::counts::Counts;

/// The inputs of the report.
#[derive(clap::Args)]
pub(crate) struct Report {
    /// Folder with the results
    #[arg(long, value_name = "DIR")]
    figures: PathBuf,
    /// The tested commit
    #[arg(long)]
    commit: String,
    /// The date
    #[arg(long)]
    date: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Deserialize)]
struct Bundles {
    bundles: u64,
    accepted: u64,
    first_seed: u64,
}

#[derive(Deserialize)]
struct Kills {
    seed: u64,
    /// Runs of an hour are not repeated for each report.
    #[serde(default)]
    commit: String,
    kills: Vec<Kill>,
}

#[derive(Deserialize)]
struct Kill {
    doing: String,
    then: String,
    started: bool,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(default)]
    commit: String,
    operations: usize,
    cuts: usize,
    judged: usize,
    booted: usize,
}

/// The catalogue of faults and attacks.
const CATALOGUE: &str = include_str!("../../../../docs/threat-model.md");

/// The part that does not depend on runs.
const LIMITS: &str = include_str!("limits.md");

impl Report {
    /// Writes the report from the results. *Reads and writes.*
    pub(crate) fn write(&self) -> Result<()> {
        let mut text = format!(
            "# Reliability: what was tested, and the results\n\nMade by `scripts/prove --report` on {} from commit {}. \
             The command beside a number repeats its run. Virtual machines are killed and recorded in runs of their own; \
             the table has the last one, with its commit if that is another one.\n\n",
            self.date, self.commit
        );
        let crash: Vec<Counts> = self.read("crash.json")?;
        self.totals(&crash, &mut text)?;
        text.push_str(&covered(CATALOGUE));
        text.push_str(LIMITS);
        scenarios(&crash, &mut text)?;
        fs::write(&self.out, text).with_context(|| self.out.display().to_string())
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<T> {
        let path = self.figures.join(name);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// The results of a run that is optional.
    fn read_if_there<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        self.figures
            .join(name)
            .exists()
            .then(|| self.read(name))
            .transpose()
    }

    fn totals(&self, crash: &[Counts], text: &mut String) -> Result<()> {
        let sum = |of: fn(&Counts) -> usize| crash.iter().map(of).sum::<usize>();
        let violations = sum(|counts| counts.violations.len());
        writeln!(
            text,
            "| what | number | violations | command |\n| --- | ---: | ---: | --- |"
        )?;
        let command = "`scripts/prove crash`";
        for (what, count) in [
            (
                "power cuts between two operations",
                sum(|counts| counts.prefix),
            ),
            (
                "power cuts in the middle of a write: head, tail, single bytes, a garbled sector",
                sum(|counts| counts.torn),
            ),
            (
                "power cuts with a subset of the unflushed sectors",
                sum(|counts| counts.subset),
            ),
            ("lost flushes, flipped bits", sum(|counts| counts.faulty)),
            (
                "different states among all of these; the machine ran from each until it rested",
                sum(|counts| counts.unique),
            ),
            (
                "second power cuts, in the run after the first",
                sum(|counts| counts.double),
            ),
            (
                "different states among those; the machine ran from each",
                sum(|counts| counts.double_unique),
            ),
            (
                "runs in which one write or flush (or all from one on) fails, is lost or misdirected",
                sum(|counts| counts.faults),
            ),
            (
                "runs in which one read of the disk (or all from one on) fails",
                sum(|counts| counts.reads),
            ),
            (
                "runs in which one request of a download fails, in seven ways; one in five also has a power cut at each operation",
                sum(|counts| counts.requests),
            ),
        ] {
            writeln!(text, "| {what} | {count} | {violations} | {command} |")?;
        }
        let bundles: Bundles = self.read("bundles.json")?;
        writeln!(
            text,
            "| bundles with the same verdict by two readers ({} valid; seeds from {}) | {} | 0 | `scripts/prove bundles {}` |",
            bundles.accepted, bundles.first_seed, bundles.bundles, bundles.bundles
        )?;
        self.machines(text)?;
        text.push('\n');
        Ok(())
    }

    /// Results of virtual machines, if there are any.
    fn machines(&self, text: &mut String) -> Result<()> {
        if let Some(kills) = self.read_if_there::<Kills>("kills.json")? {
            let mut by: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for kill in &kills.kills {
                *by.entry((&kill.doing, &kill.then)).or_default() += 1;
            }
            let detail: Vec<String> = by
                .iter()
                .map(|((doing, then), count)| format!("{doing} {count}, then {then}"))
                .collect();
            let started = kills.kills.iter().filter(|kill| kill.started).count();
            writeln!(
                text,
                "| virtual machines killed, their disks compared byte by byte, {started} of them started again ({}){} | {} | 0 | `scripts/prove kills {} {}` |",
                detail.join("; "),
                self.commit_note(&kills.commit),
                kills.kills.len(),
                kills.kills.len(),
                kills.seed
            )?;
        }
        for (what, file) in [
            ("installation", "recorded.install.json"),
            ("update", "recorded.update.json"),
        ] {
            if let Some(recorded) = self.read_if_there(file)? {
                let Recorded {
                    commit,
                    operations,
                    cuts,
                    judged,
                    booted,
                } = recorded;
                writeln!(
                    text,
                    "| power cuts of a real {what} that QEMU recorded ({operations} operations; {judged} different disks, compared byte by byte; {booted} started){} | {cuts} | 0 | `scripts/prove recorded {booted}` |",
                    self.commit_note(&commit)
                )?;
            }
        }
        Ok(())
    }

    /// The commit of a result, if it is not that of the report. *Pure.*
    fn commit_note(&self, commit: &str) -> String {
        if commit.is_empty() || commit == self.commit {
            String::new()
        } else {
            format!("; commit {commit}")
        }
    }
}

/// How much of the catalogue is covered by tests. *Pure.*
fn covered(catalogue: &str) -> String {
    let rows: Vec<(&str, &str)> = rows(catalogue).collect();
    let saying = |words: &str| -> Vec<&str> {
        rows.iter()
            .filter(|(_, cells)| cells.contains(words))
            .map(|(id, _)| *id)
            .collect()
    };
    let [open, moot] = NOTHING.map(saying);
    format!(
        "[threat-model.md](threat-model.md) has a row for each of the {} faults and attacks of the catalogue: it names the tests of {} of them. \
         Not covered: {}. No test needed, because the design excludes it: {}.\n\n",
        rows.len(),
        rows.len() - open.len() - moot.len(),
        open.join(", "),
        moot.join(", ")
    )
}

fn scenarios(crash: &[Counts], text: &mut String) -> Result<()> {
    let mut crash: Vec<&Counts> = crash.iter().collect();
    crash.sort_by(|a, b| (&a.scenario, a.sector_size).cmp(&(&b.scenario, b.sector_size)));
    writeln!(text, "\n## The scenarios\n")?;
    writeln!(
        text,
        "*Ops*: writes, flushes, changes of variables and starts in the run without a power cut. *Starts*: maximum until rest.\n"
    )?;
    writeln!(
        text,
        "| scenario | sector | ops | prefix | torn | subset | faulty | unique | double | unique | faults | reads | requests | starts |"
    )?;
    writeln!(text, "| --- |{}", " ---: |".repeat(13))?;
    for counts in crash {
        let Counts {
            scenario,
            sector_size,
            operations,
            prefix,
            torn,
            subset,
            faulty,
            unique,
            ..
        } = counts;
        let Counts {
            double,
            double_unique,
            faults,
            reads,
            requests,
            max_starts,
            ..
        } = counts;
        writeln!(
            text,
            "| {scenario} | {sector_size} | {operations} | {prefix} | {torn} | {subset} | {faulty} | {unique} | {double} | {double_unique} | {faults} | {reads} | {requests} | {max_starts} |"
        )?;
    }
    Ok(())
}
