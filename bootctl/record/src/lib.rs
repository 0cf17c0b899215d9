//! The boot record, the event ring, and the decision of the boot guard, as pure functions.
//!
//! The boot guard (a UEFI program) and `bootctl` (on Linux) both call this crate, so that one truth
//! table decides on both sides. Almost everything is pure; [`gpt::read`] and [`hash_range`] read
//! through [`ReadAt`], and nothing writes. Only the reader of partition tables allocates.
//!
//! Layout of the `rayos-state` partition (1 MiB, raw):
//!
//! ```text
//! offset   bytes  what
//!      0    4096  boot record, copy 0            see [`Record`]
//!  64 KiB 896 KiB event ring, 224 blocks of 4096 see [`event`]
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
mod rebuild;
mod record;
mod variables;

pub use decision::{Decision, Request, Tried, Why, decide, passed_over};
pub use guid::Guid;
pub use handoff::{HANDOFF_LEN, Handoff};
pub use layout::{
    BOOT_A_TYPE, BOOT_B_TYPE, DATA_TYPE, ESP_TYPE, PartitionName, RECOVERY_TYPE, ROOT_A_TYPE,
    ROOT_B_TYPE, STATE_TYPE,
};
pub use pair::{COPY_OFFSETS, Copies, Pair, RING_LEN, RING_OFFSET, STATE_LEN};
pub use read_at::{HashError, ReadAt, hash_range};
pub use rebuild::{Evidence, REBUILT_TRIES, rebuild};
pub use record::{
    Choice, GOOD_BUDGET, RECORD_LEN, Reason, Record, RecordError, Release, Slot, SlotState, Status,
    TRIAL_TRIES,
};
pub use seal::Text64;
pub use variables::{EFI_GLOBAL, ENTRY_TAG, LOADER_INTERFACE, VENDOR};
