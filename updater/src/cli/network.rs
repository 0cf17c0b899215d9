//! Where a bundle comes from, who is trusted, and how the network is dealt with.

use super::now;
use anyhow::{Context as _, Result};
use clap::Args;
use seal::Trust;
use std::path::PathBuf;
use updater::fetch::Retries;
use updater::source::{AnySource, HttpOptions, Location, Rate};

#[derive(Args)]
pub(super) struct Network {
    /// A file, - for standard input, or a URL (http or https)
    #[arg(value_name = "BUNDLE")]
    bundle: Location,
    /// Who is trusted: a trust file (TOML) or one public key (PEM)
    #[arg(long, default_value = "/etc/rayos/trust.toml", value_name = "FILE")]
    trust: PathBuf,
    /// Trust only these certificates (PEM) for https, and not those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Fetch at most this many bytes per second, such as 500K or 2M; the download takes as much longer
    #[arg(long, value_name = "RATE")]
    limit_rate: Option<Rate>,
    /// Failures in a row that are met by a new request, after 0.5 s and up to 30 s
    #[arg(long, value_name = "N", default_value_t = 7)]
    retries: u32,
}

impl Network {
    pub(super) fn trust(&self) -> Result<Trust> {
        Ok(bundle::trust::load(&self.trust)?)
    }

    pub(super) fn source(&self) -> Result<AnySource> {
        let ca_pem = match &self.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let options = HttpOptions { ca_pem, limit: self.limit_rate, ..HttpOptions::default() };
        Ok(AnySource::new(&self.bundle, options)?)
    }

    pub(super) fn retries(&self) -> Retries {
        let in_a_row = self.retries.saturating_add(1);
        Retries { in_a_row, seed: u64::from(std::process::id()) ^ now() }
    }
}
