//! The boot record, the event ring, and the decision of the boot guard.
//!
//! The boot guard (a UEFI program) and `bootctl` (on Linux) both use this crate, so that the same
//! code decides on both sides. Almost everything is pure. [`gpt::read`] and [`hash_range`] read
//! through [`ReadAt`]; nothing writes. Only the reader of partition tables allocates.
//!
//! | module | holds |
//! | --- | --- |
//! | `decision` | [`decide`]: what the guard starts next |
//! | [`event`] | the event ring |
//! | [`gpt`] | the reader of partition tables |
//! | `guid` | [`Guid`] |
//! | `handoff` | [`Handoff`]: the report of the guard to the started system |
//! | `layout` | [`PartitionName`], the type GUIDs, and the layout of the state partition |
//! | `pair` | [`Pair`]: the two copies of the record |
//! | `read_at` | [`ReadAt`] and [`hash_range`] |
//! | `reason` | [`Reason`]: why a slot is not started |
//! | `rebuild` | [`rebuild()`]: a new record when both copies are lost |
//! | `record` | [`Record`]: the boot record |
//! | `record_error` | [`RecordError`] |
//! | `seq` | [`MAX_SEQ`] |
//! | `slot` | [`Slot`] and [`Choice`] |
//! | `slot_state` | [`SlotState`]: the part of the record about one slot |
//! | `variables` | GUIDs in EFI variables, and the variable about watchdogs |
//!
//! Layout of the `rayos-state` partition (1 MiB, without a file system):
//!
//! ```text
//! offset   bytes  what
//!      0    4096  boot record, copy 0            see [`Record`]
//!  16 KiB  48 KiB trust links, copy 0            see [`seal::Link`]
//!  64 KiB 896 KiB event ring, 224 blocks of 4096 see [`event`]
//! 960 KiB  48 KiB trust links, copy 1
//! 1020 KiB   4096  boot record, copy 1
//! ```
#![no_std]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod decision;
pub mod event;
pub mod gpt;
mod guid;
mod handoff;
mod layout;
mod pair;
mod read_at;
mod reason;
mod rebuild;
mod record;
mod record_error;
mod seq;
mod slot;
mod slot_state;
mod variables;

pub use decision::{Decision, Request, Tried, Why, decide, passed_over};
pub use guid::Guid;
pub use handoff::{HANDOFF_LEN, Handoff};
pub use layout::{
    BOOT_A_TYPE, BOOT_B_TYPE, COPY_OFFSETS, DATA_TYPE, ESP_TYPE, LINKS_LEN, LINKS_OFFSETS,
    PartitionName, RECOVERY_TYPE, RING_LEN, RING_OFFSET, ROOT_A_TYPE, ROOT_B_TYPE, STATE_LEN,
    STATE_TYPE,
};
pub use pair::{Copies, Pair};
pub use read_at::{HashError, ReadAt, hash_range};
pub use reason::Reason;
pub use rebuild::{Evidence, REBUILT_TRIES, rebuild};
pub use record::{RECORD_LEN, Record};
pub use record_error::RecordError;
pub use seal::Text64;
pub use seq::MAX_SEQ;
pub use slot::{Choice, Slot};
pub use slot_state::{GOOD_BUDGET, Release, SlotState, Status, TRIAL_TRIES};
pub use variables::{
    EFI_GLOBAL, ENTRY_TAG, LOADER_INTERFACE, VENDOR, WATCHDOG_NOT_WANTED, WATCHDOG_VARIABLE,
};
