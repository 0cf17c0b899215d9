//! Properties of every table: what other systems have stays, and their tools report no problem.

use super::added::{ID, added, found_by_bootctl, layout};
use super::foreign_table::{DAMAGES, ForeignEntry, MIB, damage, tables};
use super::tools::output_of;
use bootctl::device::{BlockDevice as _, MemDevice};
use installer::disk::coexist::CoexistPlan;
use installer::disk::table::ExistingTable;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn other_partitions_stay_and_other_tools_report_no_problem(
        table in tables(),
        how in 0_usize..5,
    ) {
        let device = table.disk();
        damage(&device, &table, DAMAGES[how]);
        match added(device, &table, &layout()) {
            Ok((device, beside)) => {
                let first = beside.planned.partitions[0].offset / MIB;
                prop_assert_eq!(table.first_room(11), Some(first));
                if table.sector == 512 {
                    let file = tempfile::NamedTempFile::new().expect("file");
                    std::fs::write(file.path(), device.bytes()).expect("image");
                    let said = output_of("sgdisk", &["-v"], file.path());
                    prop_assert!(said.contains("No problems found"), "{said}");
                    let dumped = output_of("sfdisk", &["-d"], file.path());
                    let verified = output_of("sfdisk", &["--verify"], file.path());
                    prop_assert!(verified.contains("No errors detected"), "{verified}");
                    let lines = dumped.lines().filter(|line| line.contains("start=")).count();
                    prop_assert_eq!(lines, table.entries.len() + 8, "{}", dumped);
                }
                found_by_bootctl(device, &beside, table.sector);
            }
            Err(words) => {
                prop_assert!(words.starts_with("its largest free range has "), "{words}");
                prop_assert_eq!(table.first_room(11), None);
            }
        }
    }

    #[test]
    fn implausible_entries_stay_and_are_not_overwritten(
        table in tables(),
        wild in proptest::collection::vec((0_usize..20, any::<[u64; 2]>(), 0_u32..64), 0..6),
    ) {
        let mut table = table;
        for (at, [first, last], shift) in wild {
            table.entries.retain(|entry| entry.at != at);
            let (first, last) = (first >> shift, last >> shift);
            let kind = [9; 16];
            let (attributes, name) = (0, Vec::new());
            table.entries.push(ForeignEntry { at, kind, first, last, attributes, name });
        }
        if let Ok((device, beside)) = added(table.disk(), &table, &layout()) {
            found_by_bootctl(device, &beside, table.sector);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 92),
        count in any::<u32>(),
        len in 1_usize..80,
    ) {
        let mut disk = vec![0; len * 512];
        let mut header = bytes;
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        header[24..32].copy_from_slice(&1_u64.to_le_bytes());
        header[80..84].copy_from_slice(&(count % 2000).to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        // The reader would refuse a wrong checksum before any other field.
        let array = vec![0; (count % 2000) as usize * 128];
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        for field in [40, 48, 72] {
            header[field + 1..field + 8].fill(0);
        }
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        if len > 1 {
            disk[512..604].copy_from_slice(&header);
        }
        let device = MemDevice::from_bytes(disk, 512);
        if let Ok(Ok(existing)) = ExistingTable::read(&device)
            && let Ok(beside) = CoexistPlan::plan(&existing, &layout(), device.len(), ID)
        {
            prop_assert!(beside.table.commit(&device).is_ok());
        }
    }
}
