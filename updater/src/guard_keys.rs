//! The keys in the boot guards on a disk: what they refuse, no updater should write.

use crate::plan::Refusal;
use bootctl::device::BlockDevice as _;
use bootctl::disk::Disk;
use bootctl::esp::guard_copies;
use bootctl::links;
use bootctl::transition::TrustEpochs;
use bundle::Release;
use bundle::trust::pe::embedded_trust;
use record::{PartitionName, Record, Slot};
use seal::{Purpose, SEAL_LEN, Seal, Trust, TrustChain};

/// Returns the trust of a running system: `trust` (its trust file), along the trust links on
/// `disk`, not below the trust floor of `record`. *Reads.*
#[must_use]
pub fn machine_chain(disk: &Disk, record: Option<&Record>, trust: Trust) -> TrustChain {
    let floor = record.map_or(0, |record| record.trust_floor);
    links::chain(disk, trust).with_floor(floor)
}

/// What the copies of the boot guard on a disk accept: from the keys that are built into each, along
/// the trust links on the disk.
#[derive(Clone, Debug, Default)]
pub struct GuardKeys {
    copies: Vec<(&'static str, TrustChain)>,
    warnings: Vec<String>,
}

impl GuardKeys {
    /// Reads the guards on the EFI system partition of `disk`. *Reads*, bypassing the cache. A copy
    /// that cannot be read is only a warning, because firmware can use another copy.
    #[must_use]
    pub fn read(disk: &Disk, record: &Record) -> Self {
        let mut keys = Self::default();
        let copies = match guard_copies(disk) {
            Ok(copies) => copies,
            Err(error) => {
                let warning = format!("boot guard: EFI system partition: {error}");
                keys.warnings.push(warning);
                return keys;
            }
        };
        for copy in &copies {
            match embedded_trust(&copy.program) {
                Ok(trust) => {
                    let chain = machine_chain(disk, Some(record), trust);
                    keys.copies.push((copy.path, chain));
                }
                Err(error) => keys.warnings.push(format!("{}: {error}", copy.path)),
            }
        }
        if copies.is_empty() {
            let warning = "EFI system partition: no copy of the boot guard can be read";
            keys.warnings.push(warning.to_owned());
        }
        keys
    }

    /// Returns the copies whose keys are unknown, for people. *Pure.*
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Checks that each copy of the guard accepts the signatures of `release`, once the trust links
    /// of its bundle are on the disk. *Pure.* Firmware may start any copy.
    ///
    /// # Errors
    /// [`Refusal::Guard`].
    pub fn check(&self, release: &Release) -> Result<(), Refusal> {
        for (path, chain) in &self.copies {
            let refused = |error| Refusal::Guard {
                version: release.statement().version.to_string(),
                path,
                error,
            };
            let mut chain = chain.clone();
            // The head of the bundle was refused for a wrong link; here it leads no further.
            let _refused = chain.follow(release.links());
            chain
                .accept(release.seal(), Purpose::Release)
                .map_err(refused)?;
        }
        Ok(())
    }

    /// Returns the key epochs that accept the seals on `disk`: the lowest of all copies of the
    /// guard; those of `trust` if there is no copy. *Reads* the seals.
    #[must_use]
    pub fn epochs(&self, disk: &Disk, target: Slot, trust: &TrustChain) -> TrustEpochs {
        let seal_epoch = |name: PartitionName, purpose| {
            let mut header = [0; SEAL_LEN];
            let partition = disk.partition(name).ok()?;
            partition.read_medium_at(0, &mut header).ok()?;
            let seal = Seal::from_bytes(&header).ok()?;
            let chains = self.copies.iter().map(|(_, chain)| chain);
            let fallback = self.copies.is_empty().then_some(trust);
            let epochs = chains
                .chain(fallback)
                .map(|chain| chain.accept(&seal, purpose));
            let epochs: Result<Vec<_>, _> = epochs.collect();
            epochs.ok()?.into_iter().map(|found| found.epoch).min()
        };
        let boot = |slot| seal_epoch(PartitionName::boot(slot), Purpose::Release);
        TrustEpochs {
            target: boot(target).unwrap_or(0),
            other: boot(target.other()),
            recovery: seal_epoch(PartitionName::Recovery, Purpose::Recovery),
        }
    }
}
