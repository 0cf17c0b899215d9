//! The command line: one struct for each verb.

use crate::commands::{create, delta, inspect, sign, trust, verify};
use crate::examples::{ELSEWHERE, LEAST_RECIPE, RELEASE};
use crate::files::is_dash;
use anyhow::Result;
use bundle::ImageRole;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// Make, sign, check and open RayOS releases.
///
/// Exit codes: 0 done; 1 failed; 2 usage; 3 refused: signature, digest or format.
#[derive(Debug, Parser)]
#[command(name = "rayos-bundle", version, arg_required_else_help = true, after_long_help = RELEASE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
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
    TrustBlock(TrustBlock),
    EmbedTrust(EmbedTrust),
    #[command(hide = true)]
    Generate(Generate),
}

/// The command line as data, for completions and man pages.
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Keygen(args) => sign::keygen(&args),
            Verb::Create(args) => create::create(&args),
            Verb::Delta(args) => delta::delta(&args),
            Verb::Sign(args) => sign::sign(&args),
            Verb::Digest(args) => sign::digest(&args),
            Verb::Attach(args) => sign::attach(&args),
            Verb::Verify(args) => verify::verify(&args),
            Verb::Inspect(args) => inspect::inspect(&args),
            Verb::List(args) => inspect::list(&args),
            Verb::Extract(args) => verify::extract(&args),
            Verb::Diff(args) => inspect::diff(&args),
            Verb::CatManifest(args) => inspect::cat_manifest(&args),
            Verb::Compare(args) => inspect::compare(&args),
            Verb::TrustSign(args) => trust::trust_sign(&args),
            Verb::TrustUpdate(args) => trust::trust_update(&args),
            Verb::TrustBlock(args) => trust::trust_block(&args),
            Verb::EmbedTrust(args) => trust::embed_trust(&args),
            Verb::Generate(args) => inspect::generate(&args),
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

/// Two results cannot both go to standard output: ends the program like any other misuse of the
/// command line.
pub(crate) fn refuse_json(json: bool, output: &Path) {
    if json && is_dash(output) {
        let what = "--json cannot be used where the bundle goes to standard output";
        command()
            .error(clap::error::ErrorKind::ArgumentConflict, what)
            .exit();
    }
}

/// Make a bundle of what a bundle.toml describes.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("signature").required(true).args(["key", "unsigned"])), after_long_help = LEAST_RECIPE)]
pub(crate) struct Create {
    /// The description; paths in it are relative to it, or to the current directory if it is - for
    /// standard input
    #[arg(value_name = "BUNDLE.TOML")]
    pub(crate) recipe: PathBuf,
    /// Private key to sign with; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Do not sign: nothing accepts the bundle until `sign` or `attach` did
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// The bundle to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// zstd level, 1 to 19, instead of the description's, which is 9 unless it says otherwise
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

/// Make a delta bundle: what is new in a release against an older one, for machines that run
/// exactly that older one.
///
/// It holds the boot and the root image of NEW. Recovery and guard are left out: an update leaves
/// them as they are. OLD and NEW are verified against --trust, or, without it, must be signed by
/// one of the keys that sign the delta.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("signature").required(true).args(["key", "unsigned"])))]
pub(crate) struct Delta {
    /// The bundle of the release that machines run
    pub(crate) old: PathBuf,
    /// The bundle of the release to update to
    pub(crate) new: PathBuf,
    /// Private key to sign with; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Do not sign: nothing accepts the bundle until `sign` or `attach` did
    #[arg(long, requires = "trust")]
    pub(crate) unsigned: bool,
    /// Public key (PEM) or trust file (TOML) to verify OLD and NEW against, instead of the signing
    /// keys
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// The delta bundle to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// zstd level, 1 to 19
    #[arg(long, default_value_t = bundle::delta::DEFAULT_LEVEL,
        value_parser = clap::value_parser!(i32).range(1..=i64::from(bundle::recipe::MAX_LEVEL)))]
    pub(crate) level: i32,
    #[command(flatten)]
    pub(crate) work: Work,
    /// Show what was made as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Add signatures to a finished bundle; its payload is not written again.
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
#[command(after_long_help = ELSEWHERE)]
pub(crate) struct DigestArgs {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Where to write them; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// Add a signature made elsewhere, 64 raw bytes over what `digest` wrote.
#[derive(Args, Debug)]
#[command(after_long_help = ELSEWHERE)]
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
///
/// Exit code 3 if it is refused. Of a delta bundle the stored bytes are checked, and without --base
/// not what they decode to.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) base: BaseOption,
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
    #[command(flatten)]
    pub(crate) trust: TrustOption,
    /// Show it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the images of a bundle: role, size, stored size, number of chunks, SHA-256.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: TrustOption,
    /// List every chunk too: offset in the image, length, kind, stored length, SHA-256
    #[arg(long)]
    pub(crate) chunks: bool,
    /// Show it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what is new in a bundle against an older one, by their indexes.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The older bundle; - for standard input
    pub(crate) old: PathBuf,
    /// The newer bundle; - for standard input
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) trust: TrustOption,
    /// Show it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the manifest as it stands in the bundle (CBOR).
