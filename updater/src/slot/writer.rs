//! The one way to write the images of a release.

use crate::plan::{Destination, MAX_GUARD, Plan};
use crate::slot::delta_base::Basis;
use crate::slot::image_location::{Place, Places};
use bootctl::device::BlockDevice;
use bootctl::disk::{Disk, DiskError, Window};
use bundle::Release;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// The places of all images of a release, as a [`Plan`] assigned them. Nothing else can be written
/// through it.
pub(crate) struct Sinks {
    places: Arc<Places>,
    /// The image that goes to memory, and its bytes.
    memory: Option<(usize, Mutex<Vec<u8>>)>,
    boot: Window,
    recovery: Option<Window>,
    /// What delta chunks build upon.
    basis: Option<Basis>,
}

impl Sinks {
    /// The places that `plan` names on `disk`.
    ///
    /// # Errors
    /// [`DiskError`] if a partition is not there; the plan has checked that it is.
    pub(crate) fn new(disk: &Disk, plan: &Plan, release: Arc<Release>) -> Result<Self, DiskError> {
        let slot = plan.target.slot();
        let (mut recovery, mut memory) = (None, None);
        let mut places = Vec::new();
        for ((number, image), destination) in
            release.images().iter().enumerate().zip(&plan.destinations)
        {
            places.push(match destination {
                Destination::Boot => Some(Place::boot(disk, slot)?),
                Destination::Root => Some(Place::root(disk, slot)?),
                Destination::Recovery => {
                    recovery = Some(disk.recovery()?);
                    Some(Place::recovery(disk)?)
                }
                Destination::Memory => {
                    memory = Some((
                        number,
                        Mutex::new(vec![0; image.size.min(MAX_GUARD) as usize]),
                    ));
                    None
                }
                Destination::Nowhere => None,
            });
        }
        let places = Arc::new(Places::new(release, places));
        Ok(Self {
            boot: disk.boot(slot)?,
            recovery,
            memory,
            places,
            basis: None,
        })
    }

    /// Gives what delta chunks build upon.
    pub(crate) fn with_basis(self, basis: Option<Basis>) -> Self {
        Self { basis, ..self }
    }

    /// What delta chunks build upon.
    pub(crate) const fn basis(&self) -> Option<&Basis> {
        self.basis.as_ref()
    }

    /// The places on the disk, to be looked at.
    pub(crate) const fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// The partitions that begin with a seal and are written.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &Window> {
        std::iter::once(&self.boot).chain(&self.recovery)
    }

    /// The boot partition of the target slot.
    pub(crate) const fn boot(&self) -> &Window {
        &self.boot
    }

    /// The release.
    pub(crate) fn release(&self) -> &Arc<Release> {
        self.places.release()
    }

    /// Whether chunk `number` goes anywhere at all.
    pub(crate) fn wants(&self, number: usize) -> bool {
        let image = self.release().chunks()[number].image;
        self.place(image).is_some()
            || self
                .memory
                .as_ref()
                .is_some_and(|(to_memory, _)| *to_memory == image)
    }

    /// Where an image lies on the disk, if it does.
    pub(crate) fn place(&self, image: usize) -> Option<&Place> {
        self.places.of(image)
    }

    /// Writes bytes of an image to their place; durable only after [`Sinks::flush`].
    pub(crate) fn write(&self, image: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(place) = self.place(image) {
            return place.window.write_at(place.offset(offset), bytes);
        }
        if let Some((_, memory)) = self
            .memory
            .as_ref()
            .filter(|(to_memory, _)| *to_memory == image)
        {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let at = offset as usize;
            let place = memory.get_mut(at..at + bytes.len());
            place
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes zeroes of an image to their place; durable only after [`Sinks::flush`].
    pub(crate) fn write_zeroes(&self, image: usize, offset: u64, count: u64) -> io::Result<()> {
        match self.place(image) {
            Some(place) => place.window.write_zeroes_at(place.offset(offset), count),
            // Memory was made of zeroes.
            None => Ok(()),
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.boot.flush()
    }

    /// Whether reading and writing by turns is slow.
    pub(crate) fn is_rotating(&self) -> bool {
        self.boot.is_rotating()
    }

    /// Name of the partition that an image goes to, for people.
    pub(crate) fn name(&self, image: usize) -> &'static str {
        self.place(image).map_or("memory", |place| place.name)
    }

    /// The image that was written to memory.
    pub(crate) fn take_memory(&self) -> Option<Vec<u8>> {
        let (_, memory) = self.memory.as_ref()?;
        Some(std::mem::take(
            &mut *memory.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}
