//! The hardware of a simulated machine.
//!
//! | module | content |
//! | --- | --- |
//! | `image` | the bytes of a disk; copies share them |
//! | `layout` | the partitions of the disk |
//! | `operation` | the log of operations |
//! | `history` | facts about a machine that do not depend on its disk |
//! | `state` | a machine that is switched off: disk, variables, history |
//! | `disk` | a disk that logs its operations and fails on command |
//! | `variables` | UEFI variables that log their changes and run full on command |
//! | `network` | a server that fails at one request |

pub mod disk;
pub mod history;
pub mod image;
pub mod layout;
pub mod network;
pub mod operation;
pub mod state;
pub mod variables;
