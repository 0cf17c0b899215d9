//! Signals that end the work. Whatever the pipeline is waiting for, a person who presses Ctrl-C is
//! heard within a moment: what is on the disk is right at any instant, so nothing has to be waited
//! for.

use crate::exit_code::Ending;
use crate::interruptible::Watched;
use crate::output;
use anyhow::{Context as _, Result};
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on SIGINT and SIGTERM end the process with a sentence, until the work is done.
pub(crate) fn stop_on_signal(events: Arc<Watched>, json: bool) -> Result<()> {
    let (ready, is_ready) = mpsc::channel();
    // A thread of its own: the threads of the pipeline may all be busy with a disk.
    let watch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let both = signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
            let Ok((mut interrupt, mut terminate)) = both else {
                return;
            };
            if ready.send(()).is_err() {
                return;
            }
            let number = first(&mut interrupt, &mut terminate).await;
            let Some(disarmed) = events.stop() else {
                return std::future::pending().await;
            };
            let ending = Ending::Stopped(number);
            output::stopped(ending, disarmed, json);
            std::process::exit(i32::from(ending.code()));
        });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .context("thread for signals")?;
    is_ready.recv().context("signals cannot be watched")
}

/// The number of the signal that comes first.
async fn first(interrupt: &mut Signal, terminate: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}
