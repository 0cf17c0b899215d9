//! `rayos-root`, the program of an initramfs that mounts the root and what persists: what it calls,
//! what it refuses, and what a power cut leaves. Each test runs under each shell.

mod machine;

use anyhow::{Result, ensure};
use machine::{DATA_TYPE, Machine, text, under_each_shell};
use std::fs;
use std::process::Command;

/// Everything that can be written into persist.conf.
const ALL: &str = "# a comment\n\ndata ext4 /data\nbind /var\noverlay /etc/ssh\nmachine-id\n\
                   hostname edge\nssh-host-keys\ntmpfs /tmp\n";

#[test]
fn the_first_boot_formats_a_blank_partition_and_fills_it() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.make_read_only("/etc")?;
        let run = machine.boot()?.succeeded()?;
        let wanted = "\
rayos-bootctl booted --root-device
rayos-bootctl milestone initramfs
rayos-bootctl root
mount -t erofs -o ro /dev/dm-0 ROOT
mount -o bind /dev ROOT/dev
mount -o bind /proc ROOT/proc
mount -o bind /sys ROOT/sys
blkid -p -s PART_ENTRY_TYPE -o value /dev/vda8
blkid -p -s TYPE -o value /dev/vda8
";
        ensure!(run.calls.starts_with(wanted), "{}", run.calls);
        for call in [
            "mkfs.ext4 -q -m 1 -L data /dev/vda8\n",
            "mount -t ext4 /dev/vda8 ROOT/data\nresize2fs /dev/vda8\n",
            "mount -o bind ROOT/data/rayos/bind/var ROOT/var\n",
            "mount -t overlay -o lowerdir=ROOT/etc/ssh,upperdir=ROOT/data/rayos/overlay/etc+ssh/upper,\
             workdir=ROOT/data/rayos/overlay/etc+ssh/work overlay ROOT/etc/ssh\n",
            "mount -o bind ROOT/data/rayos/bind/etc+machine-id ROOT/etc/machine-id\n",
            "ssh-keygen -A\nmount -t tmpfs -o mode=1777,nosuid,nodev tmpfs ROOT/tmp\n",
        ] {
            ensure!(run.calls.contains(call), "no {call:?}:\n{}", run.calls);
        }
        ensure!(
            run.calls
                .ends_with("rayos-bootctl milestone root-mounted\n"),
            "{}",
            run.calls
        );
        let kept =
            |name: &str| fs::read_to_string(machine.path(&format!("root/data/rayos/{name}")));
        assert_eq!(kept("bind/var/lib/first")?, "of the image");
        assert_eq!(
            kept("bind/etc+machine-id")?,
            "0123456789abcdef0123456789abcdef\n"
        );
        assert_eq!(kept("bind/etc+hostname")?, "edge-01234567\n");
        Ok(())
    })
}

#[test]
fn later_boots_format_and_copy_nothing() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.boot()?.succeeded()?;
        machine.put("proc/sys/kernel/random/uuid", "another\n")?;
        machine.put("root/data/rayos/bind/var/lib/first", "of the user")?;
        let before = machine.tree("root/data")?;
        let run = machine.boot()?.succeeded()?.formatted_nothing()?;
        ensure!(!run.calls.contains("cp -a"), "{}", run.calls);
        ensure!(run.calls.contains("e2fsck -p /dev/vda8\n"), "{}", run.calls);
        assert_eq!(machine.tree("root/data")?, before);
        Ok(())
    })
}

#[test]
fn texts_that_are_made_once_are_written_in_place_where_etc_persists() -> Result<()> {
    under_each_shell(|shell| {
        let conf = "data ext4 /data\noverlay /etc\nmachine-id\nhostname edge\n";
        let machine = Machine::new(shell, conf)?;
        let run = machine.boot()?.succeeded()?;
        ensure!(!run.calls.contains("bind+etc"), "{}", run.calls);
        assert_eq!(
            fs::read_to_string(machine.path("root/etc/machine-id"))?,
            "0123456789abcdef0123456789abcdef\n"
        );
        // An operator's own name stays.
        machine.put("root/etc/hostname", "kiosk\n")?;
        machine.boot()?.succeeded()?;
        let name = fs::read_to_string(machine.path("root/etc/hostname"))?;
        assert_eq!(name, "kiosk\n");
        Ok(())
    })
}

#[test]
fn an_image_without_a_configuration_has_its_root_alone() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, "")?;
        fs::remove_file(machine.path("root/etc/rayos/persist.conf"))?;
        machine.put("answers/root-fs", "squashfs\n")?;
        let run = machine.boot()?.succeeded()?;
        ensure!(
            run.calls.ends_with(
                "mount -t squashfs -o ro /dev/dm-0 ROOT\nrayos-bootctl milestone root-mounted\n"
            ),
            "{}",
            run.calls
        );
        machine.run("check", 0)?.succeeded()?;
        Ok(())
    })
}

