//! Memory that a disk can read into and write from without the kernel copying it.

/// Alignment of offsets, lengths and memory that every disk takes for direct reads and writes.
pub const ALIGNMENT: usize = 4096;

/// A buffer that begins at a multiple of [`ALIGNMENT`] in memory. It is made by taking a little
/// more than is needed.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    shift: usize,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len` bytes; see [`AlignedBuffer::resize`].
    #[must_use]
    pub fn new(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Makes it `len` bytes long. What is in it then is not defined: zeroes, or what was there
    /// before.
    pub fn resize(&mut self, len: usize) {
        let room = len.saturating_add(ALIGNMENT);
        if self.bytes.len() < room {
            // A new one rather than a grown one: the old content is not wanted, and fresh zeroes
            // cost nothing.
            self.bytes = vec![0; room];
            self.shift = self.bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        }
        self.len = len;
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.shift..self.shift + self.len]
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.shift..self.shift + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_disks_want_it_whatever_its_length() {
        let mut buffer = AlignedBuffer::default();
        for len in [0, 1, 4096, 5000, 1 << 20, 3, 1 << 21] {
            buffer.resize(len);
            assert_eq!(
                (buffer.len(), buffer.as_ptr().align_offset(ALIGNMENT)),
                (len, 0)
            );
            buffer.fill(7);
        }
    }
}
