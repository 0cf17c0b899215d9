//! Terminals of the interactive installer: the one that started the program, and others by path.
//!
//! | module | holds |
//! | --- | --- |
//! | `console` | one terminal: raw mode, output, decoded input |
//! | `reader` | a thread that reads a terminal |

mod console;
mod reader;

pub(crate) use console::{Console, Style};
pub(crate) use reader::{Input, read};
