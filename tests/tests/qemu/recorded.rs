//! One real installation and one real update, recorded by QEMU write by write: cut off between any
//! two writes, inside of each, and with any part of what was not flushed, the disk is judged; some
//! of these disks are really started.
//!
//! `RAYOS_BOOTED` sets how many of each are started (`scripts/prove recorded N`), `RAYOS_SEED`
//! which, and `RAYOS_FIGURES` where the figures go.

use crate::installed::{Installed, LOST, copy, machine, media, setting};
use crate::judge::{Judge, KEPT_BY_B, Starts, content};
use anyhow::{Context as _, Result, ensure};
use fixtures::dice::Dice;
use qemu::{Disk, Machine, Scratch};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::recorded::Recording;
use tests::sim::cut::{Cut, Thoroughness};
use tests::sim::image::Image;
use tests::sim::journal::Op;
use tests::sim::state::{State, Witness};
use tests::sim::trace::Trace;

const UP_OLD: &str = "RAYOS:UP version=1.0.0 slot=a";
const UP_NEW: &str = "RAYOS:UP version=1.1.0 slot=b";
/// Longest that a machine needs for an installation and a start, on a slow host.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many disks of each are started where nothing else is said.
const BOOTED: u64 = 2;

/// A recording, as the states in which it can be cut off.
struct Replay {
    trace: Trace,
    cuts: Vec<Cut>,
    sector: u32,
    seed: u64,
}

const fn how(seed: u64) -> Thoroughness {
    Thoroughness {
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
        let base = State {
            image: base,
            vars: Arc::default(),
            witness: Witness::default(),
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

    /// The same recording, in which nothing is durable before the end: a mutant.
    fn without_flushes(&self) -> Self {
        let writes = (0..self.trace.len()).filter_map(|at| self.trace.operation(at));
        let mut ops: Vec<Op> = writes
            .filter(|op| matches!(op, Op::Write { .. }))
            .cloned()
            .collect();
        ops.push(Op::Flush);
        let trace = Trace::new(self.trace.after(0).clone(), ops, self.sector);
        let cuts = trace.cuts(&how(self.seed));
        Self {
            trace,
            cuts,
            ..*self
        }
    }

    /// Judges the disk of every cut: one of `allowed` must start, and `kept` must hold. Says how
    /// many cuts there are and what starts.
    fn judge(
        &self,
        judge: &mut Judge,
        allowed: &[Starts],
        kept: impl Fn(&Image) -> Result<()>,
    ) -> Result<BTreeMap<Starts, usize>> {
        let (mut seen, mut starts) = (HashSet::new(), BTreeMap::new());
        for cut in &self.cuts {
            let image = self.trace.state(*cut).image;
            if !seen.insert(image.hash()) {
                continue;
            }
            let found = judge
                .verdict(&image, allowed)
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

    /// Some of the cuts, drawn by lot.
    fn drawn(&self, count: u64) -> Vec<Cut> {
        let mut dice = Dice::new(self.seed);
        (0..count)
            .map(|_| self.cuts[dice.below(self.cuts.len() as u64) as usize])
            .collect()
    }
}

/// Adds what was found to the figures.
fn tell(what: &str, replay: &Replay, starts: &BTreeMap<Starts, usize>, booted: u64) -> Result<()> {
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
fn a_real_installation_is_cut_everywhere() -> Result<()> {
    let installed = Installed::ready()?;
    let scratch = Scratch::new("recorded-install")?;
    let result = || -> Result<()> {
        let blank = Image::new(fs::metadata(installed.file("installed.img"))?.len());
        let replay = Replay::new(blank, &installed.file("install.writes"))?;
        let whole = replay.trace.after(replay.trace.len());
        ensure!(
            whole.image == Image::of_file(&installed.file("installed.img"))?,
            "the recording ends with another disk than the installation"
        );
        let allowed = [Starts::Nothing, Starts::Release("1.0.0")];
        let starts = replay.judge(&mut Judge::new(&installed.sample)?, &allowed, |_| Ok(()))?;
        let count = setting("RAYOS_BOOTED", BOOTED)?;
        let [stick, _] = media()?;
        for cut in replay.drawn(count) {
            let disk = scratch.file("disk.img");
            replay.trace.state(cut).image.to_file(&disk)?;
            drop(fs::remove_file(scratch.file("vars.fd")));
            let stick = Disk::usb(&stick).read_only();
            let mut again = Machine::new(&scratch)
                .disk(Disk::virtio(&disk))
                .disk(stick)
                .start("again")?;
            again.fatal(&LOST).step(format!(
                "cut {cut}: the stick installs, or what is installed starts"
            ));
            again.expect_within(UP_OLD, PATIENCE)?;
            again.kill()?;
        }
        tell("install", &replay, &starts, count)
    }();
    scratch.finish(result)
}

/// The recording of an update: from the committed 1.0.0 in `base` to the committed 1.1.0.
pub(crate) fn judge_update(installed: &Installed, recording: &Path) -> Result<()> {
    let scratch = Scratch::new("recorded-update")?;
    let result = || -> Result<()> {
        let base = Image::of_file(&installed.file("disk.img"))?;
        let kept = KEPT_BY_B.map(|kind| content(&base, kind));
        let replay = Replay::new(base, recording)?;
        let allowed = [Starts::Release("1.0.0"), Starts::Release("1.1.0")];
        let untouched = |image: &Image| {
            for (kind, kept) in KEPT_BY_B.into_iter().zip(&kept) {
                let same = kept
                    .as_ref()
                    .is_ok_and(|kept| content(image, kind).is_ok_and(|now| now == *kept));
                ensure!(same, "what is not updated has changed");
            }
            Ok(())
        };
        let mut judge = Judge::new(&installed.sample)?;
        let starts = replay.judge(&mut judge, &allowed, untouched)?;
        ensure!(
            replay
                .without_flushes()
                .judge(&mut judge, &allowed, untouched)
                .is_err(),
            "the judge does not notice that an update never flushes"
        );
        let count = setting("RAYOS_BOOTED", BOOTED)?;
        for cut in replay.drawn(count) {
            replay
                .trace
                .state(cut)
                .image
                .to_file(&scratch.file("disk.img"))?;
            copy(&installed.file("vars.fd"), &scratch.file("vars.fd"))?;
            let mut again = machine(&scratch).start("again")?;
            again
                .fatal(&LOST)
                .step(format!("cut {cut}: one of the releases starts"));
            let (which, _) = again.expect_any(&[UP_OLD, UP_NEW], PATIENCE)?;
            let (slot, version) = [("a", "1.0.0"), ("b", "1.1.0")][which];
            again.expect(&format!(
                "RAYOS_BOOTCTL:COMMITTED slot={slot} version={version}"
            ))?;
            again.kill()?;
        }
        tell("update", &replay, &starts, count)
    }();
    scratch.finish(result)
}
