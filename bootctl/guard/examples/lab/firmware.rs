//! Compares the simulated firmware with OVMF: after the same script of changed variables and
//! reboots both must have started the same programs in the same order and have the same boot
//! entries.

use crate::Lab;
use crate::disk::{self, Disk, ESP};
use crate::machine::Machine;
use anyhow::{Context as _, Result, ensure};
use bootctl::efivars::{EfiVars as _, MemVars, VarName};
use bootctl::entry::LoadOption;
use bootctl::firmware_model::{Boot, Start, boot};
use bootctl::reconcile::BootVars;
use qemu::VariableStore;
use record::Guid;

/// What an entry of the script starts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A program that ends the machine.
    Take,
    /// The same, in an entry that is not ACTIVE.
    Inactive,
    /// A program that returns an error.
    Fail,
    /// A program that returns success.
    Park,
    /// A missing file.
    Gone,
    /// The right PARTUUID and the wrong partition number.
    WrongNumber,
    /// A PARTUUID that no disk has.
    WrongUuid,
    /// A truncated entry.
    Cut,
}

/// A change of variables before a boot.
#[derive(Clone, Debug)]
enum Change {
    Put(u16, Kind),
    Delete(u16),
    Order(&'static [u16]),
    NoOrder,
    Next(u16),
    /// Bytes that are not a number.
    RawNext(&'static [u8]),
}

use Change::{Delete, Next, NoOrder, Order, Put, RawNext};

/// Each line is one boot.
const SCRIPT: &[&[Change]] = &[
    // There are no variables: the removable path.
    &[],
    &[Put(0x10, Kind::Take), Order(&[0x10])],
    // BootNext names an entry that is not in the order; it is started once.
    &[Put(0x11, Kind::Take), Next(0x11)],
    &[],
    // An inactive entry is skipped in the order, and started by BootNext.
    &[Put(0x12, Kind::Inactive), Order(&[0x12, 0x10])],
    &[Next(0x12)],
    // After an entry that fails, also one in BootNext, the next one is started.
    &[Put(0x13, Kind::Fail), Next(0x13)],
    &[Order(&[0x13, 0x11, 0x10])],
    // BootNext and order name missing entries; a file is missing.
    &[Next(0x99)],
    &[Put(0x14, Kind::Gone), Order(&[0x77, 0x14, 0x10])],
    &[Next(0x14)],
    &[
        Put(0x15, Kind::WrongNumber),
        Put(0x16, Kind::WrongUuid),
        Order(&[0x15, 0x16, 0x13, 0x11]),
    ],
    // Truncated entries, in the order and in BootNext.
    &[Put(0x17, Kind::Cut), Order(&[0x17, 0x10]), Next(0x17)],
    // A missing order, then one that names an entry twice. (An order that ends in half a number is
    // not tried: OVMF then writes behind its own list, and loses its own entries.)
    &[NoOrder],
    &[Order(&[0x10, 0x10])],
    &[RawNext(&[0x11])],
    // The firmware reuses numbers that are not in the order for its own entries.
    &[
        Put(0, Kind::Take),
        Put(1, Kind::Take),
        Put(2, Kind::Take),
        Order(&[0x11]),
    ],
    &[Put(1, Kind::Cut), Order(&[1, 0x11])],
    &[Delete(0x11)],
    // After a success the firmware waits in its menu.
    &[Put(0x18, Kind::Park), Order(&[0x18, 0x10])],
    &[Next(0x18)],
];

/// Text on the console when the firmware starts its menu.
const MENU: &str = "\"UiApp\"";

/// Both firmwares and the programs that they start.
struct Both {
    disk: Disk,
    machine: Machine,
    /// Variables of the simulated firmware.
    vars: BootVars,
    /// Entries that OVMF made at its first boot: for its menu, its shell and the disk.
    found: Vec<LoadOption>,
}

pub(crate) fn same_boots(lab: &Lab) -> Result<()> {
    let mut disk = Disk::new(512, 1, 8);
    let [take, fail, park] = ["reset", "return", "success"].map(|orders| lab.payload(orders));
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", &take[..]),
        ("EFI/T1/TAKE.EFI", &take),
        ("EFI/T2/FAIL.EFI", &fail),
        ("EFI/T3/PARK.EFI", &park),
    ];
    let esp = disk::fat(disk.len(ESP), 512, &files)?;
    disk.write(ESP, 0, &esp);
    let machine = Machine::new(&lab.dir.join("same-boots"))?;
    let mut both = Both {
        disk,
        machine,
        vars: BootVars::default(),
        found: Vec::new(),
    };
    let mut differ = Vec::new();
    for (number, changes) in SCRIPT.iter().enumerate() {
        let step = both
            .step(changes)
            .with_context(|| format!("boot {number}, after {changes:?}"))?;
        differ.extend(
            step.into_iter()
                .map(|what| format!("boot {number}, after {changes:?}: {what}")),
        );
    }
    ensure!(
        differ.is_empty(),
        "OVMF and the model differ:\n{}",
        differ.join("\n")
    );
    Ok(())
}

impl Both {
    /// Returns the differences after one boot. The simulated firmware continues with the variables
    /// of OVMF.
    fn step(&mut self, changes: &[Change]) -> Result<Vec<String>> {
        for change in changes {
            let (name, data) = self.variable(change);
            let change_of_store = [(name.as_str(), data.clone())];
            self.machine.variables().change(&change_of_store)?;
            self.change(change, data);
        }
        let console = self
            .machine
            .boot(&mut [(&mut self.disk.bytes, 512)], &[MENU])?;
        let after = boot_vars(self.machine.variables())?;
        if self.found.is_empty() {
            self.found = after
                .order
                .iter()
                .filter_map(|number| LoadOption::parse(after.entries.get(number)?).ok())
                .collect();
        }
        let disk = &self.disk;
        let simulated = boot(&self.vars, &self.found, |_, option| starts(disk, option));
        let ovmf = Boot {
            started: started(&console),
            // The model returns which entry took over; of OVMF it is only known whether one did.
            taken: simulated.taken.filter(|_| !console.contains(MENU)),
            vars: after,
        };
        let mut differ = Vec::new();
        let mut compare = |what: &str, ovmf: String, model: String| {
            if ovmf != model {
                differ.push(format!("{what}: OVMF {ovmf}, the model {model}"));
            }
        };
        compare(
            "started",
            format!("{:04x?}", ovmf.started),
            format!("{:04x?}", simulated.started),
        );
        compare(
            "taken",
            format!("{:04x?}", ovmf.taken),
            format!("{:04x?}", simulated.taken),
        );
        compare(
            "order",
            format!("{:04x?}", ovmf.vars.order),
            format!("{:04x?}", simulated.vars.order),
        );
        compare(
            "next",
            format!("{:?}", ovmf.vars.next),
            format!("{:?}", simulated.vars.next),
        );
        compare(
            "entries",
            format!("{:02x?}", ovmf.vars.entries),
            format!("{:02x?}", simulated.vars.entries),
        );
        self.vars = ovmf.vars;
        Ok(differ)
    }

