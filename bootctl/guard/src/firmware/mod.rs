//! The firmware as the guard's machine.

mod block;
mod console;
mod pci;
mod start;
mod volume;

use alloc::vec::Vec;
use block::BlockDisk;
use guard::{Ended, Launch, Machine, parse_options, run};
use record::Request;
use seal::{TRUST_BLOCK_LEN, TRUST_BLOCK_MAGIC};
use uefi::{Status, boot, runtime};
use volume::{RecoveryFile, Volume};

/// The trusted keys, in a section of their own. `rayos-bundle embed-trust` writes them into the
/// finished program. As built there are none, so nothing is trusted.
#[used]
#[unsafe(link_section = ".trust")]
static TRUST: [u8; TRUST_BLOCK_LEN] = empty_trust();

const fn empty_trust() -> [u8; TRUST_BLOCK_LEN] {
    let mut block = [0; TRUST_BLOCK_LEN];
    let mut at = 0;
    while at < TRUST_BLOCK_MAGIC.len() {
        block[at] = TRUST_BLOCK_MAGIC[at];
        at += 1;
    }
    block
}

fn trust_block() -> [u8; TRUST_BLOCK_LEN] {
    let mut block = [0; TRUST_BLOCK_LEN];
    for (to, from) in block.iter_mut().zip(&TRUST) {
        // SAFETY: `from` is a reference. The read is volatile because the bytes are replaced after
        // the compiler has seen them; byte by byte, because one read of the array compiles to 50 KB
        // of instructions.
        *to = unsafe { core::ptr::read_volatile(from) };
    }
    block
}

/// Never returns success: OVMF, for one, stops in its menu when a boot option returns that.
#[uefi::entry]
fn main() -> Status {
    let volume = Volume::of_this_program();
    let entry = volume
        .as_ref()
        .map_or(Request::Plain, |volume| parse_options(volume.options()));
    let request = if console::recovery_key_pressed() {
        Request::Recovery
    } else {
        entry
    };
    let mut firmware = Firmware { volume };
    run(&mut firmware, &trust_block(), request);
    Status::NOT_FOUND
}

/// Resets the machine: the try is spent, and the next start decides again. It never waits for an
/// operator.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    uefi::println!("rayos-guard: {info}");
    runtime::reset(runtime::ResetType::COLD, Status::ABORTED, None)
}

struct Firmware {
    volume: Option<Volume>,
}

impl Machine for Firmware {
    type Disk = BlockDisk;
    type File = RecoveryFile;

    fn print(&mut self, line: &str) {
        console::line(line);
    }

    fn seconds(&mut self) -> u64 {
        runtime::get_time().map_or(0, |time| {
            guard::seconds_of(
                (time.year(), time.month(), time.day()),
                (time.hour(), time.minute(), time.second()),
            )
        })
    }

    fn own_disk(&mut self) -> Option<BlockDisk> {
        BlockDisk::open(self.volume.as_ref()?.disk()?)
    }

    fn other_disks(&mut self) -> Vec<BlockDisk> {
        let own = self.volume.as_ref().and_then(Volume::disk);
        let handles =
            boot::find_handles::<uefi::proto::media::block::BlockIO>().unwrap_or_default();
        handles
            .into_iter()
            .filter(|handle| Some(*handle) != own)
            .filter_map(BlockDisk::open)
            .collect()
    }

    fn recovery_file(&mut self) -> Option<RecoveryFile> {
        self.volume.as_ref()?.recovery_file()
    }

    fn start(&mut self, launch: &Launch) -> Ended {
        start::start(launch, self.volume.as_ref())
    }
}
