//! Simulated power cuts: a selection in each scenario, mutants that the assertions must detect, and
//! the writes of the programs that the scenarios must reach. `scripts/prove crash` runs all power
//! cuts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod mutants;
mod write_sites;

use tests::sim::explore::Explorer;
use tests::sim::explore::counts::Coverage;
use tests::sim::explore::minimize::Case;
use tests::sim::fault::Fault;
use tests::sim::hardware::network::{RequestFault, RequestFaultKind};
use tests::sim::power_cut::CutCoverage;
use tests::sim::scenario::{OPEN, SCENARIOS, Simulator, find};

/// A few power cuts of each kind.
const SOME: CutCoverage = CutCoverage {
    all_subsets: 3,
    random: 4,
    tears: 1,
    faulty: 1,
    seed: 5,
};

#[test]
fn every_scenario_ends_as_expected_without_a_power_cut() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    for scenario in SCENARIOS.iter().chain(&OPEN) {
        for sector_size in [512, 4096] {
            let explorer = Explorer::new(&simulator, scenario, sector_size)?;
            assert!(
                explorer.trace().len() >= 8,
                "{} has too few operations",
                scenario.name
            );
        }
    }
    Ok(())
}

#[test]
fn runs_are_repeatable() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    for name in ["install-over-foreign", "update-hangs", "update-interrupted"] {
        let scenario = find(name).unwrap();
        let runs = [
            Explorer::new(&simulator, scenario, 512)?,
            Explorer::new(&simulator, scenario, 512)?,
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
fn an_update_survives_power_cuts_of_each_kind_and_second_ones() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    let coverage = Coverage {
        first: SOME,
        second: CutCoverage { faulty: 0, ..SOME },
        double_every: 40,
        limit: std::time::Duration::MAX,
        faults: false,
    };
    let counts =
        Explorer::new(&simulator, find("update-b-to-a").unwrap(), 512)?.explore(&coverage)?;
    assert_eq!(counts.violations, [""; 0]);
    assert!(
        counts.unique > 300 && counts.double_unique > 100,
        "{counts:?}"
    );
    Ok(())
}

/// Each start checks the partitions, partition entries and boot entry of the other system, and a
/// start without the stick.
#[test]
fn an_installation_beside_another_system_survives_power_cuts_of_each_kind() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    let second = CutCoverage { faulty: 0, ..SOME };
    let limit = std::time::Duration::MAX;
    let coverage = Coverage {
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
        let counts =
            Explorer::new(&simulator, find(name).unwrap(), sector_size)?.explore(&coverage)?;
        assert_eq!(counts.violations, [""; 0], "{name} {sector_size}");
        assert!(
            counts.unique > 300 && counts.double_unique > 50,
            "{counts:?}"
        );
    }
    Ok(())
}

/// Without the stick, the machine starts the other system until the release is activated, then
/// ours.
#[test]
fn the_other_system_starts_until_ours_is_activated() -> anyhow::Result<()> {
    use tests::sim::hardware::disk::SimDisk;
    use tests::sim::hardware::operation::OperationLog;
    use tests::sim::hardware::variables::SimVariables;
    use tests::sim::machine::firmware::{Assertions, Firmware, StartResult};
    use tests::sim::power_cut::PowerCut;
    let simulator = Simulator::new()?;
    for sector_size in [512, 4096] {
        let explorer = Explorer::new(&simulator, find("install-beside").unwrap(), sector_size)?;
        let trace = explorer.trace();
        let mut starts_ours = Vec::new();
        for at in 0..=trace.len() {
            let state = trace.state(PowerCut::Prefix(at));
            let operation_log = OperationLog::after(state.history);
            let disk = SimDisk::new(state.image.clone(), sector_size, operation_log.clone());
            let vars = SimVariables::new(&state.vars, operation_log.clone())?;
            let mut firmware = Firmware::new(
                &simulator.releases,
                &disk,
                &vars,
                &operation_log,
                Assertions::All,
            );
            match firmware.start_machine() {
                StartResult::Other => starts_ours.push(false),
                StartResult::Up { .. } => starts_ours.push(true),
                other => panic!("after {at} operations: {other:?}"),
            }
            assert_eq!(firmware.violation, None, "after {at} operations");
        }
        let others = starts_ours.iter().take_while(|ours| !**ours).count();
        assert!(
            others > 30 && starts_ours[others..].iter().all(|ours| *ours),
            "{others} of {}",
            starts_ours.len()
        );
    }
    Ok(())
}

