//! The program as it is used: its verbs, its JSON against the schemas, its units.

#[path = "../installed/mod.rs"]
mod installed;

mod faults;
mod fixture;
mod killed;
mod schemas;
mod slots;
mod unattended;
mod units;
mod verbs;
