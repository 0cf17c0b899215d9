//! Power cuts, simulated: that the judge sees what it should, and that no write of the programs
//! goes uncut. The whole matrix is run by `scripts/prove crash`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod mutants;
mod sites;

use tests::sim::cut::Thoroughness;
use tests::sim::matrix::{Effort, Explorer};
use tests::sim::network::{NetFault, NetFaultKind};
use tests::sim::reduce::Case;
use tests::sim::scenario::{Lab, SCENARIOS, find};
use tests::sim::trouble::Mishap;

/// A few cuts of each kind.
const SOME: Thoroughness = Thoroughness {
    all_subsets: 3,
    random: 4,
    tears: 1,
    faulty: 1,
    seed: 5,
};

#[test]
fn every_scenario_ends_as_it_should_without_a_cut() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for scenario in &SCENARIOS {
        for sector_size in [512, 4096] {
            let explorer = Explorer::new(&lab, scenario, sector_size)?;
            assert!(
                explorer.trace().len() >= 8,
                "{} does something",
                scenario.name
            );
        }
    }
    Ok(())
}

#[test]
fn one_run_is_like_the_other() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for name in ["install-over-foreign", "update-hangs", "update-interrupted"] {
        let scenario = find(name).unwrap();
        let runs = [
            Explorer::new(&lab, scenario, 512)?,
            Explorer::new(&lab, scenario, 512)?,
        ];
        let [first, second] = runs.each_ref().map(Explorer::trace);
        assert_eq!(first.len(), second.len(), "{name}");
        for at in 0..=first.len() {
            assert_eq!(
                first.after(at).key(),
                second.after(at).key(),
                "{name}, operation {at}"
            );
        }
    }
    Ok(())
}

#[test]
fn an_update_survives_some_cuts_of_each_kind_and_some_of_what_follows() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let effort = Effort {
        first: SOME,
        second: Thoroughness { faulty: 0, ..SOME },
        double_every: 40,
        limit: std::time::Duration::MAX,
        faults: false,
    };
    let counts = Explorer::new(&lab, find("update-b-to-a").unwrap(), 512)?.explore(&effort)?;
    assert_eq!(counts.violations, [""; 0]);
    assert!(
        counts.unique > 300 && counts.double_unique > 100,
        "{counts:?}"
    );
    Ok(())
}

/// The partitions, entries and boot entry of the other system are looked at in each start; and
/// whether something starts without the stick.
#[test]
fn an_installation_beside_another_system_survives_some_cuts_of_each_kind() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let second = Thoroughness { faulty: 0, ..SOME };
    let limit = std::time::Duration::MAX;
    let effort = Effort {
        first: SOME,
        second,
        double_every: 100,
        limit,
        faults: false,
    };
    for (name, sector_size) in [
        ("install-beside", 512),
        ("install-beside-again", 4096),
        ("install-beside-on-backup-table", 512),
    ] {
        let counts = Explorer::new(&lab, find(name).unwrap(), sector_size)?.explore(&effort)?;
        assert_eq!(counts.violations, [""; 0], "{name} {sector_size}");
        assert!(
            counts.unique > 300 && counts.double_unique > 50,
            "{counts:?}"
        );
    }
    Ok(())
}

/// Before the release is activated the machine without its stick starts the other system, then
/// ours.
#[test]
fn until_ours_is_activated_the_other_system_starts() -> anyhow::Result<()> {
    use tests::sim::cut::Cut;
    use tests::sim::firmware::{Demand, Firmware, Started};
    use tests::sim::journal::Journal;
    use tests::sim::{disk::SimDisk, vars::SimVars};
    let lab = Lab::new()?;
    for sector_size in [512, 4096] {
        let explorer = Explorer::new(&lab, find("install-beside").unwrap(), sector_size)?;
        let trace = explorer.trace();
        let mut ups = Vec::new();
        for at in 0..=trace.len() {
            let state = trace.state(Cut::Prefix(at));
            let journal = Journal::after(state.witness);
            let disk = SimDisk::new(state.image.clone(), sector_size, journal.clone());
            let vars = SimVars::new(&state.vars, journal.clone())?;
            let mut firmware =
                Firmware::new(&lab.releases, &disk, &vars, &journal, Demand::Everything);
            match firmware.start_machine() {
                Started::Other => ups.push(false),
                Started::Up { .. } => ups.push(true),
                other => panic!("after {at} operations: {other:?}"),
            }
            assert_eq!(firmware.violation, None, "after {at} operations");
        }
        let others = ups.iter().take_while(|ours| !**ours).count();
        assert!(
            others > 30 && ups[others..].iter().all(|ours| *ours),
            "{others} of {}",
            ups.len()
        );
    }
    Ok(())
}

