//! A disk that keeps a list of what was done to it, and fails, lies and forgets on command.

use super::image::Image;
use super::journal::{Journal, Op};
use bootctl::device::BlockDevice;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The write or flush fails, and nothing of it was done. After a flush that failed the medium
    /// has lost everything since the last one that succeeded, and the cache does not know it.
    Error,
    /// Half of the write is done, then it fails.
    HalfThenError,
    /// The disk says that it was done, and it was not.
    Lost,
    /// The disk says that it was done, and it was, eight sectors further on.
    Misdirected,
    /// The disk is full, or a quota is.
    NoSpace,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::HalfThenError,
        Self::Lost,
        Self::Misdirected,
        Self::NoSpace,
    ];
}

/// A fault at one of the operations of a disk, counted from 0 over writes and flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first operation that goes wrong.
    pub at: usize,
    /// How.
    pub kind: FaultKind,
    /// Whether all later ones do, too.
    pub forever: bool,
}

/// A fault at one of the reads of a disk, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// The first read that fails.
    pub at: usize,
    /// Whether all later ones do, too.
    pub forever: bool,
}

/// A place of the disk that has worn out under the one who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// Whether it gives other bytes than were written, instead of an error.
    pub lies: bool,
}

/// The order of writes as the machine's programs want it, or changed on purpose: a mutant of the
/// programs, made without a line in them.
pub type Meddle = Arc<dyn Fn(u64, &[u8]) -> Meddled + Send + Sync>;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddled {
    /// It is done.
    Done,
    /// It is left out, and nobody is told.
    LeftOut,
    /// It is done so many flushes later.
    Delayed(u32),
}

struct State {
    /// What programs see.
    cache: Image,
    /// What the medium holds, once everything that was written has reached it.
    medium: Image,
    /// What the medium held at the last flush.
    flushed: Image,
    delayed: Vec<(u32, u64, Arc<[u8]>)>,
    operations: usize,
    fault: Option<Fault>,
    reads: usize,
    read_fault: Option<ReadFault>,
    bad: Option<Bad>,
    meddle: Option<Meddle>,
}

/// A disk in memory. Clones are handles on the same one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    journal: Journal,
    len: u64,
    sector_size: u32,
}

impl SimDisk {
    /// A disk with this content, whose operations go to `journal`.
    #[must_use]
    pub fn new(image: Image, sector_size: u32, journal: Journal) -> Self {
        let len = image.len();
        let state = State {
            cache: image.clone(),
            medium: image.clone(),
            flushed: image,
            delayed: Vec::new(),
            operations: 0,
            fault: None,
            reads: 0,
            read_fault: None,
            bad: None,
            meddle: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            journal,
            len,
            sector_size,
        }
    }

    /// From now on this fault happens; operations are counted anew.
    pub fn fail(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.operations = 0;
        state.fault = fault;
    }

    /// From now on this read fails; reads are counted anew.
    pub fn fail_read(&self, fault: Option<ReadFault>) {
        let mut state = self.lock();
        state.reads = 0;
        state.read_fault = fault;
    }

    /// From now on this place is bad.
    pub fn wear(&self, bad: Option<Bad>) {
        self.lock().bad = bad;
    }

    /// Whether a place is bad.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.lock().bad.is_some()
    }

    /// From now on writes are meddled with.
    pub fn meddle(&self, meddle: Option<Meddle>) {
        self.lock().meddle = meddle;
    }

    /// Writes and flushes since the last [`SimDisk::fail`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock().operations
    }

    /// Reads since the last [`SimDisk::fail_read`].
    #[must_use]
    pub fn reads(&self) -> usize {
        self.lock().reads
    }

    /// What the medium holds.
    #[must_use]
    pub fn medium(&self) -> Image {
        self.lock().medium.clone()
    }

    /// Forgets the cache, as a restart does.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.cache = state.medium.clone();
        state.delayed.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, state: &mut State, at: u64, data: Arc<[u8]>) {
        state.cache.write(at, &data);
        state.medium.write(at, &data);
        self.journal.push(Op::Write { at, data });
    }
}

impl State {
    /// The fault that this operation meets.
    fn next_fault(&mut self) -> Option<FaultKind> {
        let number = self.operations;
        self.operations += 1;
        let met = self
            .fault
            .filter(|fault| number == fault.at || (fault.forever && number > fault.at));
        met.map(|fault| fault.kind)
    }

    /// What becomes of a read that found `into`.
    fn pass(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let number = self.reads;
        self.reads += 1;
        if self
            .read_fault
            .is_some_and(|fault| number == fault.at || (fault.forever && number > fault.at))
        {
            return Err(failed(FaultKind::Error));
        }
        let Some(bad) = self.bad else { return Ok(()) };
        let end = offset + into.len() as u64;
        let (from, to) = (bad.start.max(offset), bad.end.min(end));
        if from >= to {
            return Ok(());
        }
        if !bad.lies {
            return Err(failed(FaultKind::Error));
        }
        into[(from - offset) as usize..(to - offset) as usize]
            .iter_mut()
            .for_each(|byte| *byte = !*byte);
        Ok(())
    }
}

fn failed(kind: FaultKind) -> io::Error {
    let kind = if kind == FaultKind::NoSpace {
        io::ErrorKind::StorageFull
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, "the simulated disk gave an error")
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
        state.pass(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if !state.cache.holds(offset, data.len()) {
            return Err(outside(offset, data.len()));
        }
        if let Some(kind) = state.next_fault() {
            return self.faulty_write(&mut state, kind, offset, data);
        }
        let meddled = state
            .meddle
            .as_ref()
            .map_or(Meddled::Done, |meddle| meddle(offset, data));
        match meddled {
            Meddled::Done => self.apply(&mut state, offset, data.into()),
            Meddled::LeftOut => state.cache.write(offset, data),
            Meddled::Delayed(flushes) => {
                state.cache.write(offset, data);
                state.delayed.push((flushes, offset, data.into()));
            }
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.next_fault() {
            Some(FaultKind::Lost | FaultKind::Misdirected) => return Ok(()),
            Some(kind) => {
                state.medium = state.flushed.clone();
                return Err(failed(kind));
            }
            None => {}
        }
        state.flushed = state.medium.clone();
        self.journal.push(Op::Flush);
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
        // What a mutant delays or leaves out must not be found by a read-back, or the mutant would
        // be a fault.
        let from = if state.meddle.is_some() {
            &state.cache
        } else {
            &state.medium
        };
        from.read(offset, into);
        state.pass(offset, into)
    }
}

impl SimDisk {
    fn faulty_write(
        &self,
        state: &mut State,
        kind: FaultKind,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        match kind {
            FaultKind::Error | FaultKind::NoSpace => Err(failed(kind)),
            FaultKind::HalfThenError => {
                let sectors = data.len() as u64 / u64::from(self.sector_size);
                let half = (sectors.div_ceil(2) * u64::from(self.sector_size)) as usize;
                self.apply(state, offset, data[..half.min(data.len())].into());
                Err(failed(kind))
            }
            FaultKind::Lost => {
                state.cache.write(offset, data);
                Ok(())
            }
            FaultKind::Misdirected => {
                let away = offset + 8 * u64::from(self.sector_size);
                if state.medium.holds(away, data.len()) {
                    state.medium.write(away, data);
                    self.journal.push(Op::Write {
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
