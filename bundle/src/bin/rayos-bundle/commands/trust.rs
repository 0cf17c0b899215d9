//! Verbs about whom to trust.

use crate::args::{EmbedTrust, TrustBlock, TrustSign, TrustUpdate};
use crate::files::write_output;
use crate::output;
use anyhow::{Context as _, Result};
use bundle::keys::SecretKey;
use bundle::trust::{self, pe, update};
use cli::input::refuse_input_as_output;
use std::fs;

pub(crate) fn trust_sign(args: &TrustSign) -> Result<()> {
    let keys = args
        .key
        .iter()
        .map(|path| SecretKey::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    let text = fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?;
    trust::parse(&text, &args.file, trust::Keys::Inside)?;
    let signed = keys.iter().fold(text, |text, key| update::sign(&text, key));
    write_output(&args.file, signed.as_bytes())
}

pub(crate) fn trust_update(args: &TrustUpdate) -> Result<()> {
    let current = trust::load_file(&args.current)?;
    let text = fs::read_to_string(&args.new).with_context(|| args.new.display().to_string())?;
    let new = update::check(&current, &text, &args.new)
        .with_context(|| args.new.display().to_string())?;
    write_output(&args.current, text.as_bytes())?;
    let (was, is) = (current.trust.epoch(), new.trust.epoch());
    output::note(&format!(
        "{}: key epoch {was} replaced by {is}",
        args.current.display()
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
    let program = fs::read(&args.guard).with_context(|| args.guard.display().to_string())?;
    let program =
        pe::embed_trust(&program, &trust).with_context(|| args.guard.display().to_string())?;
    write_output(&args.output, &program)
}
