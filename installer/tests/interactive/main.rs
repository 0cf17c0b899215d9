//! The interactive installer: its screens as text, its decisions, and questions and answers.

mod machine;
mod plain;
mod safety;
mod screens;
