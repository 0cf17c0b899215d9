//! A disk drawn to scale, as text: a bar with a cell for each range, and a list of the ranges.
//!
//! The bar is ASCII, because a serial console or a printer may have nothing else. Everything in
//! the bar is in the list, too, for readers that cannot see the bar.

use super::disk_map::{DiskMap, Region, RegionContent};
use cli::quantity::bytes;
use record::PartitionName;

/// Maximum number of cells in a bar; the ranges after them share the last cell.
const MAX_CELLS: usize = 20;
/// Minimum width of a cell, in columns: room for its number.
const MIN_CELL: usize = 2;

/// Returns the bar: three lines of `width` columns, at least 62. *Pure.* Cells are to scale, except
/// that none is narrower than two columns. `#` is RayOS, `.` is free.
#[must_use]
pub fn bar(map: &DiskMap, width: usize) -> [String; 3] {
    let cells = cells(map);
    let sizes: Vec<u64> = cells.iter().map(|(_, size, _)| *size).collect();
    let columns = width.saturating_sub(cells.len() + 1);
    let mut edge = String::from("+");
    let mut inside = String::from("|");
    for ((text, _, fill), width) in cells.iter().zip(widths(&sizes, columns)) {
        edge.push_str(&"-".repeat(width));
        edge.push('+');
        inside.extend(text.chars().take(width));
        let rest = width.saturating_sub(text.chars().count());
        inside.extend(std::iter::repeat_n(*fill, rest));
        inside.push('|');
    }
    [edge.clone(), inside, edge]
}

/// Returns text, size and fill of each cell.
fn cells(map: &DiskMap) -> Vec<(String, u64, char)> {
    let numbered: Vec<_> = map.regions.iter().zip(numbers(map)).collect();
    let cell = |(region, number): &(&Region, Option<usize>)| {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        match &region.content {
            RegionContent::Free => ("free".to_owned(), region.size, '.'),
            RegionContent::RayOs(_) | RegionContent::New(_) => (number, region.size, '#'),
            RegionContent::Other { what, .. } => (format!("{number} {what} "), region.size, ' '),
        }
    };
    if numbered.len() <= MAX_CELLS {
        return numbered.iter().map(cell).collect();
    }
    let (shown, more) = numbered.split_at(MAX_CELLS - 1);
    let size = more.iter().map(|(region, _)| region.size).sum();
    let more = (format!("+{} more", more.len()), size, ' ');
    shown.iter().map(cell).chain([more]).collect()
}

/// Returns the number of each region in the drawing, from 1; none for free ranges.
fn numbers(map: &DiskMap) -> impl Iterator<Item = Option<usize>> {
    map.regions.iter().scan(0, |last, region| {
        let is_free = region.content == RegionContent::Free;
        *last += usize::from(!is_free);
        Some((!is_free).then_some(*last))
    })
}

/// Returns a width for each size: at least [`MIN_CELL`], otherwise to scale, `columns` together if
/// there are as many. The largest remainders get the columns that rounding leaves.
fn widths(sizes: &[u64], columns: usize) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    let spare = columns.saturating_sub(sizes.len() * MIN_CELL) as u128;
    let share = |size: &u64| {
        let scaled = u128::from(*size) * spare;
        let whole = scaled.checked_div(total).unwrap_or(0);
        (whole as usize, scaled.checked_rem(total).unwrap_or(0))
    };
    let shares: Vec<(usize, u128)> = sizes.iter().map(share).collect();
    let used: usize = shares.iter().map(|(whole, _)| whole).sum();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&at| std::cmp::Reverse(shares[at].1));
    let mut widths: Vec<usize> = shares.iter().map(|(whole, _)| MIN_CELL + whole).collect();
    for at in by_remainder.into_iter().take(spare as usize - used) {
        widths[at] += 1;
    }
    widths
}

/// Returns the list of the ranges, a line for each: number, size, what it is, label. *Pure.*
#[must_use]
pub fn list(map: &DiskMap) -> Vec<String> {
    if map.regions.is_empty() {
        return vec!["   nothing".to_owned()];
    }
    let line = |(region, number): (&Region, Option<usize>)| {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        let what = what(&region.content);
        format!("{number:>3}  {:>10}  {what}", bytes(region.size))
    };
    map.regions.iter().zip(numbers(map)).map(line).collect()
}

/// Returns what is in a range, for people. *Pure.*
#[must_use]
pub fn what(content: &RegionContent) -> String {
    match content {
        RegionContent::Free => "free".to_owned(),
        RegionContent::RayOs(name) => format!("RayOS {}", purpose(*name)),
        RegionContent::New(name) => format!("RayOS {} (new)", purpose(*name)),
        RegionContent::Other { what, label, .. } if label.is_empty() => what.clone(),
        RegionContent::Other { what, label, .. } => format!("{what} \"{label}\""),
    }
}

