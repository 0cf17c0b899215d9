//! The block devices that the kernel shows in sysfs and devtmpfs: the one enumeration of disks for
//! all programs.
//!
//! There is no udev in the initramfs, and kernels before 6.9 do not show a PARTUUID, so sysfs and
//! partition tables are read here directly.
//!
//! | module | holds |
//! | --- | --- |
//! | `block_devices` | [`BlockDevices`]: which disks there are, and which of them was booted |
//! | `disk_node` | [`DiskNode`] and [`PartitionNode`]: what the kernel shows of each |
//!
//! # Which devices are disks
//!
//! A disk is a whole block device that belongs to hardware of this machine, because only from such
//! a device can firmware start a system. The rule looks at the device's place in sysfs, not at its
//! name, so that a driver with a new name needs no change here. Left out are:
//!
//! | device | how it is recognised |
//! | --- | --- |
//! | loop, RAM disk, zram, MD, device mapper, null block, ZFS volume, DRBD, NBD, bcache, ublk | directly in `devices/virtual/block` |
//! | Ceph RBD | in `devices/rbd` |
//! | raw flash, which may hold the firmware itself | below an `mtd` device |
//! | floppy drive | below `floppy.*` |
//! | optical drive | SCSI device type 5 |
//! | boot and RPMB areas of an eMMC | below another block device |
//! | one path to an NVMe disk with several paths | attribute `hidden` |
//! | card reader without a card, unset device | length 0 |
//!
//! An NVMe disk with several paths stays: its visible node is in `devices/virtual/nvme-subsystem`.

mod block_devices;
mod disk_node;

pub use block_devices::{BlockDevices, FindError};
pub use disk_node::{DiskNode, PartitionNode, Transport};
