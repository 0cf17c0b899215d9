//! A disk that logs its operations and fails on command.

use crate::sim::hardware::image::Image;
use crate::sim::hardware::operation::{Operation, OperationLog};
use bootctl::device::BlockDevice;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a write or flush fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFaultKind {
    /// It returns an error and has no effect. A failed flush also loses all writes since the last
    /// flush that succeeded, but they stay in the cache.
    Error,
    /// Half of the write is done, then it returns an error.
    HalfThenError,
    /// It returns success and has no effect.
    Lost,
    /// It returns success, but the bytes are eight sectors behind their offset.
    Misdirected,
    /// It returns `StorageFull`.
    NoSpace,
}

impl WriteFaultKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::HalfThenError,
        Self::Lost,
        Self::Misdirected,
        Self::NoSpace,
    ];
}

/// A fault of a write or flush, numbered from 0 over both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFault {
    /// Number of the first operation that fails.
    pub at: usize,
    /// How it fails.
    pub kind: WriteFaultKind,
    /// True if all later ones fail, too.
    pub persistent: bool,
}

/// A fault of a read, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// Number of the first read that fails.
    pub at: usize,
    /// True if all later ones fail, too.
    pub persistent: bool,
}

/// A range of the disk that cannot be read correctly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRange {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// True if reads return other bytes, false if they return an error.
    pub corrupts: bool,
}

/// Decides what becomes of a write. It makes a mutant of the programs without a change of their
/// source.
pub type WriteFilter = Arc<dyn Fn(u64, &[u8]) -> FilteredWrite + Send + Sync>;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredWrite {
    /// It is done.
    Done,
    /// It has no effect, but returns success.
    Dropped,
    /// It is done after so many flushes.
    Delayed(u32),
}

struct DiskState {
    /// The content as programs read it.
    cache: Image,
    /// The content of the medium after all writes.
    medium: Image,
    /// The content of the medium at the last flush.
    flushed: Image,
    delayed: Vec<(u32, u64, Arc<[u8]>)>,
    operations: usize,
    fault: Option<WriteFault>,
    reads: usize,
    read_fault: Option<ReadFault>,
    bad: Option<BadRange>,
    write_filter: Option<WriteFilter>,
}

/// A disk in memory. Clones are handles on the same one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
    operation_log: OperationLog,
    len: u64,
    sector_size: u32,
}

impl SimDisk {
    /// Returns a disk with this content that logs to `operation_log`.
    #[must_use]
    pub fn new(image: Image, sector_size: u32, operation_log: OperationLog) -> Self {
        let len = image.len();
        let state = DiskState {
            cache: image.clone(),
            medium: image.clone(),
            flushed: image,
            delayed: Vec::new(),
            operations: 0,
            fault: None,
            reads: 0,
            read_fault: None,
            bad: None,
            write_filter: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            operation_log,
            len,
            sector_size,
        }
    }

    /// Sets the fault of writes and flushes, and counts them from 0 again.
    pub fn set_write_fault(&self, fault: Option<WriteFault>) {
        let mut state = self.lock();
        state.operations = 0;
        state.fault = fault;
    }

    /// Sets the fault of reads, and counts them from 0 again.
    pub fn set_read_fault(&self, fault: Option<ReadFault>) {
        let mut state = self.lock();
        state.reads = 0;
        state.read_fault = fault;
    }

    /// Sets the range that cannot be read correctly.
    pub fn set_bad_range(&self, bad: Option<BadRange>) {
        self.lock().bad = bad;
    }

    /// Returns true if a range cannot be read correctly.
    #[must_use]
    pub fn has_bad_range(&self) -> bool {
        self.lock().bad.is_some()
    }

    /// Sets the filter of writes.
    pub fn set_write_filter(&self, write_filter: Option<WriteFilter>) {
        self.lock().write_filter = write_filter;
    }

    /// Number of writes and flushes since the last [`SimDisk::set_write_fault`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock().operations
    }

    /// Number of reads since the last [`SimDisk::set_read_fault`].
    #[must_use]
    pub fn reads(&self) -> usize {
        self.lock().reads
    }

    /// Returns the content of the medium.
    #[must_use]
    pub fn medium(&self) -> Image {
        self.lock().medium.clone()
    }

    /// Drops the cache, as a restart does.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.cache = state.medium.clone();
        state.delayed.clear();
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, state: &mut DiskState, at: u64, data: Arc<[u8]>) {
        state.cache.write(at, &data);
        state.medium.write(at, &data);
        self.operation_log.push(Operation::Write { at, data });
    }
}

impl DiskState {
    /// The fault of the next write or flush.
    fn next_fault(&mut self) -> Option<WriteFaultKind> {
        let number = self.operations;
        self.operations += 1;
        let met = self
            .fault
            .filter(|fault| number == fault.at || (fault.persistent && number > fault.at));
        met.map(|fault| fault.kind)
    }

