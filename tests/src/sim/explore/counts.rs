//! How much of a scenario is explored, and the results.

use crate::sim::power_cut::CutCoverage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much of a scenario is explored.
#[derive(Clone, Copy, Debug)]
pub struct Coverage {
    /// First power cuts.
    pub first: CutCoverage,
    /// Second power cuts.
    pub second: CutCoverage,
    /// One of so many first power cuts is followed by second ones; 0 for none.
    pub double_every: usize,
    /// Time after which no second power cuts are begun.
    pub limit: Duration,
    /// True if each write, read and request fails in a run of its own.
    pub faults: bool,
}

/// Results of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The scenario.
    pub scenario: String,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Operations of the run without a power cut.
    pub operations: usize,
    /// Power cuts between two operations.
    pub prefix: usize,
    /// Power cuts in the middle of a write.
    pub torn: usize,
    /// Power cuts with a subset of the unflushed writes.
    pub subset: usize,
    /// Lost flushes and flipped bits.
    pub faulty: usize,
    /// Different states among all of those. The machine ran from each.
    pub unique: usize,
    /// Second power cuts.
    pub double: usize,
    /// States after a second power cut that differ in what a decision reads. The machine ran from
    /// each.
    pub double_unique: usize,
    /// Runs with a fault of a write, a flush or a change of a variable.
    pub faults: usize,
    /// Runs with a fault of a read.
    pub reads: usize,
    /// Runs with a fault of a request, and power cuts of such runs.
    pub requests: usize,
    /// Maximum number of starts until rest.
    pub max_starts: usize,
    /// Violations, each with the command that repeats it.
    pub violations: Vec<String>,
    /// Duration in seconds.
    pub seconds: u64,
}
