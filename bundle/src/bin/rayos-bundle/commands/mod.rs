//! The verbs: each opens files, calls the library and prints.
//!
//! | module | verbs |
//! | --- | --- |
//! | [`create`] | `create` |
//! | [`delta`] | `delta` |
//! | [`inspect`] | `inspect`, `list`, `diff`, `compare`, `cat-manifest` |
//! | [`sign`] | `keygen`, `sign`, `digest`, `attach` |
//! | [`trust`] | `trust-sign`, `trust-update`, `trust-link`, `trust-block`, `embed-trust` |
//! | [`verify`] | `verify`, `extract` |
//! | [`bundles`] | bundles as several verbs open and report them |

pub(crate) mod bundles;
pub(crate) mod create;
pub(crate) mod delta;
pub(crate) mod inspect;
pub(crate) mod sign;
pub(crate) mod trust;
pub(crate) mod verify;

use crate::args::{Cli, Verb};
use anyhow::Result;
use clap::CommandFactory as _;

/// Runs the verb of the command line.
pub(crate) fn run(cli: Cli) -> Result<()> {
    match cli.verb {
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
        Verb::TrustLink(args) => trust::trust_link(&args),
        Verb::TrustBlock(args) => trust::trust_block(&args),
        Verb::EmbedTrust(args) => trust::embed_trust(&args),
        Verb::Generate(args) => Ok(args.write(&Cli::command())?),
    }
}
