//! Installation beside other systems, on tables that other tools have written: what was there
//! stays, and those tools report no problem.

mod added;
mod any_table;
mod cases;
mod foreign_table;
mod selection;
#[path = "../tools/mod.rs"]
mod tools;
