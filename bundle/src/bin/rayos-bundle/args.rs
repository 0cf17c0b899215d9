//! The command line: one struct for each verb.

use crate::examples::{EXTERNAL_SIGNATURE, MINIMAL_RECIPE, RELEASE};
use crate::files::is_dash;
use bundle::ImageRole;
use bundle::recipe::MAX_LEVEL;
use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use cli::ExitStatus;
use cli::generate::Generate;
use cli::quantity::Size;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Create, sign, check and extract RayOS bundles.
#[derive(Debug, Parser)]
#[command(
    name = "rayos-bundle",
    version,
    arg_required_else_help = true,
    after_help = exit_codes(),
    after_long_help = format!("{}\n\n{RELEASE}", exit_codes())
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

fn exit_codes() -> String {
    ExitStatus::help(&[
        ExitStatus::Success,
        ExitStatus::Failed,
        ExitStatus::Usage,
        ExitStatus::Refused,
    ])
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Keygen(Keygen),
    Create(Create),
    Delta(Delta),
    Sign(Sign),
    Digest(DigestArgs),
    Attach(Attach),
    Verify(Verify),
    Inspect(Inspect),
    List(List),
    Extract(Extract),
    Diff(Diff),
    CatManifest(CatManifest),
    Compare(Compare),
    TrustSign(TrustSign),
    TrustUpdate(TrustUpdate),
    TrustLink(TrustLink),
    TrustBlock(TrustBlock),
    EmbedTrust(EmbedTrust),
    #[command(hide = true)]
    Generate(Generate),
}

/// Ends the program with a usage error if JSON and the bundle would both go to standard output.
pub(crate) fn check_json(json: bool, output: &Path) {
    if json && is_dash(output) {
        Cli::command()
            .error(
                clap::error::ErrorKind::ArgumentConflict,
                "--json cannot be used with a bundle on standard output",
            )
            .exit();
    }
}

/// Create a signing key: NAME.key (PKCS#8 PEM, mode 0600) and NAME.pub (SPKI PEM).
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// Name of the two files, without extension; existing files are not overwritten
    #[arg(short, long, alias = "out", value_name = "NAME")]
    pub(crate) output: PathBuf,
    /// Encrypt the private key with a passphrase, which is asked for at the terminal
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Encrypt the private key with the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Create a bundle from a recipe, bundle.toml.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("signature").required(true).args(["key", "unsigned"])),
    after_long_help = MINIMAL_RECIPE
)]
pub(crate) struct Create {
    /// The recipe; - for standard input. Paths in it are relative to it, or to the current
    /// directory
    #[arg(value_name = "BUNDLE.TOML")]
    pub(crate) recipe: PathBuf,
    #[command(flatten)]
    pub(crate) signature: SignatureArgs,
    /// The bundle to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// zstd level, 1 to 19; overrides the recipe, whose default is 9
    #[arg(long, value_parser = level_parser())]
    pub(crate) level: Option<i32>,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
    /// Creation time in seconds since 1970, if the recipe has none
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS")]
    pub(crate) source_date_epoch: Option<String>,
    /// Describe the bundle as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Create a delta bundle: the difference of a release from an older one, for machines that run
/// exactly the older one.
///
/// It holds the boot and the root image of NEW. Recovery and guard are left out, because an update
/// does not write them. OLD and NEW are verified against --trust; without it, each must be signed
/// by one of the keys that sign the delta.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("signature").required(true).args(["key", "unsigned"])))]
#[command(mut_arg("unsigned", |arg| arg.requires("trust")))]
pub(crate) struct Delta {
    /// Bundle of the release that the machines run
    pub(crate) old: PathBuf,
    /// Bundle of the release to update to
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) signature: SignatureArgs,
    /// Public key (PEM) or trust file (TOML) to verify OLD and NEW against, instead of the signing
    /// keys
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// The delta bundle to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// zstd level, 1 to 19
    #[arg(long, default_value_t = bundle::delta::DEFAULT_LEVEL, value_parser = level_parser())]
    pub(crate) level: i32,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
    /// Describe the delta bundle as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn level_parser() -> clap::builder::RangedI64ValueParser<i32> {
    clap::value_parser!(i32).range(1..=i64::from(MAX_LEVEL))
}

/// Inspect a finished bundle, print what it is, and add signatures, in place.
///
/// A bundle with a wrong digest is not signed. The payload is read, and not rewritten.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Private key to sign with; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
    #[command(flatten)]
    pub(crate) inspection: InspectionArgs,
}

/// How a private key is decrypted.
#[derive(Args, Debug)]
pub(crate) struct PassphraseArg {
    /// File whose first line is the passphrase of an encrypted private key; /dev/fd/N for a file
    /// descriptor [default: ask at the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// How a bundle is inspected before it is signed.
#[derive(Args, Debug)]
pub(crate) struct InspectionArgs {
    /// Do not read the payload. What is signed is then known by its manifest alone
    #[arg(long)]
    pub(crate) skip_payload: bool,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
}

/// Inspect a bundle, print what it is, and write the 512 bytes to be signed, for a key that is kept
/// elsewhere.
#[derive(Args, Debug)]
#[command(after_long_help = EXTERNAL_SIGNATURE)]
pub(crate) struct DigestArgs {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) inspection: InspectionArgs,
}

/// Add a signature that was made elsewhere: 64 raw bytes, of what `digest` wrote.
#[derive(Args, Debug)]
#[command(after_long_help = EXTERNAL_SIGNATURE)]
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

