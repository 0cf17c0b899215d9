//! The arguments about bundles: location, trusted keys, network.

use anyhow::{Context as _, Result};
use clap::Args;
use cli::clock::now;
use seal::Trust;
use std::path::PathBuf;
use std::time::Duration;
use updater::source::{AnySource, HttpOptions, Location, Rate, Retries, Timeouts};

/// A bundle, and the options of fetching it.
#[derive(Args)]
pub(super) struct BundleArgs {
    /// A file, - for standard input, or a URL (http or https)
    #[arg(value_name = "BUNDLE")]
    bundle: Location,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

impl BundleArgs {
    /// Returns the source of the bundle.
    pub(super) fn source(&self) -> Result<AnySource> {
        self.network.source(&self.bundle)
    }
}

/// The options of fetching and trusting bundles.
#[derive(Args)]
#[command(next_help_heading = "Source")]
pub(super) struct NetworkArgs {
    /// Trusted keys: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// Certificates (PEM) to trust for https instead of those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Maximum bytes per second of a download, such as 500K or 2M
    #[arg(long, value_name = "RATE")]
    limit_rate: Option<Rate>,
    /// Maximum number of retries after consecutive failures, with pauses of 0.5 s to 30 s
    #[arg(long, value_name = "N", default_value_t = 7)]
    retries: u32,
    /// Maximum time without data; over the same time the average must be at least 1024 bytes/s
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    time_out: u64,
}

impl NetworkArgs {
    /// Returns the trusted keys. *Reads.*
    pub(super) fn trust(&self) -> Result<Trust> {
        Ok(bundle::trust::load(&self.trust)?)
    }

    /// Returns the source of a bundle.
    pub(super) fn source(&self, bundle: &Location) -> Result<AnySource> {
        let ca_pem = match &self.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let time_out = Duration::from_secs(self.time_out);
        let timeouts = Timeouts {
            stall: time_out,
            window: time_out,
            ..Timeouts::default()
        };
        let options = HttpOptions {
            ca_pem,
            timeouts,
            limit: self.limit_rate,
        };
        Ok(AnySource::new(bundle, options)?)
    }

    pub(super) fn retries(&self) -> Retries {
        Retries {
            max_failures: self.retries.saturating_add(1),
            seed: u64::from(std::process::id()) ^ now(),
            ..Retries::default()
        }
    }
}
