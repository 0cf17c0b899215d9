//! Mutants of the programs: a filter delays or drops some of their writes on the way to the disk,
//! without a change of their source. The assertions must detect each.

use crate::SOME;
use record::Slot;
use std::sync::Arc;
use tests::sim::explore::Explorer;
use tests::sim::explore::minimize::{Case, Replay as _, minimize};
use tests::sim::hardware::disk::{FilteredWrite, WriteFilter};
use tests::sim::hardware::layout::{DISK_LEN, Region};
use tests::sim::power_cut::{CutCoverage, PowerCut};
use tests::sim::scenario::{Simulator, find};

/// Status and remaining tries of slot B, if these bytes are a boot record.
fn slot_b(at: u64, data: &[u8]) -> Option<(u8, u8)> {
    let copies = [Region::State.start(), Region::State.start() + 1020 * 1024];
    let is_record = copies.contains(&at) && data.starts_with(b"RAYOSREC");
    is_record.then(|| (data[384], data[385]))
}

/// Whether a byte of the disk is in a copy of the trust links.
fn is_link(at: u64) -> bool {
    let copies = [16 * 1024, 960 * 1024].map(|offset| Region::State.start() + offset);
    copies
        .iter()
        .any(|start| (*start..start + 48 * 1024).contains(&at))
}

fn is_in(place: Region, at: u64) -> bool {
    (place.start()..place.end()).contains(&at)
}

/// Each mutant: its description, the scenario that must detect it, and its filter.
fn mutants() -> Vec<(&'static str, &'static str, WriteFilter)> {
    fn mutant(
        write_filter: impl Fn(u64, &[u8]) -> FilteredWrite + Send + Sync + 'static,
    ) -> WriteFilter {
        Arc::new(write_filter)
    }
    let when = |is: bool, filtered| if is { filtered } else { FilteredWrite::Done };
    vec![
        (
            "one chunk of the root image is not written, and nothing is read back",
            "update-a-to-b",
            {
                let chunk = Region::Root(Slot::B).start() + 4096;
                mutant(move |at, data| {
                    let covers = at <= chunk && chunk < at + data.len() as u64;
                    when(covers, FilteredWrite::Dropped)
                })
            },
        ),
        (
            "the hash tree is not written, and not read back",
            "update-a-to-b",
            {
                // 30,003 bytes are 8 blocks; then the superblock, then the only level.
                let tree = Region::Root(Slot::B).start() + 9 * 4096;
                mutant(move |at, data| {
                    let covers = at <= tree && tree < at + data.len() as u64;
                    when(covers, FilteredWrite::Dropped)
                })
            },
        ),
        (
            "the release is put on trial before its root image is durable",
            "update-a-to-b",
            {
                mutant(move |at, _| {
                    when(is_in(Region::Root(Slot::B), at), FilteredWrite::Delayed(3))
                })
            },
        ),
        (
            "the release is put on trial before its boot image is durable",
            "update-a-to-b",
            {
                mutant(move |at, _| {
                    when(is_in(Region::Boot(Slot::B), at), FilteredWrite::Delayed(3))
                })
            },
        ),
        ("the trust links are not written", "rotate-keys", {
            mutant(move |at, _| when(is_link(at), FilteredWrite::Dropped))
        }),
        ("a try is not spent", "update-hangs", {
            mutant(move |at, data| {
                let spends = matches!(slot_b(at, data), Some((1, left)) if left < 3);
                when(spends, FilteredWrite::Dropped)
            })
        }),
        ("a try is spent after the start", "update-hangs", {
            mutant(move |at, data| {
                let spends = matches!(slot_b(at, data), Some((1, left)) if left < 3);
                when(spends, FilteredWrite::Delayed(2))
            })
        }),
        ("a commit is not durable", "update-a-to-b", {
            mutant(move |at, data| {
                when(
                    matches!(slot_b(at, data), Some((2, _))),
                    FilteredWrite::Dropped,
                )
            })
        }),
        ("an activation is reported but not done", "update-a-to-b", {
            mutant(move |at, data| {
                when(
                    matches!(slot_b(at, data), Some((1, 3))),
                    FilteredWrite::Dropped,
                )
            })
        }),
        (
            "the backup partition table is not durable before the primary is written",
            "install-beside",
            {
                let array = DISK_LEN - 512 - 128 * 128;
                mutant(move |at, data| {
                    when(
                        at == array && data.len() == 128 * 128,
                        FilteredWrite::Delayed(3),
                    )
                })
            },
        ),
        (
            "the damaged partition table is written last",
            "install-beside-on-backup-table",
            {
                // Until the primary is complete, the backup is the only table.
                mutant(move |at, data| {
                    when(
                        at == 1024 && data.len() == 128 * 128,
                        FilteredWrite::Delayed(3),
                    )
                })
            },
        ),
        (
            "the old boot sector of the ESP remains while the files are written",
            "install-over-ours",
            {
                let start = Region::Esp.start();
                mutant(move |at, data| {
                    let erases =
                        at == start && data.len() <= 4096 && data.iter().all(|byte| *byte == 0);
                    when(erases, FilteredWrite::Dropped)
                })
            },
        ),
    ]
}

/// Many random subsets, because an incomplete file system depends on which of its blocks are kept.
const THOROUGH: CutCoverage = CutCoverage {
    random: 100,
    ..SOME
};

#[test]
fn every_mutant_is_detected() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    for (words, scenario, write_filter) in mutants() {
        let explorer = Explorer::new(&simulator, find(scenario).unwrap(), 512)?;
        let Some((mutant, case, violation)) = explorer.find_mutant(&write_filter, &THOROUGH)?
        else {
            panic!("not detected: {words}")
        };
        // One is detected without a power cut.
        if case != Case::default() {
            assert_eq!(
                mutant.run_case(&case)?.1.as_ref(),
                Some(&violation),
                "{words}: repeat{case}"
            );
        }
    }
    Ok(())
}

/// Second power cuts and irrelevant sectors are removed from the reported case.
#[test]
fn the_reported_case_of_a_mutant_is_minimal() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    let durable = "the release is put on trial before its root image is durable";
    let (_, scenario, write_filter) = mutants()
        .into_iter()
        .find(|(words, ..)| *words == durable)
        .unwrap();
    let explorer = Explorer::new(&simulator, find(scenario).unwrap(), 512)?;
    let (mutant, ..) = explorer.find_mutant(&write_filter, &THOROUGH)?.unwrap();
    let random = mutant
        .trace()
        .cuts(&SOME)
        .into_iter()
        .filter(|cut| matches!(cut, PowerCut::Random(..)));
    let fails = |case: &Case| mutant.fails(case).unwrap();
    let cases = random.map(|cut| Case::of(&[cut, PowerCut::Head(3, 700)]));
    let (large, words) = cases
        .rev()
        .find_map(|case| Some((case.clone(), fails(&case)?)))
        .unwrap();
    let (small, words) = minimize(&mutant, large.clone(), words)?;
    assert_eq!(small.cuts.len(), 1, "{large} became {small}");
    assert!(
        matches!(small.cuts[0], PowerCut::Prefix(_)),
        "{large} became {small}"
    );
    assert_eq!(fails(&small), Some(words));
    let PowerCut::Prefix(at) = small.cuts[0] else {
        panic!()
    };
    assert_eq!(
        fails(&Case::of(&[PowerCut::Prefix(at - 1)])),
        None,
        "an earlier operation fails, too"
    );
    Ok(())
}