#[test]
fn a_wrong_line_is_named_and_ends_in_a_restart() -> Result<()> {
    let cases = [
        (
            "data ext3 /data",
            "line 1: ext3: expected ext4, xfs or btrfs",
        ),
        ("data ext4", "line 1: (nothing): expected an absolute path"),
        ("data ext4 data", "line 1: data: expected an absolute path"),
        (
            "data ext4 /missing",
            "line 1: /missing is not a folder of the image",
        ),
        ("data ext4 /data now", "line 1: unexpected word: now"),
        (
            "\nbind /var",
            "line 2: bind needs a line \"data ...\" before it",
        ),
        (
            "data ext4 /data\ndata ext4 /data",
            "line 2: a second data partition",
        ),
        (
            "data ext4 /data\nbind /var/../etc",
            "line 2: /var/../etc: not a plain path",
        ),
        (
            "data ext4 /data\noverlay /a,b",
            "line 2: /a,b: not a plain path",
        ),
        (
            "data ext4 /data\noverlay /etc/",
            "line 2: /etc/: not a plain path",
        ),
        ("data ext4 /data\nbind /", "line 2: / itself cannot persist"),
        ("data ext4 /data\nbind /a b", "line 2: unexpected word: b"),
        (
            "data ext4 /data\nhostname a.b",
            "line 2: a.b: expected the begin of a host name",
        ),
        ("data ext4 /data\nmount /var", "line 2: unknown word: mount"),
    ];
    under_each_shell(|shell| {
        for (conf, reason) in cases {
            let machine = Machine::new(shell, conf)?;
            let reason = format!("/etc/rayos/persist.conf: {reason}");
            machine.boot()?.gave_up(&reason)?;
            let check = machine.run("check", 0)?;
            ensure!(
                check.code == 1 && check.output.contains(&reason) && check.calls.is_empty(),
                "check: {check:?}"
            );
        }
        let endless = "# x\n".repeat(201);
        let machine = Machine::new(shell, &endless)?;
        machine
            .boot()?
            .gave_up("/etc/rayos/persist.conf has more than 200 lines")?;
        Ok(())
    })
}

#[test]
fn the_check_of_an_image_names_what_it_lacks() -> Result<()> {
    let cases = [
        (
            "root/usr/bin/e2fsck",
            "data needs the program e2fsck in the image",
        ),
        (
            "root/usr/bin/blkid",
            "data needs the program blkid in the image",
        ),
        (
            "root/usr/bin/ssh-keygen",
            "ssh-host-keys needs the program ssh-keygen in the image",
        ),
        (
            "root/etc/machine-id",
            "the image has no file /etc/machine-id",
        ),
        ("root/etc/hostname", "the image has no file /etc/hostname"),
    ];
    under_each_shell(|shell| {
        for (missing, reason) in cases {
            let machine = Machine::new(shell, ALL)?;
            machine.run("check", 0)?.succeeded()?;
            fs::remove_file(machine.path(missing))?;
            let check = machine.run("check", 0)?;
            ensure!(
                check.code == 1 && check.output.contains(reason),
                "{check:?}"
            );
        }
        // All machines would have the same keys.
        let machine = Machine::new(shell, ALL)?;
        machine.put("root/etc/ssh/ssh_host_ed25519_key", "")?;
        let check = machine.run("check", 0)?;
        ensure!(
            check.code == 1 && check.output.contains("the image has host keys"),
            "{check:?}"
        );
        Ok(())
    })
}

#[test]
fn data_that_is_there_is_never_formatted() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/TYPE", "crypto_LUKS\n")?;
        machine
            .boot()?
            .gave_up("/dev/vda8 holds crypto_LUKS, /etc/rayos/persist.conf expects ext4: it was not formatted")?
            .formatted_nothing()?;

        let machine = Machine::new(shell, ALL)?;
        let mut bytes = vec![0; 1 << 20];
        bytes[4095] = 1;
        machine.put("vda8", &bytes)?;
        machine
            .boot()?
            .gave_up("/dev/vda8 holds data of an unknown kind: it was not formatted")?
            .formatted_nothing()?;

        // A partition of this name that our installer did not make.
        let machine = Machine::new(shell, ALL)?;
        machine.put(
            "answers/PART_ENTRY_TYPE",
            DATA_TYPE.replace("3868540f", "0fc63daf"),
        )?;
        machine
            .boot()?
            .gave_up("the disk of /dev/vda5 has no data partition")?
            .formatted_nothing()?;
        Ok(())
    })
}

#[test]
fn an_interrupted_format_of_xfs_is_repeated_and_a_finished_one_is_not() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, "data xfs /data\n")?;
        machine.put("answers/TYPE", "xfs\n")?;
        let mut bytes = vec![0; 1 << 20];
        bytes[..4].copy_from_slice(b"XFSB");
        machine.put("vda8", &bytes)?;
        machine.boot()?.succeeded()?.formatted_nothing()?;
        bytes[126] = 1;
        machine.put("vda8", &bytes)?;
        let run = machine.boot()?.succeeded()?;
        ensure!(
            run.calls.contains("mkfs.xfs -q -f -L data /dev/vda8\n"),
            "{}",
            run.calls
        );
        Ok(())
    })
}