/// Verify the signatures and every byte of a bundle.
///
/// Without --base, the stored bytes of a delta bundle are verified, but not what they decode to.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: RequiredTrust,
    #[command(flatten)]
    pub(crate) base: BaseArg,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
    /// Describe the bundle as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Describe a bundle. Without --trust its signatures are not verified.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: OptionalTrust,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the images of a bundle: role, size, stored size, number of chunks, SHA-256.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: OptionalTrust,
    /// List every chunk too: offset in the image, length, kind, stored length, SHA-256
    #[arg(long)]
    pub(crate) chunks: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show how much of a bundle is new against an older one, by their chunk indexes.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The older bundle; - for standard input
    pub(crate) old: PathBuf,
    /// The newer bundle; - for standard input
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) trust: OptionalTrust,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the manifest of a bundle, unchanged (CBOR).
#[derive(Args, Debug)]
pub(crate) struct CatManifest {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: OptionalTrust,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// List the chunks of an image that differ on a device or in a file: offset in the image and
/// length.
///
/// The exit code is 3 if any chunk differs.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Device or file to compare with
    #[arg(long, value_name = "DEVICE")]
    pub(crate) against: PathBuf,
    /// Image: boot, root, recovery or guard
    #[arg(long, value_name = "ROLE", default_value = "root")]
    pub(crate) image: ImageRole,
    /// Offset of the image on the device; 4096 for boot and recovery partitions, which begin with
    /// the seal
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub(crate) offset: Size,
    #[command(flatten)]
    pub(crate) trust: OptionalTrust,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Extract an image of a bundle.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("access").required(true).args(["trust", "insecure_no_verify"])))]
pub(crate) struct Extract {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Skip signature verification
    #[arg(long)]
    pub(crate) insecure_no_verify: bool,
    #[command(flatten)]
    pub(crate) base: BaseArg,
    /// Image: boot, root, recovery or guard
    #[arg(long, value_name = "ROLE")]
    pub(crate) image: ImageRole,
    /// File to create or replace, with holes for zeroes; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) workers: WorkersArg,
}

/// Sign a trust file that contains its keys, so that it can replace an older one.
#[derive(Args, Debug)]
pub(crate) struct TrustSign {
    /// The trust file; signatures are appended to it as comments
    pub(crate) file: PathBuf,
    /// Private key to sign with, one that the older trust file names; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
}

/// Replace a trust file by a newer one, if enough keys of the current one have signed it.
#[derive(Args, Debug)]
pub(crate) struct TrustUpdate {
    /// The trust file to replace
    #[arg(long, value_name = "FILE")]
    pub(crate) current: PathBuf,
    /// The newer trust file, signed by `trust-sign`
    #[arg(long, value_name = "FILE")]
    pub(crate) new: PathBuf,
}

/// Sign a link from one trust file to the next one, so that machines follow to its keys.
///
/// A link needs the signatures of as many keys as the thresholds of both trust files demand. Further
/// signatures can be added by further calls. A bundle carries the links that its recipe names as
/// trust_links; machines keep them.
#[derive(Args, Debug)]
pub(crate) struct TrustLink {
    /// The trust file that the machines have
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The next trust file, with a higher key epoch
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// Private key to sign with; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
    /// File of links; it is created, or the link is added at its end
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Write a trust file in binary form, 2048 bytes, as it is embedded in the guard.
#[derive(Args, Debug)]
pub(crate) struct TrustBlock {
    /// Public key (PEM) or trust file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Embed trusted keys in a boot guard: replace the content of its section .trust.
#[derive(Args, Debug)]
pub(crate) struct EmbedTrust {
    /// The guard as it was built
    #[arg(value_name = "GUARD.EFI")]
    pub(crate) guard: PathBuf,
    /// Public key (PEM) or trust file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// The guard with embedded keys, a file to create or replace; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Keys to sign with.
#[derive(Args, Debug)]
pub(crate) struct SignatureArgs {
    /// Private key to sign with; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Do not sign; the bundle is refused until `sign` or `attach` adds a signature
    #[arg(long)]
    pub(crate) unsigned: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
}

/// Trust, if signatures are to be verified.
#[derive(Args, Debug)]
pub(crate) struct OptionalTrust {
    /// Public key (PEM) or trust file (TOML) to verify against; without it, signatures are not
    /// verified
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

/// Trust to verify against.
#[derive(Args, Debug)]
pub(crate) struct RequiredTrust {
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Purpose that the signatures must be valid for
    #[arg(long, value_enum, default_value_t = PurposeName::Release)]
    pub(crate) purpose: PurposeName,
}

/// Purpose of a bundle.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PurposeName {
    /// Installing or booting a release
    Release,
    /// Booting a recovery image
    Recovery,
}

/// The base of a delta bundle.
#[derive(Args, Debug)]
pub(crate) struct BaseArg {
    /// For a delta bundle: bundle of the release that it is based on, verified in the same way
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) base: Option<PathBuf>,
}

/// Number of threads.
#[derive(Args, Debug)]
pub(crate) struct WorkersArg {
    /// Number of threads; default: one for each processor
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

impl WorkersArg {
    /// Returns the number of threads.
    pub(crate) fn count(&self) -> usize {
        self.jobs
            .map_or_else(bundle::parallel::default_workers, NonZeroUsize::get)
    }
}
