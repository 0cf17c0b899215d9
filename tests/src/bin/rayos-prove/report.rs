//! Writes docs/reliability.md from the figures of runs.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use tests::catalogue::{NOTHING, rows};
use tests::sim::explore::counts::Counts;

/// Arguments of the verb `report`.
#[derive(clap::Args)]
pub(crate) struct Report {
    /// Folder with the figures
    #[arg(long, value_name = "DIR")]
    figures: PathBuf,
    /// Commit that was tested
    #[arg(long)]
    commit: String,
    /// Date of the report
    #[arg(long)]
    date: String,
    /// File to write the report to
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
    /// Commit of the run: runs of an hour are not repeated for each report.
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

/// The catalogue of faults and attacks, with the tests that cover them.
const CATALOGUE: &str = include_str!("../../../../docs/threat-model.md");

/// Text of the report that does not depend on the figures.
const LIMITS: &str = include_str!("limits.md");

impl Report {
    /// Writes the report. *Reads* the figures.
    pub(crate) fn write(&self) -> Result<()> {
        let mut text = format!(
            "# Reliability: experiments and results\n\nMade by `scripts/prove --report` on {} from commit {}. \
             The command beside a figure repeats it.\nVirtual machines are killed and recorded in separate runs; \
             the last run counts, with its commit.\n\n",
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

    /// Returns the figures of a run, or `None` if there was no such run. *Reads.*
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
            "| experiment | number | violations | command |\n| --- | ---: | ---: | --- |"
        )?;
        let command = "`scripts/prove crash`";
        for (what, count) in [
            (
                "power cuts between two operations",
                sum(|counts| counts.prefix),
            ),
            (
                "power cuts inside a write: head, tail, single bytes, a sector of garbage",
                sum(|counts| counts.torn),
            ),
            (
                "subsets of the sectors that were not flushed",
                sum(|counts| counts.subset),
            ),
            (
                "ignored flushes, single flipped bits",
                sum(|counts| counts.faulty),
            ),
            (
                "different machines among these, each started again until it rested",
                sum(|counts| counts.unique),
            ),
            (
                "second cuts, after a first one",
                sum(|counts| counts.double),
            ),
            (
                "different machines among those, each started again",
                sum(|counts| counts.double_unique),
            ),
            (
                "runs in which one operation (or each from one on) fails, is lost or is misdirected",
                sum(|counts| counts.faults),
            ),
            (
                "runs in which one read of the disk (or each from one on) fails",
                sum(|counts| counts.reads),
            ),
            (
                "runs in which one request of a download fails, in seven ways; one in five is also cut at each operation",
                sum(|counts| counts.requests),
            ),
        ] {
            writeln!(text, "| {what} | {count} | {violations} | {command} |")?;
        }
        let bundles: Bundles = self.read("bundles.json")?;
        writeln!(
            text,
            "| bundles on which two readers agree ({} valid; seeds from {}) | {} | 0 | `scripts/prove bundles {}` |",
            bundles.accepted, bundles.first_seed, bundles.bundles, bundles.bundles
        )?;
        self.machines(text)?;
        text.push('\n');
        Ok(())
    }

    /// Appends the rows about virtual machines, if they were run.
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
                "| virtual machines killed, their disks judged byte by byte, {started} of them started again ({}){} | {} | 0 | `scripts/prove kills {} {}` |",
                detail.join("; "),
                self.other(&kills.commit),
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
                    "| cuts of a real {what} that QEMU recorded ({operations} operations; {judged} different disks, judged byte by byte; {booted} started){} | {cuts} | 0 | `scripts/prove recorded {booted}` |",
                    self.other(&commit)
                )?;
            }
        }
        Ok(())
    }

    /// Returns the commit of a figure as text, empty if it is the commit of the report. *Pure.*
    fn other(&self, commit: &str) -> String {
        if commit.is_empty() || commit == self.commit {
            String::new()
        } else {
            format!("; commit {commit}")
        }
    }
}

/// Returns a paragraph with the number of covered rows of the catalogue. *Pure.*
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
        "[threat-model.md](threat-model.md) has a row for each of the {} faults and attacks of the catalogue.\n\
         Tests cover {} of them. Not covered: {}.\nNothing to test, by design: {}.\n\n",
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
        "*Ops*: writes, flushes, changes of variables and starts in the run without a cut. \
         *Starts*: maximum until rest.\n"
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
