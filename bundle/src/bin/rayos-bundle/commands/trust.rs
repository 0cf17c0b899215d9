//! Verbs about trust: `trust-sign`, `trust-update`, `trust-link`, `trust-block`, `embed-trust`.

use crate::args::{EmbedTrust, TrustBlock, TrustLink, TrustSign, TrustUpdate};
use crate::commands::bundles::load_keys;
use crate::files::{name_of, write_output};
use anyhow::{Context as _, Result};
use bundle::trust::{self, pe, update};
use cli::input::refuse_input_as_output;
use seal::{Link, LinkError, MAX_LINKS, TrustChain};
use std::path::Path;
use std::{fs, io};

pub(crate) fn trust_sign(args: &TrustSign) -> Result<()> {
    let keys = load_keys(&args.key, &args.passphrase)?;
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

pub(crate) fn trust_link(args: &TrustLink) -> Result<()> {
    let inputs = [args.from.as_path(), args.to.as_path()];
    refuse_input_as_output(&args.output, inputs)?;
    let (from, to) = (trust::load(&args.from)?, trust::load(&args.to)?);
    let (current, new) = (from.epoch(), to.epoch());
    if new <= current {
        return Err(LinkError::Epoch { current, new }.into());
    }
    let mut links = read_links(&args.output)?;
    let mut link = Link::new(&from, &to);
    // The same link with fewer signatures is signed further.
    if let Some(last) = links.pop_if(|last| last.to_be_signed() == link.to_be_signed()) {
        link = last;
    }
    let keys = load_keys(&args.key, &args.passphrase)?;
    keys.iter()
        .try_for_each(|key| key.sign_link(&mut link))
        .with_context(|| name_of(&args.output))?;
    let followed = TrustChain::new(from).follow([&link]);
    links.push(link);
    if links.len() > MAX_LINKS {
        return Err(LinkError::TooMany.into());
    }
    let bytes: Vec<u8> = links.iter().flat_map(Link::as_bytes).copied().collect();
    write_output(&args.output, &bytes)?;
    let state = match followed {
        Ok(_) => "complete".to_owned(),
        Err(error) => format!("not complete: {error}"),
    };
    cli::output::note(&format!(
        "{}: link from key epoch {current} to {new}, {state}",
        args.output.display()
    ));
    Ok(())
}

/// Reads the links in a file; none if it does not exist.
fn read_links(path: &Path) -> Result<Vec<Link>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| name_of(path))?,
    };
    seal::parse_links(&bytes).with_context(|| name_of(path))
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