#[test]
fn the_full_bundle_is_requested_only_if_the_base_is_damaged() -> anyhow::Result<()> {
    let simulator = Simulator::new()?;
    for (name, damaged) in [
        ("update-by-delta", false),
        ("update-by-delta-base-unreadable", true),
        ("update-by-delta-base-corrupt", true),
    ] {
        let scenario = find(name).unwrap();
        let mut sim =
            simulator.machine_of(scenario, &simulator.initial_state(scenario, 512)?, 512)?;
        sim.run_until_rest();
        let (delta, full) = (sim.requests(), sim.full_bundle_requests());
        assert!(
            delta > 0 && (full > 0) == damaged,
            "{name}: {delta} and {full} requests"
        );
    }
    let delta = simulator.releases.get("1.6.0");
    let full_bundle = delta.full_bundle.as_ref().unwrap();
    assert!(
        delta.bundle.len() * 3 < full_bundle.len(),
        "{} of {}",
        delta.bundle.len(),
        full_bundle.len()
    );
    Ok(())
}

#[test]
fn faults_of_requests_are_retried_or_reported_and_the_same_command_continues() -> anyhow::Result<()>
{
    let simulator = Simulator::new()?;
    let explorer = Explorer::new(&simulator, find("update-a-to-b").unwrap(), 512)?;
    for kind in RequestFaultKind::ALL {
        let mut most = 0;
        for at in 0..4 {
            let case = Case {
                fault: Some(Fault::Request(RequestFault { at, kind })),
                cuts: Vec::new(),
            };
            let (run, violation) = explorer.run_case(&case)?;
            assert_eq!(violation, None, "{case}");
            most = most.max(run.starts);
        }
        // A transient fault costs no further start. A permanent one is reported, and the update
        // starts again.
        assert_eq!(most, if kind.is_transient() { 2 } else { 3 }, "{kind:?}");
    }
    Ok(())
}

#[test]
fn a_machine_without_an_intact_slot_ends_in_recovery() -> anyhow::Result<()> {
    use record::{Choice, Slot};
    use tests::sim::hardware::layout::Region;
    use tests::sim::machine::firmware::Assertions;
    let simulator = Simulator::new()?;
    let scenario = find("rollback").unwrap();
    let mut state = simulator.initial_state(scenario, 512)?;
    for slot in Slot::ALL {
        state
            .image
            .write(Region::Boot(slot).start() + 9000, &[0xff; 8]);
    }
    let run = simulator.run_from(scenario, &state, 512, Assertions::All)?;
    assert_eq!(
        run.final_state.running,
        Some((Choice::Recovery, "1.0.0")),
        "{run:?}"
    );
    Ok(())
}

/// Decisions are in both copies of the record: the loss of either changes nothing, even with a power
/// cut in the next start.
#[test]
fn a_decision_survives_the_loss_of_either_copy_of_the_record() -> anyhow::Result<()> {
    use tests::sim::hardware::layout::Region;
    use tests::sim::machine::firmware::Assertions;
    use tests::sim::power_cut::trace::Trace;
    let simulator = Simulator::new()?;
    for name in [
        "install-blank",
        "update-a-to-b",
        "update-hangs-over-good",
        "rollback",
        "mark-bad",
    ] {
        let scenario = find(name).unwrap();
        for (sector_size, copy) in [(512, 0), (512, 1), (4096, 0), (4096, 1)] {
            let explorer = Explorer::new(&simulator, scenario, sector_size)?;
            let expected = explorer.run_case(&Case::default())?.0.final_state;
            let mut lost = explorer.trace().after(usize::MAX).clone();
            lost.image.write(
                Region::State.start() + copy * 1020 * 1024 + 100,
                &[0xff; 64],
            );
            let mut sim = simulator.machine_of(scenario, &lost, sector_size)?;
            assert_eq!(
                sim.run_until_rest().final_state,
                expected,
                "{name} {sector_size}: copy {copy} is lost"
            );
            let trace = Trace::new(lost, sim.operation_log().take(), sector_size);
            for cut in trace.cuts(&CutCoverage { faulty: 0, ..SOME }) {
                let state = trace.state(cut);
                let run = simulator.run_from(scenario, &state, sector_size, Assertions::All)?;
                assert_eq!(
                    run.violation, None,
                    "{name} {sector_size}: copy {copy} is lost, then {cut}"
                );
                assert_eq!(
                    run.final_state, expected,
                    "{name} {sector_size}: copy {copy} is lost, then {cut}"
                );
            }
        }
    }
    Ok(())
}