#[test]
fn the_whole_bundle_is_asked_for_only_where_the_base_is_damaged() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    for (name, damaged) in [
        ("update-by-delta", false),
        ("update-by-delta-base-unreadable", true),
        ("update-by-delta-base-lies", true),
    ] {
        let scenario = find(name).unwrap();
        let mut world = lab.run(scenario, &lab.start(scenario, 512)?, 512)?;
        world.live();
        let (delta, whole) = world.requests();
        assert!(
            delta > 0 && (whole > 0) == damaged,
            "{name}: {delta} and {whole} requests"
        );
    }
    let delta = lab.releases.get("1.6.0");
    let whole = delta.whole.as_ref().unwrap();
    assert!(
        delta.bundle.len() * 3 < whole.len(),
        "{} of {}",
        delta.bundle.len(),
        whole.len()
    );
    Ok(())
}

#[test]
fn what_a_bad_network_does_is_overcome_or_told_and_the_same_command_goes_on() -> anyhow::Result<()>
{
    let lab = Lab::new()?;
    let explorer = Explorer::new(&lab, find("update-a-to-b").unwrap(), 512)?;
    for kind in NetFaultKind::ALL {
        let mut most = 0;
        for at in 0..4 {
            let case = Case {
                mishap: Some(Mishap::Network(NetFault { at, kind })),
                cuts: Vec::new(),
            };
            let (life, violation) = explorer.repeat(&case)?;
            assert_eq!(violation, None, "{case}");
            most = most.max(life.starts);
        }
        // What passes costs no further start; what does not is told, and the update is started
        // again.
        assert_eq!(most, if kind.is_passing() { 2 } else { 3 }, "{kind:?}");
    }
    Ok(())
}

#[test]
fn a_machine_without_a_whole_slot_ends_in_recovery() -> anyhow::Result<()> {
    use record::{Choice, Slot};
    use tests::sim::firmware::Demand;
    use tests::sim::place::Place;
    let lab = Lab::new()?;
    let scenario = find("rollback").unwrap();
    let mut state = lab.start(scenario, 512)?;
    for slot in Slot::ALL {
        state
            .image
            .write(Place::Boot(slot).start() + 9000, &[0xff; 8]);
    }
    let life = lab.live_on(scenario, &state, 512, Demand::Everything)?;
    assert_eq!(
        life.end.running,
        Some((Choice::Recovery, "1.0.0")),
        "{life:?}"
    );
    Ok(())
}

/// What a person or a commit decided stands in both copies of the record: the loss of either
/// changes nothing, even where the power fails in the start after it.
#[test]
fn a_decision_outlives_the_loss_of_either_copy_of_the_record() -> anyhow::Result<()> {
    use tests::sim::firmware::Demand;
    use tests::sim::place::Place;
    use tests::sim::trace::Trace;
    let lab = Lab::new()?;
    for name in [
        "install-blank",
        "update-a-to-b",
        "update-hangs-over-good",
        "rollback",
        "mark-bad",
    ] {
        let scenario = find(name).unwrap();
        for (sector_size, copy) in [(512, 0), (512, 1), (4096, 0), (4096, 1)] {
            let explorer = Explorer::new(&lab, scenario, sector_size)?;
            let expected = explorer.repeat(&Case::default())?.0.end;
            let mut lost = explorer.trace().after(usize::MAX).clone();
            lost.image
                .write(Place::State.start() + copy * 1020 * 1024 + 100, &[0xff; 64]);
            let mut world = lab.run(scenario, &lost, sector_size)?;
            assert_eq!(
                world.live().end,
                expected,
                "{name} {sector_size}: copy {copy} is lost"
            );
            let trace = Trace::new(lost, world.journal().take(), sector_size);
            for cut in trace.cuts(&Thoroughness { faulty: 0, ..SOME }) {
                let state = trace.state(cut);
                let life = lab.live_on(scenario, &state, sector_size, Demand::Everything)?;
                assert_eq!(
                    life.violation, None,
                    "{name} {sector_size}: copy {copy} is lost, then {cut}"
                );
                assert_eq!(
                    life.end, expected,
                    "{name} {sector_size}: copy {copy} is lost, then {cut}"
                );
            }
        }
    }
    Ok(())
}
