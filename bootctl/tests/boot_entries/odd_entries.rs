//! Boot entries that firmware rewrote, copied hundreds of times, misspelled or cannot read.

use crate::{A, B, facts, foreign, record, set, settled};
use bootctl::efivars::{EfiVars, MemVars, VarError, VarName, Variable};
use bootctl::entry::{ACTIVE, LoadOption};
use bootctl::reconcile::{BootVars, MAX_ACTIONS, Report, Warning, ask_next, run, settle};
use record::Choice;

/// `PciRoot(0)/Pci(6,0)/NVMe(1)`, as firmware writes it before `HD()`.
const TO_THE_DISK: [u8; 34] = [
    2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, // PciRoot
    1, 1, 6, 0, 0, 6, // Pci
    3, 0x17, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // NVMe
];

#[test]
fn an_entry_with_the_whole_path_to_our_partition_is_left_alone() {
    let vars = MemVars::new();
    for (number, choice) in [A, B, Choice::Recovery].into_iter().enumerate() {
        let ours = LoadOption::ours(choice, &facts().esp);
        let device_path = [&TO_THE_DISK, ours.device_path.as_slice()].concat();
        let long = LoadOption {
            device_path,
            ..ours
        };
        set(&vars, &format!("Boot000{number}"), &long.encode());
    }
    set(&vars, "BootOrder", &[0, 0, 1, 0, 2, 0]);
    assert_eq!(settled(&vars, &record(), A).done, []);
}

#[test]
fn an_entry_whose_file_is_in_another_case_is_left_alone() {
    let vars = MemVars::new();
    settled(&vars, &record(), A);
    let mut option = LoadOption::ours(A, &facts().esp);
    // The letters of the file node, two bytes each.
    for byte in option.device_path.iter_mut().skip(46) {
        byte.make_ascii_lowercase();
    }
    assert_eq!(option.file().unwrap(), "\\efi\\rayos\\guarda.efi");
    set(&vars, "Boot0000", &option.encode());
    assert_eq!(settled(&vars, &record(), A).done, []);
}

#[test]
fn an_entry_that_the_firmware_made_an_application_is_repaired() {
    let vars = MemVars::new();
    settled(&vars, &record(), A);
    let attributes = ACTIVE | 0x100;
    let ours = LoadOption::ours(A, &facts().esp);
    set(
        &vars,
        "Boot0000",
        &LoadOption { attributes, ..ours }.encode(),
    );
    assert_eq!(settled(&vars, &record(), A).done.len(), 1);
}

/// 300 copies of the entry of slot A, of which the first ones are in `BootOrder`.
fn copies() -> MemVars {
    let vars = MemVars::new();
    settled(&vars, &record(), A);
    for number in 0x20..0x14c_u16 {
        let copy = LoadOption::ours(A, &facts().esp).encode();
        set(&vars, &format!("Boot{number:04X}"), &copy);
    }
    // Twice one of ours, copies, and numbers of others that name no entry, one of them twice.
    let order = [0x21_u16, 0x20, 0, 0x2001, 1, 0, 0x2002, 0x2001, 2];
    let order: Vec<u8> = order.into_iter().flat_map(u16::to_le_bytes).collect();
    set(&vars, "BootOrder", &order);
    vars
}

#[test]
fn hundreds_of_copies_settle_in_one_run_for_a_person() {
    let vars = copies();
    let report = settle(&record(), &vars, &facts(), Some(A));
    assert_eq!(report.warning, None);
    let now = BootVars::read(&vars).unwrap();
    assert_eq!(
        now.entries.keys().copied().collect::<Vec<_>>(),
        [1, 2, 0x21]
    );
    assert_eq!(now.order, [0x21, 1, 2, 0x2001, 0x2002, 0x2001]);
    assert_eq!(
        settle(&record(), &vars, &facts(), Some(A)),
        Report::default()
    );
}

#[test]
fn a_boot_makes_few_changes_and_the_order_first() {
    let vars = copies();
    let report = run(&record(), &vars, &facts(), Some(A));
    assert_eq!(report.done.len(), MAX_ACTIONS);
    assert_eq!(report.warning, Some(Warning::NotSettled(MAX_ACTIONS)));
    let order = BootVars::read(&vars).unwrap().order;
    assert_eq!(order, [0x21, 1, 2, 0x2001, 0x2002, 0x2001]);
}

