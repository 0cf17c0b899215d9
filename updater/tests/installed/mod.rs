//! A disk with a release in slot A, for tests and benchmarks: partitioned by the fixtures, filled
//! by an apply with the scope of an installation.

use bootctl::device::BlockDevice;
use bootctl::disk::Disk;
use bootctl::store::RecordStore;
use bootctl::transition;
use fixtures::partition_table::{Partition, table};
use record::{Choice, Guid, PartitionName, Record, Slot, Text64};
use seal::{Trust, TrustChain};
use std::sync::Arc;
use updater::events::Silent;
use updater::source::{Retries, Source};
use updater::{Incoming, Options, Outcome, TargetMachine};

/// Sizes of the partitions in bytes.
pub(crate) struct Sizes {
    pub(crate) boot: u64,
    pub(crate) root: u64,
    pub(crate) recovery: u64,
}

const MIB: u64 = 1 << 20;
/// Length of both copies of the partition table with their alignment.
const TABLES_LEN: u64 = 2 * MIB;

impl Sizes {
    const fn of(&self, name: PartitionName) -> u64 {
        match name {
            PartitionName::Esp | PartitionName::State | PartitionName::Data => MIB,
            PartitionName::BootA | PartitionName::BootB => self.boot,
            PartitionName::RootA | PartitionName::RootB => self.root,
            PartitionName::Recovery => self.recovery,
        }
    }

    /// Returns the length of a disk for these partitions, in bytes.
    pub(crate) fn disk_len(&self) -> u64 {
        let lengths = PartitionName::ALL.map(|name| self.of(name).next_multiple_of(MIB));
        TABLES_LEN + lengths.iter().sum::<u64>()
    }
}

/// Partitions `device`, writes the first boot record, installs the bundle at `source`, and commits
/// it in slot A.
pub(crate) async fn install(
    device: Arc<dyn BlockDevice>,
    sizes: &Sizes,
    compatible: &str,
    source: impl Source,
    trust: &Trust,
) {
    let partitions = PartitionName::ALL.map(|name| Partition {
        type_guid: name.type_guid().0,
        guid: [name as u8 + 1; 16],
        len: sizes.of(name),
    });
    for (offset, bytes) in table(device.len(), device.sector_size(), [0x5a; 16], &partitions) {
        device.write_at(offset, &bytes).expect("partition table");
    }
    let disk = Disk::open(device).expect("disk");
    let store = RecordStore::open(&disk).expect("store");
    let unused = Record {
        install_id: Guid([0x5a; 16]),
        compatible: Text64::new(compatible).expect("compatible"),
        ..Record::unused(disk.partitions())
    };
    store.initialise(&unused).expect("first record");
    apply(disk, source, trust).await;
    let installed = store.read().expect("record");
    let committed = transition::commit(&installed, Choice::Slot(Slot::A)).expect("commit");
    store.write(&committed).expect("record");
}

async fn apply(disk: Disk, source: impl Source, trust: &Trust) {
    let machine = TargetMachine {
        store: RecordStore::open(&disk).expect("store"),
        disk,
        vars: None,
        booted: Choice::Recovery,
        now: 1_700_000_000,
    };
    let chain = TrustChain::from(trust);
    let options = Options {
        trust: &chain,
        place_guard: Some(&|_| Ok(())),
        tries: record::TRIAL_TRIES,
        read_back: true,
        adaptive: true,
        jobs: 2,
        retries: Retries::default(),
        if_newer: false,
        plan_only: false,
    };
    let incoming = Incoming::open(source, trust, options.retries, &|_, _| {})
        .await
        .expect("head");
    let applied = incoming.apply(&machine, &options, &Silent).await;
    assert!(matches!(applied, Ok(Outcome::Activated(_))), "{applied:?}");
}