const fn purpose(name: PartitionName) -> &'static str {
    match name {
        PartitionName::Esp => "EFI system partition",
        PartitionName::State => "boot record",
        PartitionName::BootA => "slot A, boot image",
        PartitionName::BootB => "slot B, boot image",
        PartitionName::RootA => "slot A, root",
        PartitionName::RootB => "slot B, root",
        PartitionName::Recovery => "recovery",
        PartitionName::Data => "data",
    }
}

/// Returns the lines of the list that `after` no longer has: what is erased. *Pure.*
#[must_use]
pub fn lost(before: &DiskMap, after: &DiskMap) -> Vec<String> {
    let is_lost = |region: &&Region| {
        let is_free = region.content == RegionContent::Free;
        !is_free && !after.regions.contains(region)
    };
    let line = |region: &Region| format!("{}, {}", what(&region.content), bytes(region.size));
    before.regions.iter().filter(is_lost).map(line).collect()
}

/// Returns the lines of the partitions of other systems that `after` still has. *Pure.*
#[must_use]
pub fn kept(before: &DiskMap, after: &DiskMap) -> Vec<String> {
    let is_kept = |region: &&Region| {
        let is_other = matches!(region.content, RegionContent::Other { .. });
        is_other && after.regions.contains(region)
    };
    let line = |region: &Region| format!("{}, {}", what(&region.content), bytes(region.size));
    before.regions.iter().filter(is_kept).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::layout::Layout;
    use proptest::prelude::{prop_assert, proptest};
    use record::Guid;

    const GIB: u64 = 1 << 30;

    fn other(number: u32, start: u64, size: u64, what: &str, label: &str) -> Region {
        Region {
            start: start * GIB,
            size: size * GIB,
            content: RegionContent::Other {
                number,
                what: what.to_owned(),
                label: label.to_owned(),
            },
        }
    }

    fn windows() -> DiskMap {
        DiskMap {
            size: 240 * GIB,
            regions: vec![
                other(1, 1, 1, "EFI system partition, FAT32", "SYSTEM"),
                other(2, 2, 99, "Windows (NTFS)", ""),
                Region {
                    start: 101 * GIB,
                    size: 139 * GIB,
                    content: RegionContent::Free,
                },
            ],
        }
    }

    #[test]
    fn a_disk_is_drawn_to_scale_with_its_contents() {
        assert_eq!(
            bar(&windows(), 62),
            [
                "+--+------------------------+--------------------------------+",
                "|1 |2 Windows (NTFS)        |free............................|",
                "+--+------------------------+--------------------------------+",
            ]
        );
        assert_eq!(
            list(&windows()),
            [
                "  1    1.00 GiB  EFI system partition, FAT32 \"SYSTEM\"",
                "  2   99.00 GiB  Windows (NTFS)",
                "     139.00 GiB  free",
            ]
        );
    }

    #[test]
    fn the_drawing_after_an_installation_has_every_new_partition() {
        let before = DiskMap::blank(64 * GIB);
        let plan = Layout::default()
            .plan(64 * GIB, 512, Guid([1; 16]))
            .expect("plan");
        let after = before.planned(&plan);
        let [_, inside, _] = bar(&after, 76);
        assert!(inside.starts_with("|1#|2#|3#|4"), "{inside}");
        assert_eq!(inside.len(), 76);
        assert!(list(&after)[7].contains("RayOS data (new)"));
        assert_eq!(lost(&before, &after), [""; 0]);
        let erased = windows().planned(&plan);
        assert_eq!(lost(&windows(), &erased)[1], "Windows (NTFS), 99.00 GiB");
        assert_eq!(kept(&windows(), &windows()).len(), 2);
    }

    proptest! {
        #[test]
        fn every_cell_is_visible_and_the_bar_is_as_wide_as_asked(
            sizes in proptest::collection::vec(0_u64..=u64::MAX, 0..40),
            width in 62_usize..200,
        ) {
            let region = |size: u64| Region { start: 0, size, content: RegionContent::Free };
            let map = DiskMap {
                size: 0,
                regions: sizes.iter().map(|size| region(size / 64)).collect(),
            };
            let [edge, inside, _] = bar(&map, width);
            prop_assert!(inside.chars().count() == edge.chars().count());
            prop_assert!(map.regions.iter().all(|it| it.size == 0) || edge.len() == width);
            prop_assert!(!edge.contains("++"));
        }
    }
}
