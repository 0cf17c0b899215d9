//! A machine that is cut off at every write.
//!
//! The real installer, updater, boot control and boot guard run on a disk in memory that keeps a
//! list of what was done to it. From that list every state is derived in which a power cut can
//! leave the machine; each is switched on again and must come to the same end, judged by a reader
//! of its own.
//!
//! ```text
//! image      the bytes of a disk; copies are cheap
//! journal    what was done, in order
//! disk       the disk that keeps the list, and fails on command
//! vars       EFI variables that do the same
//! network    a server that goes wrong at one request
//! trouble    what goes wrong besides the power
//! state      what survives a cut, and what an onlooker remembers
//! other      another system on the same disk
//! oracle     the reader that judges: partition table, FAT, boot record, load options
//! firmware   the boot manager, and the machine that the real guard finds
//! world      a machine from power-on to rest
//! owner      what its system does because its owner wants it
//! scenario   what is done to it
//! cut        where the power fails, and what of the last writes is kept
//! trace      a run that is cut off, and the machine as each cut leaves it
//! matrix     all cuts of a scenario, and what came of them
//! sweep      the same for everything else that goes wrong
//! reduce     a failing case made smaller
//! ```

pub mod cut;
pub mod disk;
pub mod firmware;
pub mod image;
pub mod journal;
pub mod matrix;
pub mod network;
pub mod oracle;
pub mod other;
mod owner;
pub mod place;
pub mod reduce;
pub mod releases;
pub mod scenario;
pub mod state;
mod sweep;
pub mod trace;
pub mod trouble;
pub mod vars;
pub mod world;
