//! The volume that the guard was loaded from, and device paths.

use alloc::vec::Vec;
use guard::Source;
use guard::disk::IoError;
use record::Guid;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::build::{DevicePathBuilder, media::FilePath};
use uefi::proto::device_path::media::{HardDrive, PartitionSignature};
use uefi::proto::device_path::{DevicePath, DevicePathNode, DeviceSubType, DeviceType};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::proto::media::file::{File as _, FileAttribute, FileInfo, FileMode, RegularFile};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CStr16, Handle, cstr16};

const RECOVERY: &CStr16 = cstr16!("\\EFI\\RAYOS\\RECOVERY.IMG");

/// Opens a protocol without taking it from its driver.
pub(super) fn borrow<P: ProtocolPointer + ?Sized>(handle: Handle) -> Option<ScopedProtocol<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: the guard connects and disconnects no driver, so the interface stays where it is
    // while it is borrowed; nothing that is called through it changes the handle database.
    unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }.ok()
}

/// The volume of the guard, and the options of its boot entry.
pub(super) struct Volume {
    handle: Handle,
    options: Vec<u8>,
}

impl Volume {
    /// Returns the volume of the running program; `None` if the firmware does not report it.
    pub(super) fn of_this_program() -> Option<Self> {
        let image = borrow::<LoadedImage>(boot::image_handle())?;
        let image = image.get()?;
        let options = image
            .load_options_as_bytes()
            .map(<[u8]>::to_vec)
            .unwrap_or_default();
        Some(Self {
            handle: image.device()?,
            options,
        })
    }

    /// Returns the optional data of the boot entry.
    pub(super) fn options(&self) -> &[u8] {
        &self.options
    }

    /// Returns the whole disk of the volume: its device path up to the partition. It is the volume
    /// itself if the file system is on a disk without partitions.
    pub(super) fn disk(&self) -> Option<Handle> {
        let path = borrow::<DevicePath>(self.handle)?;
        let mut storage = Vec::new();
        let mut builder = DevicePathBuilder::with_vec(&mut storage);
        for node in path
            .get()?
            .node_iter()
            .take_while(|node| !is_partition(node))
        {
            builder = builder.push(&node).ok()?;
        }
        let mut rest = builder.finalize().ok()?;
        let disk = boot::locate_device_path::<BlockIO>(&mut rest).ok()?;
        rest.node_iter().next().is_none().then_some(disk)
    }

    /// Returns the PARTUUID of the volume, if it is a GPT partition.
    pub(super) fn uuid(&self) -> Option<Guid> {
        partition_uuid(self.handle)
    }

    /// Opens the recovery image beside the guard.
    pub(super) fn recovery_file(&self) -> Option<RecoveryFile> {
        let mut volume = borrow::<SimpleFileSystem>(self.handle)?;
        let mut root = volume.get_mut()?.open_volume().ok()?;
        let mut file = root
            .open(RECOVERY, FileMode::Read, FileAttribute::empty())
            .ok()?
            .into_regular_file()?;
        let len = file.get_boxed_info::<FileInfo>().ok()?.file_size();
        Some(RecoveryFile { file, len, at: 0 })
    }

    /// Returns the device path of the recovery image.
    pub(super) fn recovery_path(&self) -> Option<Vec<u8>> {
        path_below(self.handle, RECOVERY)
    }
}

/// Returns whether the node names a part of a disk: `HD()` or `CDROM()`.
fn is_partition(node: &DevicePathNode) -> bool {
    node.device_type() == DeviceType::MEDIA
        && matches!(
            node.sub_type(),
            DeviceSubType::MEDIA_HARD_DRIVE | DeviceSubType::MEDIA_CD_ROM
        )
}

/// Returns the PARTUUID in the last node of the handle's device path.
fn partition_uuid(handle: Handle) -> Option<Guid> {
    let path = borrow::<DevicePath>(handle)?;
    let last = path.get()?.node_iter().last()?;
    let drive = <&HardDrive>::try_from(last).ok()?;
    match drive.partition_signature() {
        PartitionSignature::Guid(guid) => Some(Guid(guid.to_bytes())),
        _ => None,
    }
}

/// Returns the device path of a file that represents the image in the partition with this PARTUUID.
/// From it the started image knows its partition. There is no such file, because the partition has
/// no file system.
pub(super) fn partition_path(uuid: Guid) -> Option<Vec<u8>> {
    let handles = boot::find_handles::<BlockIO>().unwrap_or_default();
    let handle = handles
        .into_iter()
        .find(|handle| partition_uuid(*handle) == Some(uuid))?;
    path_below(handle, cstr16!("\\rayos.efi"))
}

fn path_below(handle: Handle, name: &CStr16) -> Option<Vec<u8>> {
    let path = borrow::<DevicePath>(handle)?;
    let mut storage = Vec::new();
    let mut builder = DevicePathBuilder::with_vec(&mut storage);
    for node in path.get()?.node_iter() {
        builder = builder.push(&node).ok()?;
    }
    let path = builder
        .push(&FilePath { path_name: name })
        .ok()?
        .finalize()
        .ok()?;
    Some(path.as_bytes().to_vec())
}

/// `\EFI\RAYOS\RECOVERY.IMG`.
pub(super) struct RecoveryFile {
    file: RegularFile,
    len: u64,
    at: u64,
}

impl Source for RecoveryFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        if offset != self.at {
            self.file.set_position(offset).map_err(|_| IoError)?;
        }
        let read = self.file.read(into).map_err(|_| IoError)?;
        self.at = offset.saturating_add(read as u64);
        into.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }
}
