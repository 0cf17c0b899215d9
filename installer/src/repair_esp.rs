//! `rayos-installer repair-esp`: the guard is put into its places again.

use crate::cli::output_line;
use anyhow::{Context as _, Result};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::disk::Disk;
use bootctl::efivars::{EFIVARS_DIR, Efivarfs};
use bootctl::secure_boot::SecureBoot;
use clap::Args;
use installer::guards::{Guard, lacking};
use installer::host::block_on;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Make the EFI system partition of an installed disk anew, if a copy of the boot guard is lost or
/// damaged
///
/// Slots, record and data are not touched. Start it from the installation medium: a machine whose
/// power is lost meanwhile finds nothing to start on its disk. Code 7 when all copies are as they
/// should be.
#[derive(Args)]
pub(crate) struct RepairEsp {
    /// The disk or image
    #[arg(long, value_name = "FILE")]
    disk: PathBuf,
    /// Bundle whose guard is placed
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// Only say which copies are not as they should be
    #[arg(long)]
    plan: bool,
    /// Give up files on the partition that are not the guard
    #[arg(long)]
    overwrite: bool,
    /// Directory of EFI variables, which tell whether Secure Boot is on [default:
    /// /sys/firmware/efi/efivars; none with an image file]
    #[arg(long, value_name = "DIR")]
    efivars: Option<PathBuf>,
}

impl RepairEsp {
    /// Whether there was something to do.
    pub(crate) fn run(&self) -> Result<bool> {
        let trust = bundle::trust::load(&self.trust)?;
        let images = block_on(installer::media::images(&self.bundle, &trust))?
            .with_context(|| self.bundle.display().to_string())?;
        let access = if self.plan {
            Access::Read
        } else {
            Access::Write
        };
        let device = FileDevice::open(&self.disk, access, SectorSize::Detect)?;
        let disk = Disk::open(Arc::new(device)).with_context(|| self.disk.display().to_string())?;
        let missing = if self.plan {
            lacking(&disk.esp()?, &images.guard)
        } else {
            let guard = Guard {
                program: &images.guard,
                rollback_index: images.rollback_index,
            };
            let here =
                || std::fs::metadata(&self.disk).is_ok_and(|it| it.file_type().is_block_device());
            let vars = self
                .efivars
                .as_deref()
                .or_else(|| here().then_some(Path::new(EFIVARS_DIR)));
            let must_be_signed = vars.is_some_and(|dir| SecureBoot::is_on(&Efivarfs::new(dir)));
            guard
                .mend(&disk, must_be_signed, self.overwrite)
                .with_context(|| self.disk.display().to_string())?
        };
        if missing.is_empty() {
            output_line("nothing to do: every copy of the boot guard is as it should be")?;
            return Ok(false);
        }
        let done = if self.plan {
            "would be written"
        } else {
            "written"
        };
        for path in &missing {
            output_line(&format!("{done}: {path}"))?;
        }
        Ok(true)
    }
}
