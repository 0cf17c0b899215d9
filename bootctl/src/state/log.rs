//! The event ring on the disk.

use crate::disk::device::{BlockDevice, DeviceLock};
use crate::disk::{Disk, Window};
use crate::state::store::StoreError;
use record::event::{self, Event};
use record::{RING_LEN, RING_OFFSET, STATE_LEN};

/// The event ring in a state partition.
#[derive(Clone, Debug)]
pub struct EventLog {
    state: Window,
}

impl EventLog {
    /// Returns the ring on `disk`. *Pure*: nothing is read yet.
    ///
    /// # Errors
    /// [`StoreError::Disk`] without a state partition, [`StoreError::TooShort`].
    pub fn open(disk: &Disk) -> Result<Self, StoreError> {
        let state = disk.state()?;
        if state.len() < STATE_LEN {
            return Err(StoreError::TooShort(state.len()));
        }
        Ok(Self { state })
    }

    /// Returns all valid events, oldest first. *Reads* 896 KiB.
    ///
    /// # Errors
    /// [`StoreError::Ring`] if the device cannot read all of the ring.
    pub fn events(&self) -> Result<Vec<Event>, StoreError> {
        let mut events: Vec<Event> = event::events(&self.ring()?).collect();
        events.sort_unstable_by_key(|event| event.seq);
        Ok(events)
    }

    /// Writes `event` over the oldest one, with the next sequence number, and returns that number.
    /// *Writes*; durable on return. The caller sets `event.time`: seconds since 1970, 0 if unknown.
    ///
    /// # Errors
    /// [`StoreError::Ring`].
    ///
    /// # Power loss
    /// Leaves the ring with the event; or without it, and without the oldest event.
    pub fn append(&self, event: &Event) -> Result<u64, StoreError> {
        let _lock = DeviceLock::acquire(&self.state).map_err(StoreError::Ring)?;
        let seq = event::next_seq(&self.ring()?);
        let mut event = *event;
        event.seq = seq;
        let written = self
            .state
            .write_at(RING_OFFSET + Event::offset(seq), &event.encode());
        written
            .and_then(|()| self.state.flush())
            .map_err(StoreError::Ring)?;
        Ok(seq)
    }

    fn ring(&self) -> Result<Vec<u8>, StoreError> {
        let mut ring = vec![0; RING_LEN as usize];
        self.state
            .read_at(RING_OFFSET, &mut ring)
            .map_err(StoreError::Ring)?;
        Ok(ring)
    }
}
