//! Boots the guard in QEMU with OVMF in many scenarios, and compares the console and the disk with
//! what is expected. `scripts/test-guard` runs it.
#![allow(clippy::print_stderr, reason = "this is a program")]

mod disk;
mod firmware;
mod machine;
mod scenarios;

use anyhow::{Context as _, Result, anyhow, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Number of machines that run in parallel.
const MACHINES: usize = 2;

/// The two programs, with trusted keys in the guard.
pub(crate) struct Lab {
    pub(crate) guard: Vec<u8>,
    pub(crate) guard_without_keys: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) dir: PathBuf,
}

impl Lab {
    /// Returns the payload with other orders.
    pub(crate) fn payload(&self, orders: &str) -> Vec<u8> {
        let marker = b"guard-payload orders\0\0\0\0";
        let mut program = self.payload.clone();
        let at = program
            .windows(marker.len())
            .position(|window| window == marker)
            .map(|at| at + marker.len());
        if let Some(place) = at.and_then(|at| program.get_mut(at..at + 8)) {
            place.fill(0);
            place[..orders.len()].copy_from_slice(orders.as_bytes());
        }
        program
    }
}

/// Returns the byte offset of a section's data in a PE file.
fn section(program: &[u8], name: &[u8; 8]) -> Option<usize> {
    let table = program.windows(8).position(|window| window == name)?;
    let field = program.get(table + 20..table + 24)?;
    Some(u32::from_le_bytes(field.try_into().ok()?) as usize)
}

fn main() -> ExitCode {
    if let Some(missing) = machine::missing() {
        eprintln!("lab: {missing} is not installed");
        return ExitCode::from(77);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: lab GUARD PAYLOAD [SCENARIO...]";
    let (guard, payload) = (args.next().context(usage)?, args.next().context(usage)?);
    let wanted: Vec<String> = args.collect();
    let guard_without_keys = std::fs::read(&guard).context(guard)?;
    let mut guard = guard_without_keys.clone();
    let at = section(&guard, b".trust\0\0").context("no section .trust")?;
    let block = disk::trust()?.to_block();
    guard
        .get_mut(at..at + block.len())
        .context("section .trust is short")?
        .copy_from_slice(&block);
    let scratch = qemu::Scratch::new("guard-lab")?;
    let lab = Lab {
        guard,
        guard_without_keys,
        payload: std::fs::read(&payload).context(payload)?,
        dir: scratch.path().into(),
    };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let chosen: Vec<_> = scenarios::ALL
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|wanted| scenarios::ALL.iter().all(|(name, _)| name != wanted))
    {
        bail!("no scenario is called {unknown}");
    }
    let failed = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..MACHINES {
            scope.spawn(|| {
                while let Some((name, scenario)) = chosen.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let began = Instant::now();
                    match scenario(&lab) {
                        Ok(()) => eprintln!("lab: {name}: ok, {} s", began.elapsed().as_secs()),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            eprintln!("lab: {name}: FAILED: {error:#}");
                        }
                    }
                }
            });
        }
    });
    scratch.finish(match failed.into_inner() {
        0 => {
            eprintln!("lab: {} scenarios passed", chosen.len());
            Ok(())
        }
        failed => Err(anyhow!("{failed} scenario(s) failed")),
    })
}
