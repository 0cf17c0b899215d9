//! The structure of the packages, read from their sources: modules, imports, lengths of files.
//!
//! Sources are read as text, not compiled: `use` declarations and paths that begin with `crate`,
//! `self`, `super` or a child module are resolved to modules, through re-exports. Code for tests
//! (`#[cfg(test)]`) is left out. Macros are not expanded.
//!
//! | module | content |
//! | --- | --- |
//! | `allowed` | the packages that each package may depend on |
//! | `code` | a source without comments, texts and test modules; its number of lines of code |
//! | `drawing` | the module graph as text, in docs/architecture.md |
//! | `graph` | imports between modules and between rooms, circles |
//! | `imports` | the paths in a source |
//! | `package` | the packages, their dependencies, their module trees |

pub mod allowed;
pub mod code;
pub mod drawing;
pub mod graph;
mod imports;
pub mod package;
