//! Bundles that must not be applied are refused with a clear error, and the disk does not change.

use crate::scenario::{Steps as _, scenario};
use anyhow::{Result, ensure};
use qemu::project_folder;
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::{Sample, WebServer, digest_of};

/// Signature, digest or compatibility refused.
const REFUSED: i32 = 3;
/// The target slot holds no release now; the booted one is untouched.
const SLOT_INVALID: i32 = 8;

/// A bundle or a trust file that the machine must refuse, and words of the error.
struct Case {
    name: &'static str,
    /// The trust file, if not that of the machine.
    trust: Option<&'static str>,
    words: &'static str,
}

const fn case(name: &'static str, trust: Option<&'static str>, words: &'static str) -> Case {
    Case { name, trust, words }
}

const CASES: [Case; 10] = [
    case("flipped-seal", None, "seal"),
    case("flipped-manifest", None, "manifest"),
    case("foreign", None, "trusted"),
    case("old", None, "rollback index"),
    case("other-product", None, "this machine is rayos-x86_64"),
    case("mixed", None, "manifest"),
    case("cut-in-the-head", None, "ends after"),
    case("cut-in-the-payload", None, "ends after"),
    case(
        "good",
        Some("two.toml"),
        "signed by 1 trusted release key(s), expected 2",
    ),
    case(
        "good",
        Some("revoked.toml"),
        "signed by 0 trusted release key(s), expected 1",
    ),
];

#[test]
fn damaged_foreign_old_and_mixed_bundles_are_refused() -> Result<()> {
    scenario("refuse", |scenario| {
        let bad = scenario.file("bundles");
        fs::create_dir(&bad)?;
        make_cases(&scenario.sample, &bad)?;
        let web = WebServer::start(&bad)?;

        let mut machine = scenario.start_installed()?;
        let disk = scenario.image();
        let len = fs::metadata(&disk)?.len();
        // The boot record may change by itself until the boot has committed.
        machine.check(
            "until rayos-bootctl status | grep -q 'budget 8'; do usleep 100000; done; sync",
        )?;
        for trust in ["two.toml", "revoked.toml"] {
            machine.check(&format!("wget -q -O /tmp/{trust} {}", web.guest_url(trust)))?;
        }
        let before = digest_of(&disk, 0, len)?;
        for Case { name, trust, words } in CASES {
            let url = web.guest_url(&format!("{name}.bundle"));
            let trust = trust.map_or(String::new(), |trust| format!("--trust /tmp/{trust} "));
            let command = format!("rayos-updater apply {trust}{url}");
            machine.check_fails(&command, REFUSED, &[words])?;
        }
        machine.check("sync")?;
        ensure!(
            digest_of(&disk, 0, len)? == before,
            "a refused bundle changed the disk"
        );
        Ok(())
    })
}

/// Writes the files of all cases.
fn make_cases(sample: &Sample, to: &Path) -> Result<()> {
    let file = |name: &str| to.join(format!("{name}.bundle"));
    let good = fs::read(sample.bundle("1.1.0"))?;
    fs::write(file("good"), &good)?;
    flipped(sample, &file("flipped-seal"), 100)?;
    flipped(sample, &file("flipped-manifest"), 4096 + 40)?;
    foreign(sample, &file("foreign"))?;
    fs::copy(sample.bundle("0.9.0"), file("old"))?;
    // The seal of one release, and everything else of another.
    let mut mixed = fs::read(sample.bundle("1.0.0"))?;
    mixed[..4096].copy_from_slice(&good[..4096]);
    fs::write(file("mixed"), mixed)?;
    fs::write(file("cut-in-the-head"), &good[..4200])?;
    fs::write(file("cut-in-the-payload"), &good[..good.len() / 2])?;
    other_product(sample, to)?;
    trust_files(sample, to)
}

