//! One real installation and one real update, whose writes QEMU has recorded: the disk is checked
//! after a power cut between any two writes, inside of each, and with any part of the unflushed
//! writes. Some of these disks are started.
//!
//! The environment sets the number of disks that are started (`RAYOS_BOOTED`,
//! `scripts/prove recorded N`), the seed that selects them (`RAYOS_SEED`), and the file for the
//! results (`RAYOS_FIGURES`).

use crate::disk_oracle::{DiskOracle, KEPT_BY_B, NextBoot, content};
use crate::installed::{Installed, copy, media, setting};
use crate::scenario::scenario;
use anyhow::{Context as _, Result, ensure};
use fixtures::dice::Dice;
use qemu::{Disk, Machine};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::recording::Recording;
use tests::sim::hardware::history::History;
use tests::sim::hardware::image::Image;
use tests::sim::hardware::operation::Operation;
use tests::sim::hardware::state::MachineState;
use tests::sim::power_cut::trace::Trace;
use tests::sim::power_cut::{CutCoverage, PowerCut};

const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Maximum duration of an installation and a start on a slow host.
const PATIENCE: Duration = Duration::from_secs(300);
/// Number of disks of each recording that are started unless `RAYOS_BOOTED` sets it.
const BOOTED: u64 = 2;

/// A recording and its power cuts.
struct Replay {
    trace: Trace,
    cuts: Vec<PowerCut>,
    sector: u32,
    seed: u64,
}

const fn how(seed: u64) -> CutCoverage {
    CutCoverage {
        all_subsets: 6,
        random: 24,
        tears: 4,
        faulty: 0,
        seed,
    }
}

impl Replay {
    fn new(base: Image, recording: &Path) -> Result<Self> {
        let recording = Recording::read(recording, base.len())?;
        let seed = setting("RAYOS_SEED", 1)?;
        let base = MachineState {
            image: base,
            vars: Arc::default(),
            history: History::default(),
        };
        let sector = recording.sector as u32;
        let trace = Trace::new(base, recording.ops, sector);
        let cuts = trace.cuts(&how(seed));
        Ok(Self {
            trace,
            cuts,
            sector,
            seed,
        })
    }

    /// The same recording with one flush, at the end: a mutant that the oracle must detect. *Pure.*
    fn without_flushes(&self) -> Self {
        let writes = (0..self.trace.len()).filter_map(|at| self.trace.operation(at));
        let mut ops: Vec<Operation> = writes
            .filter(|op| matches!(op, Operation::Write { .. }))
            .cloned()
            .collect();
        ops.push(Operation::Flush);
        let trace = Trace::new(self.trace.after(0).clone(), ops, self.sector);
        let cuts = trace.cuts(&how(self.seed));
        Self {
            trace,
            cuts,
            ..*self
        }
    }

    /// Checks the disk of every power cut: it must start one of `allowed`, and `kept` must hold.
    /// Returns the number of disks for each next boot.
    fn check(
        &self,
        oracle: &mut DiskOracle,
        allowed: &[NextBoot],
        kept: impl Fn(&Image) -> Result<()>,
    ) -> Result<BTreeMap<NextBoot, usize>> {
        let (mut seen, mut starts) = (HashSet::new(), BTreeMap::new());
        for cut in &self.cuts {
            let image = self.trace.state(*cut).image;
            if !seen.insert(image.hash()) {
                continue;
            }
            let found = oracle
                .check(&image, allowed)
                .and_then(|found| kept(&image).map(|()| found));
            *starts
                .entry(found.with_context(|| format!("cut {cut}"))?)
                .or_default() += 1;
        }
        ensure!(
            allowed.iter().all(|all| starts.contains_key(all)),
            "the recording does not show {allowed:?}"
        );
        Ok(starts)
    }

    /// Returns `count` cuts, chosen at random. *Pure.*
    fn sample(&self, count: u64) -> Vec<PowerCut> {
        let mut dice = Dice::new(self.seed);
        (0..count)
            .map(|_| self.cuts[dice.below(self.cuts.len() as u64) as usize])
            .collect()
    }
}