    /// Returns name and data of the variable that a change is about.
    fn variable(&self, change: &Change) -> (String, Option<Vec<u8>>) {
        let numbers = |list: &[u16]| {
            list.iter()
                .flat_map(|number| number.to_le_bytes())
                .collect()
        };
        match change {
            Put(number, kind) => (format!("Boot{number:04X}"), Some(self.entry(*kind))),
            Delete(number) => (format!("Boot{number:04X}"), None),
            Order(list) => ("BootOrder".to_owned(), Some(numbers(list))),
            NoOrder => ("BootOrder".to_owned(), None),
            Next(number) => ("BootNext".to_owned(), Some(numbers(&[*number]))),
            RawNext(bytes) => ("BootNext".to_owned(), Some(bytes.to_vec())),
        }
    }

    /// Makes the same change to the simulated variables.
    fn change(&mut self, change: &Change, data: Option<Vec<u8>>) {
        let numbers = |bytes: &[u8]| {
            bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| u16::from_le_bytes(*pair))
                .collect()
        };
        match (change, data) {
            (Put(number, _), Some(data)) => drop(self.vars.entries.insert(*number, data)),
            (Delete(number), _) => drop(self.vars.entries.remove(number)),
            (Order(_), Some(data)) => self.vars.order = numbers(&data),
            (Next(number), _) => self.vars.next = Some(*number),
            (RawNext(_), _) => self.vars.next = None,
            _ => self.vars.order.clear(),
        }
    }

    fn entry(&self, kind: Kind) -> Vec<u8> {
        let mut hd = self.disk.hd(ESP);
        let file = match kind {
            Kind::Fail => "\\EFI\\T2\\FAIL.EFI",
            Kind::Park => "\\EFI\\T3\\PARK.EFI",
            Kind::Gone => "\\EFI\\T4\\GONE.EFI",
            _ => "\\EFI\\T1\\TAKE.EFI",
        };
        match kind {
            Kind::WrongNumber => hd[4] = 5,
            Kind::WrongUuid => hd[24] ^= 1,
            _ => {}
        }
        let mut data = disk::load_option("script", &hd, file, &[]);
        match kind {
            Kind::Inactive => data[0] = 0,
            Kind::Cut => data.truncate(40),
            _ => {}
        }
        data
    }
}

/// Returns the boot variables in OVMF's store.
fn boot_vars(store: &VariableStore) -> Result<BootVars> {
    let vars = MemVars::new();
    for variable in store.read()? {
        let name = VarName {
            name: variable.name,
            vendor: Guid(variable.vendor),
        };
        let value = bootctl::efivars::Variable {
            attributes: variable.attributes,
            data: variable.data,
        };
        vars.set(&name, &value)?;
    }
    Ok(BootVars::read(&vars)?)
}

/// Returns the result of starting an entry in this machine.
fn starts(disk: &Disk, option: &LoadOption) -> Start {
    let Some(drive) = option.hard_drive() else {
        // The firmware's own entry for the disk leads to the removable path. Its menu and shell
        // never start without a request.
        return Start::TookOver;
    };
    if drive.uuid != disk.uuid(ESP) || drive.number != 1 {
        return Start::NotThere;
    }
    match option.file().as_deref() {
        Some("\\EFI\\T1\\TAKE.EFI") => Start::TookOver,
        Some("\\EFI\\T2\\FAIL.EFI") => Start::Failed,
        Some("\\EFI\\T3\\PARK.EFI") => Start::Returned,
        _ => Start::NotThere,
    }
}

/// Returns the numbers in `BdsDxe: starting Boot0010 "script" from ...`, without that of the menu.
fn started(console: &str) -> Vec<u16> {
    let lines = console.lines().filter(|line| !line.contains(MENU));
    let numbers = lines.filter_map(|line| line.split_once("BdsDxe: starting Boot")?.1.get(..4));
    numbers
        .filter_map(|digits| u16::from_str_radix(digits, 16).ok())
        .collect()
}