/// Writes the release 1.1.0 for other hardware, signed with the right key.
fn other_product(sample: &Sample, to: &Path) -> Result<()> {
    let folder = to.join("other");
    fs::create_dir(&folder)?;
    let recipe = fs::read_to_string(sample.file("releases/1.1.0/bundle.toml"))?;
    fs::write(
        folder.join("bundle.toml"),
        recipe
            .replace("rayos-x86_64", "toaster")
            .replace("../../", ""),
    )?;
    for (from, name) in [
        ("releases/1.1.0/boot.efi", "boot.efi"),
        ("releases/1.1.0/root.erofs", "root.erofs"),
        ("recovery.efi", "recovery.efi"),
        ("guard.efi", "guard.efi"),
    ] {
        std::os::unix::fs::symlink(sample.file(from).canonicalize()?, folder.join(name))?;
    }
    create(
        sample,
        &folder.join("bundle.toml"),
        "keys/release.key",
        &to.join("other-product.bundle"),
    )
}

/// Writes a trust file that requires two signatures, and one that revokes the key of the signature.
fn trust_files(sample: &Sample, to: &Path) -> Result<()> {
    let key = |name: &str| -> Result<String> {
        let pem = fs::read_to_string(sample.file(&format!("keys/{name}.pub")))?;
        Ok(format!(
            "[[key]]\nname = \"{name}\"\nroles = [\"release\"]\npublic_key = \"\"\"\n{pem}\"\"\"\n"
        ))
    };
    let keys = key("release")? + &key("stranger")?;
    fs::write(
        to.join("two.toml"),
        format!("epoch = 0\n[threshold]\nrelease = 2\n{keys}"),
    )?;
    let public = bundle::keys::load_public(&sample.file("keys/release.pub"))?;
    let revoked = format!("revoked = [\"{}\"]", seal::KeyId::of(&public));
    fs::write(
        to.join("revoked.toml"),
        format!("epoch = 0\n{revoked}\n[threshold]\nrelease = 1\n{keys}"),
    )?;
    Ok(())
}

#[test]
fn a_flipped_byte_in_the_payload_leaves_the_running_slot() -> Result<()> {
    scenario("refuse-payload", |scenario| {
        let bad = scenario.file("bundles");
        fs::create_dir(&bad)?;
        let len = fs::metadata(scenario.sample.bundle("1.1.0"))?.len();
        // The images that an update takes come first.
        flipped(&scenario.sample, &bad.join("payload.bundle"), len / 4)?;
        let web = WebServer::start(&bad)?;
        let mut machine = scenario.start_installed()?;
        // --no-adaptive fetches everything: otherwise the chunk with the flipped byte would be taken
        // from the running slot.
        let url = web.guest_url("payload.bundle");
        let command = format!("rayos-updater apply --no-adaptive {url}");
        machine.check_fails(&command, SLOT_INVALID, &["digest"])?;
        machine.reboot_into("a", "1.0.0", "")
    })
}

/// Writes the bundle 1.1.0 with one bit of the byte at `offset` flipped.
fn flipped(sample: &Sample, to: &Path, offset: u64) -> Result<()> {
    let mut bytes = fs::read(sample.bundle("1.1.0"))?;
    bytes[usize::try_from(offset)?] ^= 1;
    Ok(fs::write(to, bytes)?)
}

/// Writes the release 1.1.0, signed with a key that the machine does not trust.
pub(crate) fn foreign(sample: &Sample, to: &Path) -> Result<()> {
    create(
        sample,
        &sample.file("releases/1.1.0/bundle.toml"),
        "keys/stranger.key",
        to,
    )
}

fn create(sample: &Sample, recipe: &Path, key: &str, to: &Path) -> Result<()> {
    let made = Command::new(sample.program("rayos-bundle"))
        .current_dir(project_folder())
        .arg("create")
        .arg(recipe)
        .arg("--key")
        .arg(sample.file(key))
        .arg("-o")
        .arg(to)
        .output()?;
    ensure!(
        made.status.success(),
        "rayos-bundle create: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}
