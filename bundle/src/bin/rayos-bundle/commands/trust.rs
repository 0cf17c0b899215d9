//! Verbs about trust: `trust-sign`, `trust-update`, `trust-block`, `embed-trust`.

use crate::args::{EmbedTrust, TrustBlock, TrustSign, TrustUpdate};
use crate::commands::bundles::load_keys;
use crate::files::{name_of, write_output};
use anyhow::{Context as _, Result};
use bundle::trust::{self, pe, update};
use cli::input::refuse_input_as_output;
use std::fs;

pub(crate) fn trust_sign(args: &TrustSign) -> Result<()> {
    let keys = load_keys(&args.key)?;
    let text = fs::read_to_string(&args.file).with_context(|| name_of(&args.file))?;
    trust::parse(&text, &args.file, trust::Keys::Inside)?;
    let signed = keys.iter().fold(text, |text, key| update::sign(&text, key));
    write_output(&args.file, signed.as_bytes())
}

pub(crate) fn trust_update(args: &TrustUpdate) -> Result<()> {
    let current = trust::load_file(&args.current)?;
    let text = fs::read_to_string(&args.new).with_context(|| name_of(&args.new))?;
    let new = update::check(&current, &text, &args.new).with_context(|| name_of(&args.new))?;
    write_output(&args.current, text.as_bytes())?;
    cli::output::note(&format!(
        "{}: key epoch {} replaced by {}",
        args.current.display(),
        current.trust.epoch(),
        new.trust.epoch()
    ));
    Ok(())
}

pub(crate) fn trust_block(args: &TrustBlock) -> Result<()> {
    refuse_input_as_output(&args.output, [args.trust.as_path()])?;
    write_output(&args.output, &trust::load(&args.trust)?.to_block())
}

pub(crate) fn embed_trust(args: &EmbedTrust) -> Result<()> {
    refuse_input_as_output(&args.output, [args.trust.as_path(), args.guard.as_path()])?;
    let trust = trust::load(&args.trust)?;
    let guard = fs::read(&args.guard).with_context(|| name_of(&args.guard))?;
    let guard = pe::embed_trust(&guard, &trust).with_context(|| name_of(&args.guard))?;
    write_output(&args.output, &guard)
}