#[test]
fn a_power_cut_after_any_change_leaves_an_entry_for_each_choice() {
    let vars = copies();
    let mut now = BootVars::read(&vars).unwrap();
    for action in bootctl::reconcile::plan(&record(), &now, &facts(), Some(A)) {
        now = now.after(&action);
        let listed: Vec<_> = now
            .order
            .iter()
            .filter_map(|number| LoadOption::parse(now.entries.get(number)?).ok()?.starts())
            .collect();
        for choice in [A, B, Choice::Recovery] {
            assert!(listed.contains(&choice), "{choice} after {action}");
        }
    }
}

#[test]
fn many_copies_do_not_prevent_a_request_for_the_next_boot() {
    let vars = copies();
    ask_next(&record(), &vars, &facts(), B).unwrap();
    assert_eq!(BootVars::read(&vars).unwrap().next, Some(1));
}

#[test]
fn entries_with_numbers_in_small_letters_are_seen() {
    let vars = MemVars::new();
    let ours = LoadOption::ours(A, &facts().esp).encode();
    set(&vars, "Boot000a", &ours);
    set(&vars, "Boot00Bb", &foreign(b'f'));
    for number in 0..10 {
        set(&vars, &format!("Boot000{number}"), &foreign(b'x'));
    }
    settled(&vars, &record(), A);
    let now = BootVars::read(&vars).unwrap();
    let names: Vec<&str> = now.misspelled.keys().map(String::as_str).collect();
    assert_eq!(names, ["Boot00Bb"], "ours is removed, the other stays");
    assert_eq!(now.order, [0x0b, 0x0c, 0x0d], "its number was not used");
}

/// Firmware that cannot read the variables named.
struct Odd {
    vars: MemVars,
    names: Vec<&'static str>,
}

impl EfiVars for Odd {
    fn get(&self, name: &VarName) -> Result<Option<Variable>, VarError> {
        if self.names.contains(&name.name.as_str()) {
            return Err(VarError::Io);
        }
        self.vars.get(name)
    }
    fn names(&self) -> Result<Vec<VarName>, VarError> {
        self.vars.names()
    }
    fn set(&self, name: &VarName, value: &Variable) -> Result<(), VarError> {
        assert!(!self.names.contains(&name.name.as_str()), "{}", name.name);
        self.vars.set(name, value)
    }
    fn delete(&self, name: &VarName) -> Result<(), VarError> {
        assert!(!self.names.contains(&name.name.as_str()), "{}", name.name);
        self.vars.delete(name)
    }
}

#[test]
fn one_variable_that_cannot_be_read_does_not_stop_the_rest() {
    let odd = Odd {
        vars: MemVars::new(),
        names: vec!["Boot0001"],
    };
    set(&odd.vars, "Boot0001", &foreign(b'o'));
    set(&odd.vars, "BootOrder", &[1, 0]);
    let report = run(&record(), &odd, &facts(), Some(A));
    assert_eq!(report.done.len(), 4, "three entries and the order");
    assert_eq!(
        report.warning.unwrap().to_string(),
        "boot entries not all checked: Boot0001: the firmware reported an input/output error"
    );
    assert_eq!(BootVars::read(&odd).unwrap().order, [0, 2, 3, 1]);
    ask_next(&record(), &odd, &facts(), B).unwrap();
}

#[test]
fn an_order_or_a_next_entry_that_cannot_be_read_is_not_written() {
    for name in ["BootOrder", "BootNext"] {
        let odd = Odd {
            vars: copies(),
            names: vec![name],
        };
        set(&odd.vars, "BootNext", &[0x77, 0]);
        let report = settle(&record(), &odd, &facts(), Some(A));
        let words = report.warning.unwrap().to_string();
        assert!(words.contains(name), "{words}");
        let entries = BootVars::read(&odd).unwrap().entries;
        let copies_stay = name == "BootOrder";
        assert_eq!(entries.len() > 3, copies_stay, "the order may name them");
    }
}
