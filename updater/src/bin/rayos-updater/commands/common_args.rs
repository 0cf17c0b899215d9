//! The arguments of every verb that takes long.

use anyhow::Result;
use clap::Args;
use tokio::runtime::{Builder, Runtime};
use updater::terminal::{ProgressStyle, Terminal};

#[derive(Args)]
pub(super) struct CommonArgs {
    /// Number of threads that read, hash, decompress and write; by default the number of
    /// processors. Each takes memory for a few chunks
    #[arg(long, value_name = "N", help_heading = "Work")]
    jobs: Option<usize>,
    /// Print the result as JSON on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// How to show progress on standard error
    #[arg(
        long,
        value_enum,
        default_value_t = ProgressStyle::Auto,
        value_name = "HOW",
        help_heading = "Output"
    )]
    progress: ProgressStyle,
}

impl CommonArgs {
    /// Returns the number of threads.
    pub(super) fn jobs(&self) -> usize {
        self.jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    pub(super) fn terminal(&self) -> Terminal {
        Terminal::new(self.progress)
    }

    pub(super) fn runtime(&self) -> Result<Runtime> {
        Ok(Builder::new_multi_thread()
            .worker_threads(self.jobs().max(2))
            .enable_all()
            .build()?)
    }
}
