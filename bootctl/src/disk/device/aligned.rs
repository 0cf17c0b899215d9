//! Memory that the kernel can read into and write from directly.

/// Alignment of offsets, lengths and memory that suffices for direct I/O on every disk.
pub const ALIGNMENT: usize = 4096;

/// A buffer whose address is a multiple of [`ALIGNMENT`]. It allocates a little more than it needs.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    shift: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Returns a buffer of `len` bytes; see [`AlignedBuffer::resize`].
    #[must_use]
    pub fn new(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Makes the buffer `len` bytes long. Its content is then undefined: zeroes or older bytes.
    pub fn resize(&mut self, len: usize) {
        let room = len.saturating_add(ALIGNMENT);
        if self.bytes.len() < room {
            // Not `Vec::resize`: it would copy bytes that are not needed, and fresh zeroes cost
            // nothing.
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
    fn a_buffer_of_any_length_is_aligned() {
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