#[test]
fn errors_that_only_a_person_can_repair_end_in_a_restart() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/TYPE", "ext4\n")?;
        machine.put("answers/e2fsck", "1\n")?;
        machine.boot()?.succeeded()?;
        machine.put("answers/e2fsck", "4\n")?;
        machine
            .boot()?
            .gave_up("/dev/vda8 has errors that e2fsck does not repair by itself (code 4)")?;
        machine.put("answers/e2fsck", "0\n")?;
        machine.put("answers/ssh-keygen-fails", "")?;
        machine
            .boot()?
            .gave_up("the ssh host keys could not be made")?;
        Ok(())
    })
}

#[test]
fn a_file_system_that_does_not_grow_is_reported_and_used() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/resize2fs-fails", "")?;
        let run = machine.boot()?.succeeded()?;
        ensure!(run.output.contains("was not grown"), "{run:?}");
        Ok(())
    })
}

#[test]
fn a_root_that_cannot_be_had_ends_in_a_restart() -> Result<()> {
    under_each_shell(|shell| {
        for (answer, reason) in [
            (
                "answers/no-partition",
                "no root partition: no disk with that GUID",
            ),
            ("answers/no-root", "no verified root"),
        ] {
            let machine = Machine::new(shell, ALL)?;
            machine.put(answer, "")?;
            machine.boot()?.gave_up(reason)?.formatted_nothing()?;
        }
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/root-fs", "zfs\n")?;
        machine.put("answers/mount-fails", "")?;
        machine
            .boot()?
            .gave_up("/dev/dm-0 holds none of erofs, squashfs and ext4")?;
        Ok(())
    })
}

#[test]
fn a_copy_of_the_disk_is_waited_for() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/copy", "")?;
        let run = machine.boot()?;
        ensure!(run.output.contains("waiting:"), "{run:?}");
        run.succeeded()?;
        Ok(())
    })
}

#[test]
fn a_boot_without_the_guard_is_not_restarted() -> Result<()> {
    under_each_shell(|shell| {
        let machine = Machine::new(shell, ALL)?;
        machine.put("answers/not-guarded", "")?;
        let run = machine.boot()?;
        ensure!(run.code == 77 && !run.calls.contains("reboot"), "{run:?}");
        ensure!(
            run.output.contains("not started by the boot guard"),
            "{run:?}"
        );
        Ok(())
    })
}

#[test]
fn a_power_cut_at_any_call_of_the_first_boot_leaves_a_machine_that_completes_it() -> Result<()> {
    under_each_shell(|shell| {
        let whole = Machine::new(shell, ALL)?;
        whole.boot()?.succeeded()?;
        let wanted = whole.tree("root/data")?;
        let mut cut = 1;
        loop {
            let machine = Machine::new(shell, ALL)?;
            let run = machine.run("boot", cut)?;
            if run.code == 0 {
                break;
            }
            ensure!(run.code == 99, "cut at call {cut}: {run:?}");
            machine.boot()?.succeeded()?;
            let found = machine.tree("root/data")?;
            ensure!(found == wanted, "cut at call {cut}: {found:?}");
            cut += 1;
        }
        ensure!(cut > 20, "only {cut} calls were cut");
        Ok(())
    })
}

#[test]
fn the_adapters_call_the_program_where_the_package_installs_it() -> Result<()> {
    let program = "/usr/lib/rayos/rayos-root";
    for (file, call) in [
        (
            "integration/initramfs-tools/scripts/rayos",
            "boot \"$rootmnt\"",
        ),
        (
            "integration/dracut/90rayos/mount-rayos.sh",
            "boot \"$NEWROOT\"",
        ),
        (
            "integration/mkosi-initrd/rayos-root.service",
            "boot /sysroot",
        ),
        ("integration/initramfs-tools/hooks/rayos", "check /"),
        (
            "integration/dracut/90rayos/module-setup.sh",
            "check \"${dracutsysrootdir:-/}\"",
        ),
    ] {
        let call = format!("{program} {call}");
        ensure!(text(file)?.contains(&call), "{file} does not call {call}");
    }
    Ok(())
}

#[test]
fn systemd_does_not_wait_for_a_root_partition_of_its_own_choice() -> Result<()> {
    let mask = "/etc/systemd/system-generators/systemd-gpt-auto-generator\"";
    for file in [
        "integration/dracut/90rayos/module-setup.sh",
        "integration/mkosi-initrd/mkosi.postinst",
    ] {
        let masked = text(file)?
            .lines()
            .any(|line| line.trim().starts_with("ln -sf /dev/null ") && line.ends_with(mask));
        ensure!(masked, "{file} does not mask systemd-gpt-auto-generator");
    }
    Ok(())
}

#[test]
fn the_unit_for_an_initramfs_with_systemd_is_valid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let unit = folder.path().join("rayos-root.service");
    // systemd-analyze looks for the program on this machine.
    let here = text("integration/mkosi-initrd/rayos-root.service")?
        .replace("/usr/lib/rayos/rayos-root", "/bin/true");
    fs::write(&unit, here)?;
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()?;
    let said = String::from_utf8_lossy(&verified.stderr);
    ensure!(
        verified.status.success() && !said.contains("rayos-root.service:"),
        "{said}"
    );
    Ok(())
}
