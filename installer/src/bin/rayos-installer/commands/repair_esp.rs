//! `rayos-installer repair-esp`.

use crate::args::RepairEsp;
use anyhow::{Context as _, Result};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EFIVARS_DIR, Efivarfs};
use bootctl::secure_boot::SecureBoot;
use cli::ExitStatus;
use installer::esp::guards::{Guard, missing_copies};
use installer::host::block_on;
use installer::media::{Images, images};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

impl RepairEsp {
    /// Writes the copies of the boot guard that are missing or damaged, or lists them.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        let trust = bundle::trust::load(&self.trust)?;
        let images = block_on(images(&self.bundle, &trust))?
            .with_context(|| self.bundle.display().to_string())?;
        let access = if self.plan {
            Access::Read
        } else {
            Access::Write
        };
        let device = FileDevice::open(&self.disk, access, SectorSize::Detect)?;
        let disk = Disk::open(Arc::new(device)).with_context(|| self.disk.display().to_string())?;
        let (missing, done) = if self.plan {
            (
                missing_copies(&disk.esp()?, &images.guard),
                "would be written",
            )
        } else {
            (self.repair(&disk, &images)?, "written")
        };
        if missing.is_empty() {
            cli::output::print("nothing to do: every copy of the boot guard is intact")?;
            return Ok(ExitStatus::NothingToDo);
        }
        for path in &missing {
            cli::output::print(&format!("{done}: {path}"))?;
        }
        Ok(ExitStatus::Success)
    }

    fn repair(&self, disk: &Disk, images: &Images) -> Result<Vec<&'static str>> {
        let guard = Guard {
            program: &images.guard,
            rollback_index: images.rollback_index,
            compatible: &images.compatible,
        };
        guard
            .repair(disk, self.must_be_signed(), self.overwrite)
            .with_context(|| self.disk.display().to_string())
    }

    /// Reports whether the firmware of the disk's machine runs signed programs only. An image file
    /// belongs to no machine.
    fn must_be_signed(&self) -> bool {
        let is_device = || {
            let found = std::fs::metadata(&self.disk);
            found.is_ok_and(|found| found.file_type().is_block_device())
        };
        match self.efivars.as_deref() {
            Some(dir) => SecureBoot::is_on(&Efivarfs::new(dir)),
            None => is_device() && SecureBoot::is_on(&Efivarfs::new(Path::new(EFIVARS_DIR))),
        }
    }
}
