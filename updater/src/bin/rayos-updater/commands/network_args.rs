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
    /// Maximum time of the whole download, pauses included: seconds, or a number with m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    deadline: Duration,
}

/// Parses a time such as `90`, `30m`, `24h` or `7d`, from a second to a year.
fn parse_time(text: &str) -> Result<Duration, String> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
    const MAX: u64 = 366 * 86400;
    let unit = UNITS
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1));
    let parsed = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds));
    parsed
        .filter(|seconds| (1..=MAX).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("expected 1 s to {MAX} s: a number, and s, m, h or d"))
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
            deadline: self.deadline,
            ..Retries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1_800));
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("7d"), Ok(604_800));
        for refused in [
            "",
            "h",
            "0",
            "-1",
            "1w",
            "1.5h",
            "367d",
            "18446744073709551615d",
        ] {
            assert!(seconds(refused).is_err(), "{refused}");
        }
    }
}
