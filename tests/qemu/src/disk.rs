//! A disk of a machine: its image, its bus, its sectors.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda` and so on.
    Virtio,
    /// `/dev/nvme0n1` and so on.
    Nvme,
    /// A stick on a USB 3 controller: `/dev/sda` and so on.
    Usb,
    /// A SATA CD drive: `/dev/sr0`.
    Cd,
}

/// A disk of the machine.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    bus: Bus,
    sector_size: u32,
    read_only: bool,
    bootindex: Option<u32>,
    write_log: Option<PathBuf>,
}

impl Disk {
    /// Returns a disk on `bus` with the raw image `path` and sectors of 512 bytes. *Pure.*
    #[must_use]
    pub fn new(bus: Bus, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            bus,
            sector_size: 512,
            read_only: bus == Bus::Cd,
            bootindex: None,
            write_log: None,
        }
    }

    /// Returns a virtio disk. *Pure.*
    #[must_use]
    pub fn virtio(path: impl Into<PathBuf>) -> Self {
        Self::new(Bus::Virtio, path)
    }

    /// Returns a USB stick. *Pure.*
    #[must_use]
    pub fn usb(path: impl Into<PathBuf>) -> Self {
        Self::new(Bus::Usb, path)
    }

    /// Sets sectors of 4096 bytes (virtio, NVMe and USB). *Pure.*
    #[must_use]
    pub fn sectors_4096(mut self) -> Self {
        self.sector_size = 4096;
        self
    }

    /// Makes the disk read-only. *Pure.*
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Sets the place in the firmware's boot order, the lowest first. OVMF then rewrites `BootOrder`
    /// and deletes the entries of other disks: hostile firmware by one switch. *Pure.*
    #[must_use]
    pub fn bootindex(mut self, index: u32) -> Self {
        self.bootindex = Some(index);
        self
    }

    /// Makes QEMU log every write, flush and discard of the machine in `file`, in the format of
    /// Linux' dm-log-writes. [`crate::Machine::start`] empties the file. *Pure.*
    #[must_use]
    pub fn log_writes(mut self, file: impl Into<PathBuf>) -> Self {
        self.write_log = Some(file.into());
        self
    }

    /// The file that logs the disk's writes, if any. *Pure.*
    pub(crate) fn write_log(&self) -> Option<&Path> {
        self.write_log.as_deref()
    }

    /// The disk's bus. *Pure.*
    pub(crate) const fn bus(&self) -> Bus {
        self.bus
    }

    /// QEMU's arguments for the disk with this number. *Pure.*
    pub(crate) fn arguments(&self, number: usize) -> Vec<OsString> {
        let id = format!("disk{number}");
        let mut drive = OsString::from(format!(
            "if=none,id={id},cache=writeback,discard=unmap,readonly={},",
            if self.read_only { "on" } else { "off" }
        ));
        match &self.write_log {
            // The node names are for [`crate::Running::inject_disk_errors`].
            None => drive.push(format!(
                "driver=raw,node-name={id}-raw,file.driver=file,file.node-name={id}-file,\
                 file.filename="
            )),
            Some(write_log) => {
                drive.push("driver=blklogwrites,log-super-update-interval=1,");
                drive.push("log.driver=file,log.filename=");
                drive.push(write_log);
                drive.push(",file.driver=file,file.filename=");
            }
        }
        drive.push(&self.path);
        let blocks = format!(
            "logical_block_size={0},physical_block_size={0}",
            self.sector_size
        );
        let mut device = match self.bus {
            Bus::Virtio => {
                format!("virtio-blk-pci,drive={id},id={id}-dev,serial=RAYOS{number},{blocks}")
            }
            Bus::Nvme => format!("nvme,drive={id},id={id}-dev,serial=RAYOS{number},{blocks}"),
            Bus::Usb => {
                format!("usb-storage,bus=xhci.0,drive={id},id={id}-dev,removable=on,{blocks}")
            }
            Bus::Cd => format!("ide-cd,drive={id},id={id}-dev"),
        };
        if let Some(index) = self.bootindex {
            device.push_str(&format!(",bootindex={index}"));
        }
        vec!["-drive".into(), drive, "-device".into(), device.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::Disk;

    #[test]
    fn arguments_contain_sector_size_and_boot_order() {
        let words = Disk::virtio("d.img")
            .sectors_4096()
            .bootindex(1)
            .arguments(3);
        let device = words[3].to_string_lossy();
        assert!(
            device.contains("logical_block_size=4096") && device.ends_with("bootindex=1"),
            "{device}"
        );
        assert!(
            words[1]
                .to_string_lossy()
                .ends_with("file.node-name=disk3-file,file.filename=d.img")
        );
        let words = Disk::virtio("d.img").log_writes("d.log").arguments(0);
        let drive = words[1].to_string_lossy();
        assert!(
            drive.ends_with("log.filename=d.log,file.driver=file,file.filename=d.img"),
            "{drive}"
        );
    }
}
