//! A blocking reader as an asynchronous source, for programs that have nothing else to do
//! meanwhile.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// Reads from a file, a pipe or memory in place, and is always ready.
#[derive(Debug)]
pub struct BlockingSource<R>(pub R);

impl<R: Read + Unpin> AsyncRead for BlockingSource<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = loop {
            match self.0.read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}
