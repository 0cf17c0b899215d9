//! `rayos-prove`: cuts the power of simulated machines and counts the results. `scripts/prove` runs
//! it.

mod report;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::sim::explore::Explorer;
use tests::sim::explore::counts::{Counts, Coverage};
use tests::sim::explore::minimize::Case;
use tests::sim::fault::Fault;
use tests::sim::power_cut::{CutCoverage, PowerCut};
use tests::sim::scenario::{SCENARIOS, Scenario, Simulator, find};

/// Cuts the power of simulated machines at every write, and counts the results.
#[derive(Parser)]
#[command(name = "rayos-prove", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run every scenario with every power cut, second power cuts and faults
    Crash(Crash),
    /// Run one scenario with the named power cuts and fault
    One(One),
    /// Write docs/reliability.md from the results of runs
    Report(report::Report),
}

#[derive(clap::Args)]
struct Crash {
    /// Only this scenario; may be given more than once
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Seconds after which no second power cuts are begun, for each scenario
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// One of so many first power cuts is followed by second ones
    #[arg(long, default_value_t = 11)]
    double_every: usize,
    /// Run without faults of the disk and of requests
    #[arg(long)]
    no_faults: bool,
    /// Seed of random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of scenarios at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct One {
    /// The scenario
    #[arg(long, value_name = "NAME")]
    scenario: String,
    /// Bytes in a sector
    #[arg(long, default_value_t = 512)]
    sector: u32,
    /// Power cut, as a violation names it; a second one is of the run that follows the first
    #[arg(long, value_name = "CUT")]
    cut: Vec<PowerCut>,
    /// Fault, as a violation names it
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Crash(options) => crash(&options),
        Verb::One(options) => one(&options),
        Verb::Report(options) => options.write(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("rayos-prove: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this program reports to the terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}

impl Crash {
    fn coverage(&self) -> Coverage {
        Coverage {
            first: CutCoverage {
                all_subsets: 8,
                random: 160,
                tears: 28,
                faulty: 4,
                seed: self.seed,
            },
            second: CutCoverage {
                all_subsets: 4,
                random: 4,
                tears: 2,
                faulty: 0,
                seed: self.seed,
            },
            double_every: self.double_every,
            limit: Duration::from_secs(self.seconds),
            faults: !self.no_faults,
        }
    }

    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        if self.scenario.is_empty() {
            return Ok(SCENARIOS.iter().collect());
        }
        self.scenario
            .iter()
            .map(|name| find(name).with_context(|| format!("no scenario {name}")))
            .collect()
    }
}

fn crash(options: &Crash) -> Result<()> {
    let chosen = options.chosen()?;
    let work: Vec<_> = chosen
        .iter()
        .flat_map(|scenario| [512, 4096].map(|sector| (*scenario, sector)))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let coverage = options.coverage();
    say(
        "scenario                       sector    ops  prefix    torn  subset  faulty  unique    double  unique  faults   reads requests  bad    s",
    );
    let share = || -> Result<()> {
        let simulator = Simulator::new()?;
        while let Some((scenario, sector)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let counts = Explorer::new(&simulator, scenario, *sector)?.explore(&coverage)?;
            say(&line(&counts));
            done.lock()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
                .push(counts);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.jobs.max(1))
            .map(|_| scope.spawn(share))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    })?;
    let done = done.into_inner().unwrap_or_default();
    let sum = sum(&done);
    say(&line(&sum));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&done)?)
            .with_context(|| path.display().to_string())?;
    }
    if !sum.violations.is_empty() {
        bail!(
            "{} violations:\n{}",
            sum.violations.len(),
            sum.violations.join("\n")
        );
    }
    Ok(())
}

fn line(counts: &Counts) -> String {
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
        violations,
        seconds,
        ..
    } = counts;
    format!(
        "{scenario:<31}{sector_size:>6}{operations:>7}{prefix:>8}{torn:>8}{subset:>8}{faulty:>8}{unique:>8}{double:>10}{double_unique:>8}{faults:>8}{reads:>8}{requests:>9}{:>5}{seconds:>5}",
        violations.len()
    )
}

fn sum(all: &[Counts]) -> Counts {
    let mut sum = Counts {
        scenario: "all".to_owned(),
        ..Counts::default()
    };
    for counts in all {
        sum.operations += counts.operations;
        sum.prefix += counts.prefix;
        sum.torn += counts.torn;
        sum.subset += counts.subset;
        sum.faulty += counts.faulty;
        sum.unique += counts.unique;
        sum.double += counts.double;
        sum.double_unique += counts.double_unique;
        sum.faults += counts.faults;
        sum.reads += counts.reads;
        sum.requests += counts.requests;
        sum.seconds += counts.seconds;
        let named = counts
            .violations
            .iter()
            .map(|words| format!("{} {}: {words}", counts.scenario, counts.sector_size));
        sum.violations.extend(named);
    }
    sum
}

fn one(options: &One) -> Result<()> {
    let scenario =
        find(&options.scenario).with_context(|| format!("no scenario {}", options.scenario))?;
    let simulator = Simulator::new()?;
    let explorer = Explorer::new(&simulator, scenario, options.sector)?;
    let (run, violation) = explorer.run_case(&Case {
        fault: options.fault,
        cuts: options.cut.clone(),
    })?;
    say(&format!(
        "{} starts, then {:?}",
        run.starts, run.final_state
    ));
    match violation {
        Some(words) => bail!("{words}"),
        None => Ok(()),
    }
}