/// Writes the results of a recording.
fn report(
    what: &str,
    replay: &Replay,
    starts: &BTreeMap<NextBoot, usize>,
    booted: u64,
) -> Result<()> {
    let judged: usize = starts.values().sum();
    let line = format!(
        "{{\"what\": \"{what}\", \"commit\": \"{}\", \"operations\": {}, \"cuts\": {}, \"judged\": {judged}, \"booted\": {booted}}}\n",
        std::env::var("RAYOS_COMMIT").unwrap_or_default(),
        replay.trace.len(),
        replay.cuts.len(),
    );
    if let Some(path) = std::env::var_os("RAYOS_FIGURES") {
        let path = Path::new(&path).with_extension(format!("{what}.json"));
        fs::write(path, line)?;
    }
    Ok(())
}

#[test]
fn an_installation_survives_every_power_cut() -> Result<()> {
    scenario("recorded-install", |scenario| {
        let installed = Installed::ready()?;
        let blank = Image::new(fs::metadata(installed.file("installed.img"))?.len());
        let replay = Replay::new(blank, &installed.file("install.writes"))?;
        let whole = replay.trace.after(replay.trace.len());
        ensure!(
            whole.image == Image::of_file(&installed.file("installed.img"))?,
            "the recording ends with another disk than the installation"
        );
        let allowed = [NextBoot::Nothing, NextBoot::Release("1.0.0")];
        let mut oracle = DiskOracle::new(&scenario.sample)?;
        let starts = replay.check(&mut oracle, &allowed, |_| Ok(()))?;
        let count = setting("RAYOS_BOOTED", BOOTED)?;
        let [stick, _] = media()?;
        for cut in replay.sample(count) {
            replay.trace.state(cut).image.to_file(&scenario.image())?;
            // The machine may not have a variable store yet.
            drop(fs::remove_file(scenario.file("vars.fd")));
            let machine = Machine::new(&scenario.scratch)
                .disk(scenario.disk())
                .disk(Disk::usb(&stick).read_only());
            let mut again = scenario.start(machine, "again")?;
            again.step(format!(
                "cut {cut}: the stick installs, or starts the installed release"
            ));
            again.expect_within(UP_OLD, PATIENCE)?;
            again.kill()?;
        }
        report("install", &replay, &starts, count)
    })
}

/// Checks the recording of an update from the committed 1.0.0 to the committed 1.1.0.
pub(crate) fn check_update(installed: &Installed, recording: &Path) -> Result<()> {
    scenario("recorded-update", |scenario| {
        let base = Image::of_file(&installed.file("disk.img"))?;
        let kept = KEPT_BY_B.map(|kind| content(&base, kind));
        let replay = Replay::new(base, recording)?;
        let allowed = [NextBoot::Release("1.0.0"), NextBoot::Release("1.1.0")];
        let untouched = |image: &Image| {
            for (kind, kept) in KEPT_BY_B.into_iter().zip(&kept) {
                let same = kept
                    .as_ref()
                    .is_ok_and(|kept| content(image, kind).is_ok_and(|now| now == *kept));
                ensure!(same, "a partition that is not updated has changed");
            }
            Ok(())
        };
        let mut oracle = DiskOracle::new(&scenario.sample)?;
        let starts = replay.check(&mut oracle, &allowed, untouched)?;
        ensure!(
            replay
                .without_flushes()
                .check(&mut oracle, &allowed, untouched)
                .is_err(),
            "the oracle does not detect an update that never flushes"
        );
        let count = setting("RAYOS_BOOTED", BOOTED)?;
        for cut in replay.sample(count) {
            replay.trace.state(cut).image.to_file(&scenario.image())?;
            copy(&installed.file("vars.fd"), &scenario.file("vars.fd"))?;
            let mut again = scenario.start(scenario.machine(), "again")?;
            again.step(format!("cut {cut}: one of the releases starts"));
            let (which, _) = again.expect_any(&[UP_OLD, UP_NEW], PATIENCE)?;
            let (slot, version) = [("a", "1.0.0"), ("b", "1.1.0")][which];
            again.expect(&format!(
                "RAYOS_BOOTCTL:COMMITTED slot={slot} version={version}"
            ))?;
            again.kill()?;
        }
        report("update", &replay, &starts, count)
    })
}
