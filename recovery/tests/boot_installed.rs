//! From the medium to the installed system: by `BootNext`, a limited number of times.

#[path = "../../bootctl/tests/fixture/mod.rs"]
#[allow(dead_code, reason = "shared")]
mod fixture;

use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{Efivarfs, MemVars, VarError};
use bootctl::log::EventLog;
use bootctl::machine::Machine;
use bootctl::reconcile::BootVars;
use bootctl::store::RecordStore;
use record::event::{Event, Kind};
use record::{Choice, Reason, Slot, Status};
use recovery::boot_installed::{BootInstalledError, MAX_RESTARTS, request_boot};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const A: Choice = Choice::Slot(Slot::A);

/// Returns an image with slot A Good or Unbootable, and a directory of EFI variables.
fn installed(dir: &Path, bootable: bool) -> (PathBuf, PathBuf) {
    let (image, vars) = (dir.join("disk.img"), dir.join("efivars"));
    fixture::partitioned(&image);
    std::fs::create_dir(&vars).unwrap();
    let disk = open(&image);
    let mut record = fixture::holding(
        fixture::unused(&disk),
        Slot::A,
        Status::Good { budget_left: 8 },
        "1.0.0",
        1,
    );
    if !bootable {
        record = record.with_slot(
            Slot::A,
            record.slot(Slot::A).unbootable(Reason::ImageDamaged),
        );
    }
    RecordStore::open(&disk)
        .unwrap()
        .initialise(&record)
        .unwrap();
    (image, vars)
}

fn open(image: &Path) -> Disk {
    Disk::open(Arc::new(
        FileDevice::open(image, Access::Write, SectorSize::Detect).unwrap(),
    ))
    .unwrap()
}

fn machine(image: &Path, vars: &Path) -> Machine {
    Machine::open(image, Box::new(Efivarfs::new(vars)), Access::Write).unwrap()
}

#[test]
fn the_firmware_is_asked_a_limited_number_of_times() {
    let dir = tempfile::tempdir().unwrap();
    let (image, vars) = installed(dir.path(), true);
    for _ in 0..MAX_RESTARTS {
        assert_eq!(request_boot(&machine(&image, &vars), 0).unwrap(), A);
        let found = BootVars::read(&Efivarfs::new(&vars)).unwrap();
        assert_eq!(
            (found.next, found.order.as_slice()),
            (Some(0), [0, 1, 2].as_slice())
        );
        // The firmware deletes BootNext and starts the medium.
        std::fs::remove_file(vars.join("BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c")).unwrap();
    }
    assert!(matches!(
        request_boot(&machine(&image, &vars), 0),
        Err(BootInstalledError::FirmwareIgnored(MAX_RESTARTS))
    ));
    assert_eq!(
        BootVars::read(&Efivarfs::new(&vars)).unwrap().next,
        None,
        "no further request"
    );

    // The guard on the disk was started once: the count starts again.
    EventLog::open(&open(&image))
        .unwrap()
        .append(&Event::new(Kind::Launched, Some(A)))
        .unwrap();
    assert_eq!(request_boot(&machine(&image, &vars), 0).unwrap(), A);
}

#[test]
fn a_disk_without_a_bootable_slot_is_not_requested() {
    let dir = tempfile::tempdir().unwrap();
    let (image, vars) = installed(dir.path(), false);
    assert!(matches!(
        request_boot(&machine(&image, &vars), 0),
        Err(BootInstalledError::NoSlot)
    ));
    assert_eq!(
        std::fs::read_dir(&vars).unwrap().count(),
        0,
        "no variable was written"
    );
}

#[test]
fn an_error_names_firmware_that_stores_no_variable() {
    let dir = tempfile::tempdir().unwrap();
    let (image, vars) = installed(dir.path(), true);
    let full = MemVars::new();
    full.fail_writes(Some(VarError::Full));
    let machine = Machine {
        vars: Box::new(full),
        ..machine(&image, &vars)
    };
    let error = request_boot(&machine, 0).unwrap_err().to_string();
    assert!(
        error.ends_with("the firmware's variable store is full"),
        "{error}"
    );
}
