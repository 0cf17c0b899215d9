//! The simulated machine: deterministic simulation of power cuts and faults.
//!
//! The real installer, updater, boot control and boot guard run on a disk and variables in memory.
//! The disk logs its operations. From that log every state is derived in which a power cut can
//! leave the machine. Each such machine is switched on again, runs its workload to the end without
//! help, and is checked by an oracle that shares no code with the programs.
//!
//! | word | meaning |
//! | --- | --- |
//! | scenario | an initial state, a workload, and the state that it must end in |
//! | workload | the task of the machine's owner, such as an update |
//! | operation | a write, a flush, a change of a variable, or an event outside of the machine |
//! | trace | the operations of one run, with the state after each |
//! | power cut | the end of a trace: some of its operations, or parts of them, are lost |
//! | fault | anything else that goes wrong: a write, a read, a request, a full variable store |
//! | assertion | a condition that every run must meet; the first failed one is a violation |
//! | oracle | reads a disk independently of the programs |
//!
//! | module | content |
//! | --- | --- |
//! | `hardware` | disk, variables, network, and the log of operations |
//! | `releases` | signed releases of a few KiB |
//! | `oracle` | partition table, FAT, boot record and load options, read independently |
//! | `other_system` | another operating system on the same disk |
//! | `power_cut` | the kinds of power cuts, and the machine after each |
//! | `fault` | faults other than power cuts |
//! | `machine` | firmware, guard and system: a machine from power-on until it rests |
//! | `scenario` | the scenarios and their initial states |
//! | `explore` | all power cuts and faults of a scenario, and their results |

pub mod explore;
pub mod fault;
pub mod hardware;
pub mod machine;
pub mod oracle;
pub mod other_system;
pub mod power_cut;
pub mod releases;
pub mod scenario;
