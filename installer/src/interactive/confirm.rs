//! The confirmation of a write: the operator types the end of the disk's own name.

use crate::disk::disks::Disk;

/// Minimum number of characters to type.
const MIN_CHARACTERS: usize = 4;

/// Returns what must be typed to confirm a write to `disk`: the last four letters and digits of its
/// id, or more until no other disk of `all` ends with the same. *Pure.*
///
/// An id without four letters or digits is not used; the kernel name is typed whole then.
#[must_use]
pub fn confirmation(disk: &Disk, all: &[Disk]) -> String {
    let own = letters(disk.id());
    if own.len() < MIN_CHARACTERS {
        return letters(&disk.name);
    }
    let is_other = |other: &&Disk| other.path != disk.path;
    let others: Vec<String> = all
        .iter()
        .filter(is_other)
        .map(|it| letters(it.id()))
        .collect();
    let ending = |count: usize| own[own.len() - count..].to_owned();
    let is_unique = |word: &String| !others.iter().any(|other| other.ends_with(word));
    let found = (MIN_CHARACTERS..=own.len()).map(ending).find(is_unique);
    found.unwrap_or(own)
}

/// Reports whether `typed` is the confirmation `word`, in upper or lower case. *Pure.*
#[must_use]
pub fn is_confirmed(typed: &str, word: &str) -> bool {
    !word.is_empty() && typed.trim().eq_ignore_ascii_case(word)
}

/// Returns the ASCII letters and digits, in upper case.
fn letters(id: &str) -> String {
    let letters = id.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::disks::sample;

    fn disks(serials: [&str; 2]) -> Vec<Disk> {
        let mut disks = sample();
        for (disk, serial) in disks.iter_mut().zip(serials) {
            disk.serial = Some(serial.to_owned());
        }
        disks
    }

    #[test]
    fn the_end_of_the_serial_number_is_typed_and_no_other_disk_has_it() {
        let word = |serials| {
            let disks = disks(serials);
            confirmation(&disks[0], &disks)
        };
        assert_eq!(word(["S5GX-0T12 3456", "other"]), "3456");
        assert_eq!(word(["S5GX1113456", "A2223456"]), "13456");
        assert_eq!(word(["--", "other"]), "NVME0N1");
        assert_eq!(word(["9ab", "other"]), "NVME0N1");
    }

    #[test]
    fn only_the_word_confirms() {
        assert!(is_confirmed(" 34ab\n", "34AB"));
        for typed in ["", "y", "yes", "34a", "34abc"] {
            assert!(!is_confirmed(typed, "34AB"), "{typed}");
        }
        assert!(!is_confirmed("", ""));
    }
}
