//! SIGINT and SIGTERM. They end the process at once, even while the pipeline waits for a disk or
//! server: the disk is in a valid state at any instant.

use crate::interruptible::Interruptible;
use crate::output;
use anyhow::{Context as _, Result};
use cli::ExitStatus;
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Makes SIGINT and SIGTERM end the process with a message, until `events` is finished.
pub(crate) fn stop_on_signal(events: Arc<Interruptible>, json: bool) -> Result<()> {
    let (ready, is_ready) = mpsc::channel();
    // It has its own thread, because all threads of the pipeline may wait for a disk.
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            // Without a runtime `ready` is dropped, which the caller receives as an error.
            if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
                runtime.block_on(wait(&ready, &events, json));
            }
        })
        .context("thread for signals")?;
    is_ready.recv().context("cannot handle signals")
}

async fn wait(ready: &mpsc::Sender<()>, events: &Interruptible, json: bool) {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    let Ok((mut interrupt, mut terminate)) = signals else {
        return;
    };
    if ready.send(()).is_err() {
        return;
    }
    let status = ExitStatus::Signal(first(&mut interrupt, &mut terminate).await);
    let Some(disarmed) = events.stop() else {
        return std::future::pending().await;
    };
    output::stopped(status, disarmed, json);
    std::process::exit(i32::from(status.code()));
}

/// Returns the number of the signal that arrives first.
async fn first(interrupt: &mut Signal, terminate: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}
