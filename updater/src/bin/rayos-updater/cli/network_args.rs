//! Where a bundle comes from, who is trusted, and how the network is dealt with.

use super::now;
use anyhow::{Context as _, Result};
use clap::Args;
use seal::Trust;
use std::path::PathBuf;
use std::time::Duration;
use updater::source::Retries;
use updater::source::{AnySource, HttpOptions, Location, Rate, Timeouts};

/// A bundle, and how to reach it.
#[derive(Args)]
pub(super) struct Network {
    /// A file, - for standard input, or a URL (http or https)
    #[arg(value_name = "BUNDLE")]
    bundle: Location,
    #[command(flatten)]
    reaching: Reaching,
}

impl Network {
    pub(super) fn trust(&self) -> Result<Trust> {
        self.reaching.trust()
    }

    pub(super) fn source(&self) -> Result<AnySource> {
        self.reaching.source(&self.bundle)
    }

    /// Another bundle, reached in the same way.
    pub(super) fn other(&self, bundle: &Location) -> Result<AnySource> {
        self.reaching.source(bundle)
    }

    pub(super) fn retries(&self) -> Retries {
        self.reaching.retries()
    }
}

/// How to reach bundles, and whom to trust.
#[derive(Args)]
#[command(next_help_heading = "Source")]
pub(super) struct Reaching {
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// Trust only these certificates (PEM) for https, and not those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Fetch at most this many bytes per second, such as 500K or 2M; the download takes as much
    /// longer
    #[arg(long, value_name = "RATE")]
    limit_rate: Option<Rate>,
    /// How many failures in a row are met by a new request, after pauses of 0.5 s to 30 s
    #[arg(long, value_name = "N", default_value_t = 7)]
    retries: u32,
    /// Longest time without data; as long as it, the average must not be below 1024 bytes/s
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    time_out: u64,
}

impl Reaching {
    pub(super) fn trust(&self) -> Result<Trust> {
        Ok(bundle::trust::load(&self.trust)?)
    }

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
        let max_failures = self.retries.saturating_add(1);
        Retries {
            max_failures,
            seed: u64::from(std::process::id()) ^ now(),
            ..Retries::default()
        }
    }
}