#[derive(Args, Debug)]
pub(crate) struct CatManifest {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) trust: TrustOption,
    /// Where to write it; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// Show which chunks of a device or file differ from an image of a bundle: offset and length in the
/// image, one a line.
///
/// Exit code 3 if any does.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Device or file to compare with
    #[arg(long, value_name = "DEVICE")]
    pub(crate) against: PathBuf,
    /// Which image: boot, root, recovery or guard
    #[arg(long, value_name = "ROLE", default_value = "root")]
    pub(crate) image: ImageRole,
    /// Where the image begins on the device, in bytes; 4096 for boot and recovery partitions, which
    /// begin with the seal
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) trust: TrustOption,
    #[command(flatten)]
    pub(crate) work: Work,
    /// Show the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write completions for bash, fish and zsh, and man pages, into a folder.
#[derive(Args, Debug)]
pub(crate) struct Generate {
    /// The folder
    pub(crate) folder: PathBuf,
}

/// Sign a trust file that holds its keys itself, so that it can replace an older one.
#[derive(Args, Debug)]
pub(crate) struct TrustSign {
    /// The trust file; signatures are appended to it as comments
    pub(crate) file: PathBuf,
    /// Private key to sign with, one that the older trust names; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
}

/// Replace a trust file by a newer one, if as many keys of the older one signed it as that asks
/// for.
#[derive(Args, Debug)]
pub(crate) struct TrustUpdate {
    /// The trust file to be replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) current: PathBuf,
    /// The newer trust file, signed by `trust-sign`
    #[arg(long, value_name = "FILE")]
    pub(crate) new: PathBuf,
}

/// Whom to trust, if anybody.
#[derive(Args, Debug)]
pub(crate) struct TrustOption {
    /// Public key (PEM) or trust file (TOML) to verify against; without it nobody has vouched for
    /// what is shown
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

/// Write an image of a bundle to a file.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("access").required(true).args(["trust", "insecure_no_verify"])))]
pub(crate) struct Extract {
    /// The bundle; - for standard input
    pub(crate) bundle: PathBuf,
    /// Public key (PEM) or trust file (TOML) to verify against
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Accept a bundle whoever made it
    #[arg(long)]
    pub(crate) insecure_no_verify: bool,
    #[command(flatten)]
    pub(crate) base: BaseOption,
    /// Which image: boot, root, recovery or guard
    #[arg(long, value_name = "ROLE")]
    pub(crate) image: ImageRole,
    /// Where to write it: a file that is made or replaced, zeroes becoming holes; - for standard
    /// output
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
    /// Where to write the guard with its keys, a file that is made or replaced
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

/// What a delta bundle builds upon.
#[derive(Args, Debug)]
pub(crate) struct BaseOption {
    /// For a delta bundle: the bundle of the release that it builds upon, which is verified
    /// likewise
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) base: Option<PathBuf>,
}

/// How to work.
#[derive(Args, Debug)]
pub(crate) struct Work {
    /// Threads to work on; default: one for each processor
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,
}

impl Work {
    /// How many threads to work on.
    pub(crate) fn workers(&self) -> usize {
        self.jobs
            .map_or_else(bundle::parallel::default_workers, std::num::NonZero::get)
    }
}