    /// Applies the faults of reads to `into`, which was read at `offset`.
    fn read_result(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let number = self.reads;
        self.reads += 1;
        if self
            .read_fault
            .is_some_and(|fault| number == fault.at || (fault.persistent && number > fault.at))
        {
            return Err(failed(WriteFaultKind::Error));
        }
        let Some(bad) = self.bad else { return Ok(()) };
        let end = offset + into.len() as u64;
        let (from, to) = (bad.start.max(offset), bad.end.min(end));
        if from >= to {
            return Ok(());
        }
        if !bad.corrupts {
            return Err(failed(WriteFaultKind::Error));
        }
        into[(from - offset) as usize..(to - offset) as usize]
            .iter_mut()
            .for_each(|byte| *byte = !*byte);
        Ok(())
    }
}

fn failed(kind: WriteFaultKind) -> io::Error {
    let kind = if kind == WriteFaultKind::NoSpace {
        io::ErrorKind::StorageFull
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, "the simulated disk returned an error")
}

fn outside(at: u64, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{len} bytes at {at} are outside of the disk"),
    )
}

impl BlockDevice for SimDisk {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        if !state.cache.holds(offset, into.len()) {
            return Err(outside(offset, into.len()));
        }
        state.cache.read(offset, into);
        state.read_result(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if !state.cache.holds(offset, data.len()) {
            return Err(outside(offset, data.len()));
        }
        if let Some(kind) = state.next_fault() {
            return self.faulty_write(&mut state, kind, offset, data);
        }
        let filtered = state
            .write_filter
            .as_ref()
            .map_or(FilteredWrite::Done, |write_filter| {
                write_filter(offset, data)
            });
        match filtered {
            FilteredWrite::Done => self.apply(&mut state, offset, data.into()),
            FilteredWrite::Dropped => state.cache.write(offset, data),
            FilteredWrite::Delayed(flushes) => {
                state.cache.write(offset, data);
                state.delayed.push((flushes, offset, data.into()));
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.next_fault() {
            Some(WriteFaultKind::Lost | WriteFaultKind::Misdirected) => return Ok(()),
            Some(kind) => {
                state.medium = state.flushed.clone();
                return Err(failed(kind));
            }
            None => {}
        }
        state.flushed = state.medium.clone();
        self.operation_log.push(Operation::Flush);
        for (flushes, at, data) in std::mem::take(&mut state.delayed) {
            if flushes > 1 {
                state.delayed.push((flushes - 1, at, data));
            } else {
                self.apply(&mut state, at, data);
            }
        }
        Ok(())
    }

    fn read_medium_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        if !state.medium.holds(offset, into.len()) {
            return Err(outside(offset, into.len()));
        }
        // The read-back must not find the writes that a mutant delays or drops: it would report them
        // as a fault of the disk.
        let content = if state.write_filter.is_some() {
            &state.cache
        } else {
            &state.medium
        };
        content.read(offset, into);
        state.read_result(offset, into)
    }
}

impl SimDisk {
    fn faulty_write(
        &self,
        state: &mut DiskState,
        kind: WriteFaultKind,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        match kind {
            WriteFaultKind::Error | WriteFaultKind::NoSpace => Err(failed(kind)),
            WriteFaultKind::HalfThenError => {
                let sectors = data.len() as u64 / u64::from(self.sector_size);
                let half = (sectors.div_ceil(2) * u64::from(self.sector_size)) as usize;
                self.apply(state, offset, data[..half.min(data.len())].into());
                Err(failed(kind))
            }
            WriteFaultKind::Lost => {
                state.cache.write(offset, data);
                Ok(())
            }
            WriteFaultKind::Misdirected => {
                let away = offset + 8 * u64::from(self.sector_size);
                if state.medium.holds(away, data.len()) {
                    state.medium.write(away, data);
                    self.operation_log.push(Operation::Write {
                        at: away,
                        data: data.into(),
                    });
                }
                state.cache.write(offset, data);
                Ok(())
            }
        }
    }
}

impl guard::disk::Disk for SimDisk {
    fn sector_len(&self) -> usize {
        self.sector_size as usize
    }

    fn sectors(&self) -> u64 {
        self.len / u64::from(self.sector_size)
    }

    fn read(&self, lba: u64, into: &mut [u8]) -> Result<(), guard::disk::IoError> {
        self.read_medium_at(self.byte(lba)?, into)
            .map_err(|_| guard::disk::IoError)
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), guard::disk::IoError> {
        self.write_at(self.byte(lba)?, from)
            .map_err(|_| guard::disk::IoError)
    }

    fn flush(&mut self) -> Result<(), guard::disk::IoError> {
        BlockDevice::flush(self).map_err(|_| guard::disk::IoError)
    }
}

impl SimDisk {
    fn byte(&self, lba: u64) -> Result<u64, guard::disk::IoError> {
        lba.checked_mul(u64::from(self.sector_size))
            .ok_or(guard::disk::IoError)
    }
}
