//! The command line: one struct for each verb.

use crate::verbs;
use anyhow::Result;
use bundle::ImageRole;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Make, sign, check and open RayOS releases.
///
/// Exit codes: 0 done; 1 failed; 2 usage; 3 refused: signature, digest or format.
#[derive(Debug, Parser)]
#[command(name = "rayos-bundle", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Keygen(Keygen),
    Create(Create),
    Sign(Sign),
    Digest(DigestArgs),
    Attach(Attach),
    Verify(Verify),
    Inspect(Inspect),
    Extract(Extract),
    TrustBlock(TrustBlock),
    EmbedTrust(EmbedTrust),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Keygen(args) => verbs::keygen(&args),
            Verb::Create(args) => verbs::create(&args),
            Verb::Sign(args) => verbs::sign(&args),
            Verb::Digest(args) => verbs::digest(&args),
            Verb::Attach(args) => verbs::attach(&args),
            Verb::Verify(args) => verbs::verify(&args),
            Verb::Inspect(args) => verbs::inspect(&args),
            Verb::Extract(args) => verbs::extract(&args),
            Verb::TrustBlock(args) => verbs::trust_block(&args),
            Verb::EmbedTrust(args) => verbs::embed_trust(&args),
        }
    }
}

/// Make a signing key: NAME.key (PKCS#8 PEM, mode 0600) and NAME.pub (SPKI PEM).
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// Where to write, without the endings; existing files are not overwritten
    #[arg(long, value_name = "NAME")]
    pub(crate) out: PathBuf,
}

/// Make a bundle of what a bundle.toml describes.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The description; paths in it are relative to it
    #[arg(value_name = "BUNDLE.TOML")]
    pub(crate) recipe: PathBuf,
    /// Private key to sign with; may be given several times
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    pub(crate) key: Vec<PathBuf>,
    /// Do not sign: nothing accepts the bundle until `sign` or `attach` did
    #[arg(long, conflicts_with = "key")]
    pub(crate) unsigned: bool,
    /// The bundle to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// zstd level instead of the description's
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(bundle::recipe::MAX_LEVEL)))]
    pub(crate) level: Option<i32>,
    #[command(flatten)]
    pub(crate) work: Work,
    /// Seconds since 1970 for a description that does not say when the release was made
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    pub(crate) source_date_epoch: Option<String>,
    /// Show what was made as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Add a signature to a finished bundle.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Private key to sign with; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
}

/// Write the 512 bytes that are to be signed, for a key that is kept elsewhere.
#[derive(Args, Debug)]
pub(crate) struct DigestArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Where to write them; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// Add a signature made elsewhere, 64 raw bytes over what `digest` wrote.
#[derive(Args, Debug)]
pub(crate) struct Attach {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Public key of the signature (SPKI PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: PathBuf,
    /// The signature; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: PathBuf,
}

/// Check signatures and every byte of a bundle.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) work: Work,
    /// Show the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a bundle says of itself; without --trust nobody has vouched for it.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Show it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write an image of a bundle to a file.
#[derive(Args, Debug)]
pub(crate) struct Extract {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE", required_unless_present = "insecure_no_verify")]
    pub(crate) trust: Option<PathBuf>,
    /// Accept a bundle whoever made it
    #[arg(long, conflicts_with = "trust")]
    pub(crate) insecure_no_verify: bool,
    /// Which image: boot, root, recovery or guard
    #[arg(long, value_name = "ROLE")]
    pub(crate) image: ImageRole,
    /// Where to write it: a file that is made or replaced, zeroes becoming holes
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Write the binary form of a trust file, 2048 bytes, as the guard has it built in.
#[derive(Args, Debug)]
pub(crate) struct TrustBlock {
    /// Public key (PEM) or trust file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Where to write it; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Build trusted keys into a boot guard: replaces the contents of its section .trust.
#[derive(Args, Debug)]
pub(crate) struct EmbedTrust {
    /// The guard as it was built
    #[arg(value_name = "GUARD.EFI")]
    pub(crate) guard: PathBuf,
    /// Public key (PEM) or trust file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Where to write the guard with its keys
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Whom to trust, for what.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// What the bundle is to be good for
    #[arg(long, value_enum, default_value_t = PurposeName::Release)]
    pub(crate) purpose: PurposeName,
}

/// What a seal is checked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PurposeName {
    /// Installing or starting a release
    Release,
    /// Starting a recovery image
    Recovery,
}

/// How to work.
#[derive(Args, Debug)]
pub(crate) struct Work {
    /// Threads that compress or decompress; default: one for each processor
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,
}
