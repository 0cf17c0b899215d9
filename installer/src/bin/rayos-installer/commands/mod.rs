//! The verbs: each takes its arguments, calls the library and prints the result.

mod apply;
mod files;
mod image;
mod interactive;
mod media;
mod plan;
mod repair_esp;
