//! Mutants of the programs, made by changing what their writes do on the way to the disk: the order
//! that they keep is broken without a line in them. The judge must see each.

use crate::SOME;
use record::Slot;
use std::sync::Arc;
use tests::sim::cut::{Cut, Thoroughness};
use tests::sim::disk::{Meddle, Meddled};
use tests::sim::matrix::Explorer;
use tests::sim::place::{DISK_LEN, Place};
use tests::sim::reduce::{Case, Runs as _, reduce};
use tests::sim::scenario::{Lab, find};

/// Status and what is left of slot B, if these bytes are a boot record.
fn slot_b(at: u64, data: &[u8]) -> Option<(u8, u8)> {
    let copies = [Place::State.start(), Place::State.start() + 1020 * 1024];
    let is_record = copies.contains(&at) && data.starts_with(b"RAYOSREC");
    is_record.then(|| (data[384], data[385]))
}

fn is_in(place: Place, at: u64) -> bool {
    (place.start()..place.end()).contains(&at)
}

/// What the mutant does in which scenario.
fn mutants() -> Vec<(&'static str, &'static str, Meddle)> {
    fn mutant(meddle: impl Fn(u64, &[u8]) -> Meddled + Send + Sync + 'static) -> Meddle {
        Arc::new(meddle)
    }
    let when = |is: bool, meddled| if is { meddled } else { Meddled::Done };
    vec![
        (
            "one chunk of the root image is not written, and nothing is read back",
            "update-a-to-b",
            {
                let chunk = Place::Root(Slot::B).start() + 4096;
                mutant(move |at, data| {
                    let covers = at <= chunk && chunk < at + data.len() as u64;
                    when(covers, Meddled::LeftOut)
                })
            },
        ),
        (
            "the hash tree is not written, and not read back",
            "update-a-to-b",
            {
                // 30,003 bytes are 8 blocks; then the superblock, then the only level.
                let tree = Place::Root(Slot::B).start() + 9 * 4096;
                mutant(move |at, data| {
                    let covers = at <= tree && tree < at + data.len() as u64;
                    when(covers, Meddled::LeftOut)
                })
            },
        ),
        (
            "the release is put on trial before its root image is durable",
            "update-a-to-b",
            { mutant(move |at, _| when(is_in(Place::Root(Slot::B), at), Meddled::Delayed(3))) },
        ),
        (
            "the release is put on trial before its boot image is durable",
            "update-a-to-b",
            { mutant(move |at, _| when(is_in(Place::Boot(Slot::B), at), Meddled::Delayed(3))) },
        ),
        ("a try is not spent", "update-hangs", {
            mutant(move |at, data| {
                let spends = matches!(slot_b(at, data), Some((1, left)) if left < 3);
                when(spends, Meddled::LeftOut)
            })
        }),
        ("a try is spent after the start", "update-hangs", {
            mutant(move |at, data| {
                let spends = matches!(slot_b(at, data), Some((1, left)) if left < 3);
                when(spends, Meddled::Delayed(2))
            })
        }),
        ("a commit is not durable", "update-a-to-b", {
            mutant(move |at, data| when(matches!(slot_b(at, data), Some((2, _))), Meddled::LeftOut))
        }),
        ("activation is told and not done", "update-a-to-b", {
            mutant(move |at, data| when(matches!(slot_b(at, data), Some((1, 3))), Meddled::LeftOut))
        }),
        (
            "the table at the end of the disk is not durable before that at its beginning is written",
            "install-beside",
            {
                let array = DISK_LEN - 512 - 128 * 128;
                mutant(move |at, data| {
                    when(at == array && data.len() == 128 * 128, Meddled::Delayed(3))
                })
            },
        ),
        (
            "the table that is not whole is written last",
            "install-beside-on-backup-table",
            {
                // Until the primary is there, this one is all that there is.
                mutant(move |at, data| {
                    when(at == 1024 && data.len() == 128 * 128, Meddled::Delayed(3))
                })
            },
        ),
        (
            "the old boot sector of the ESP stays while the files are written",
            "install-over-ours",
            {
                let start = Place::Esp.start();
                mutant(move |at, data| {
                    let erases =
                        at == start && data.len() <= 4096 && data.iter().all(|byte| *byte == 0);
                    when(erases, Meddled::LeftOut)
                })
            },
        ),
    ]
}

/// What half a file system looks like depends on which of its blocks a cache wrote down first: many
/// are drawn.
const THOROUGH: Thoroughness = Thoroughness {
    random: 100,
    ..SOME
};

#[test]
fn the_judge_sees_every_mutant() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (words, scenario, meddle) in mutants() {
        let explorer = Explorer::new(&lab, find(scenario).unwrap(), 512)?;
        let Some((mutant, case, violation)) = explorer.mutant(&meddle, &THOROUGH)? else {
            panic!("not seen: {words}")
        };
        // One is seen even where the power does not fail.
        if case != Case::default() {
            assert_eq!(
                mutant.repeat(&case)?.1.as_ref(),
                Some(&violation),
                "{words}: told to repeat{case}"
            );
        }
    }
    Ok(())
}

/// A second cut, bytes of a sector and sectors that do not matter are taken out of what is told.
#[test]
fn what_is_told_of_a_mutant_is_the_smallest_case() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let durable = "the release is put on trial before its root image is durable";
    let (_, scenario, meddle) = mutants()
        .into_iter()
        .find(|(words, ..)| *words == durable)
        .unwrap();
    let explorer = Explorer::new(&lab, find(scenario).unwrap(), 512)?;
    let (mutant, ..) = explorer.mutant(&meddle, &THOROUGH)?.unwrap();
    let random = mutant
        .trace()
        .cuts(&SOME)
        .into_iter()
        .filter(|cut| matches!(cut, Cut::Random(..)));
    let fails = |case: &Case| mutant.fails(case).unwrap();
    let cases = random.map(|cut| Case::of(&[cut, Cut::Head(3, 700)]));
    let (large, words) = cases
        .rev()
        .find_map(|case| Some((case.clone(), fails(&case)?)))
        .unwrap();
    let (small, words) = reduce(&mutant, large.clone(), words)?;
    assert_eq!(small.cuts.len(), 1, "{large} became {small}");
    assert!(
        matches!(small.cuts[0], Cut::Prefix(_)),
        "{large} became {small}"
    );
    assert_eq!(fails(&small), Some(words));
    let Cut::Prefix(at) = small.cuts[0] else {
        panic!()
    };
    assert_eq!(
        fails(&Case::of(&[Cut::Prefix(at - 1)])),
        None,
        "it is the first place"
    );
    Ok(())
}
