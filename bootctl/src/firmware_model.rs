//! A model of a firmware's boot manager: what it starts, in which order, and what it does to the
//! variables on the way (UEFI 2.10, 3.1.1 to 3.1.3; EDK2, `MdeModulePkg/Universal/BdsDxe` and
//! `Library/UefiBootManagerLib`).
//!
//! Nothing here runs on a machine. The exhaustive model and the simulated machine boot by it; that
//! it boots as OVMF does is a scenario of `scripts/test-guard`, which takes both through one
//! script.

use crate::boot::entry::{ACTIVE, LoadOption};
use crate::boot::reconcile::BootVars;

/// Attribute bits that tell applications, such as the firmware's own menu, from systems.
const CATEGORY: u32 = 0x1f00;
/// First bytes of the optional data of entries that EDK2 makes by itself:
/// `mBmAutoCreateBootOptionGuid`.
const BY_ITSELF: [u8; 16] = [
    0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d, 0x85, 0x0e, 0xe2, 0x1a, 0x52, 0x2c, 0x59, 0xb2,
];

/// What comes of starting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Its program is not there or cannot be loaded: the next entry.
    NotThere,
    /// It was started and returned an error: the next entry.
    Failed,
    /// It was started and returned success: the firmware shows its menu and waits for a person.
    Returned,
    /// It has the machine.
    TookOver,
}

/// One boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Numbers of the entries whose programs were started, in order.
    pub started: Vec<u16>,
    /// Which of them has the machine; `None` if it waits in the firmware's menu.
    pub taken: Option<u16>,
    /// The variables afterwards.
    pub vars: BootVars,
}

/// Boots once. *Pure*, but for `start`, which is asked what comes of starting an entry. `found` are
/// the entries that the firmware makes for what it finds by itself: its menu, and the removable
/// path of each disk.
pub fn boot(
    vars: &BootVars,
    found: &[LoadOption],
    mut start: impl FnMut(u16, &LoadOption) -> Start,
) -> Boot {
    let mut boot = Boot {
        vars: refreshed(vars, found),
        ..Boot::default()
    };
    // BootNext is gone before it is tried, and is tried even if it is inactive or not in the order.
    let next = boot.vars.next.take();
    let of = |vars: &BootVars, number: u16| LoadOption::parse(vars.entries.get(&number)?).ok();
    if let Some((number, option)) = next.and_then(|number| Some((number, of(&boot.vars, number)?)))
        && try_one(&mut boot, number, &option, &mut start)
    {
        return boot;
    }
    for number in boot.vars.order.clone() {
        let Some(option) = of(&boot.vars, number) else {
            continue;
        };
        let normal = option.attributes & ACTIVE != 0 && option.attributes & CATEGORY == 0;
        if normal && try_one(&mut boot, number, &option, &mut start) {
            return boot;
        }
    }
    boot
}

/// Whether that ended the search.
fn try_one(
    boot: &mut Boot,
    number: u16,
    option: &LoadOption,
    start: &mut impl FnMut(u16, &LoadOption) -> Start,
) -> bool {
    let came = start(number, option);
    if came != Start::NotThere {
        boot.started.push(number);
    }
    if came == Start::TookOver {
        boot.taken = Some(number);
    }
    matches!(came, Start::TookOver | Start::Returned)
}

/// The variables after the firmware has looked around: entries that it made itself for what is gone
/// are deleted, and what it finds new gets an entry at the end of the order. It takes the lowest
/// number that the *order* does not have: an entry that is not listed there is written over.
fn refreshed(vars: &BootVars, found: &[LoadOption]) -> BootVars {
    let mut vars = vars.clone();
    // What is listed and is no entry is forgotten altogether.
    let is_entry = |vars: &BootVars, number: u16| {
        vars.entries
            .get(&number)
            .is_some_and(|bytes| LoadOption::parse(bytes).is_ok())
    };
    for number in vars.order.clone() {
        if !is_entry(&vars, number) {
            vars.entries.remove(&number);
            vars.order.retain(|listed| *listed != number);
        }
    }
    let mut missing: Vec<&LoadOption> = found.iter().collect();
    for number in vars.order.clone() {
        let Some(option) = vars
            .entries
            .get(&number)
            .and_then(|bytes| LoadOption::parse(bytes).ok())
        else {
            continue;
        };
        if let Some(place) = missing.iter().position(|wanted| **wanted == option) {
            missing.remove(place);
        } else if option.optional.starts_with(&BY_ITSELF) && !found.contains(&option) {
            vars.entries.remove(&number);
            vars.order.retain(|listed| *listed != number);
        }
    }
    for option in missing {
        let free = (0..=u16::MAX).find(|number| !vars.order.contains(number));
        let Some(number) = free else { break };
        vars.entries.insert(number, option.encode());
        vars.order.push(number);
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::gpt::Partition;
    use record::{Choice, Guid, Slot};

    fn ours(choice: Choice) -> Vec<u8> {
        let esp = Partition {
            uuid: Guid([5; 16]),
            number: 1,
            first_lba: 2048,
            last_lba: 4095,
        };
        LoadOption::ours(choice, &esp).encode()
    }

    #[test]
    fn next_is_taken_once_and_the_order_after_what_failed() {
        let mut vars = BootVars {
            order: vec![1, 2],
            next: Some(3),
            ..BootVars::default()
        };
        for number in 1..=3 {
            vars.entries.insert(number, ours(Choice::Slot(Slot::A)));
        }
        let came = boot(&vars, &[], |number, _| {
            if number == 2 {
                Start::TookOver
            } else {
                Start::Failed
            }
        });
        assert_eq!(
            (came.started, came.taken, came.vars.next),
            (vec![3, 1, 2], Some(2), None)
        );
        let parked = boot(&vars, &[], |_, _| Start::Returned);
        assert_eq!((parked.started, parked.taken), (vec![3], None));
    }

    #[test]
    fn an_entry_that_is_not_listed_is_written_over() {
        let mut vars = BootVars {
            order: vec![1],
            ..BootVars::default()
        };
        vars.entries.insert(0, ours(Choice::Recovery));
        vars.entries.insert(1, ours(Choice::Slot(Slot::A)));
        let menu = LoadOption::parse(&ours(Choice::Slot(Slot::B))).unwrap();
        let after = boot(&vars, std::slice::from_ref(&menu), |_, _| Start::TookOver).vars;
        assert_eq!(
            (after.order.as_slice(), &after.entries[&0]),
            ([1, 0].as_slice(), &menu.encode())
        );
        assert_eq!(
            boot(&after, &[menu], |_, _| Start::TookOver).vars,
            after,
            "what is there is not added again"
        );
    }
}
