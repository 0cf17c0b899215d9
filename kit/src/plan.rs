//! The steps of a build, as a value: nothing is written here.

use crate::config::{Config, SecureBoot};
use crate::locate::BootFiles;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// UUID of every root file system: the root hash tells two apart.
const EROFS_UUID: &str = "72617973-6f73-4000-8000-726f6f740000";
/// Where the root and the recovery system expect the trust file and the name of the hardware.
const TRUST_FILE: &str = "etc/rayos/trust.toml";
const SYSTEM_FILE: &str = "etc/rayos/system.toml";
/// The program that checks an image's persist.conf.
const CHECK: &str = "usr/lib/rayos/rayos-root";

/// The content of a file that a step writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// That of another file.
    File(PathBuf),
    /// This text.
    Text(String),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The file that it writes; an older one is removed first.
    pub out: Option<PathBuf>,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create a folder.
    Folder(PathBuf),
    /// Write a file into the root's tree. A file with other content is refused, not replaced.
    Place(PathBuf, Content),
    /// Write a file.
    Write(PathBuf, Content),
    /// Write an initramfs: `files`, then `base`.
    Initramfs {
        /// The initramfs to extend.
        base: PathBuf,
        /// Path and content of further files.
        files: Vec<(&'static str, Content)>,
        /// The file to write.
        out: PathBuf,
    },
    /// Write a unified kernel image.
    Uki {
        /// systemd's stub.
        stub: PathBuf,
        /// Name and content of its sections.
        sections: Vec<(&'static str, Content)>,
        /// The file to write.
        out: PathBuf,
    },
    /// Run a command.
    Run(Command),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "mkdir -p {}", path.display()),
            Self::Place(path, _) | Self::Write(path, _) => write!(f, "write {}", path.display()),
            Self::Initramfs { out, .. } => write!(f, "initramfs {}", out.display()),
            Self::Uki { out, .. } => write!(f, "unified kernel image {}", out.display()),
            Self::Run(command) => {
                write!(f, "{}", command.program.display())?;
                command
                    .args
                    .iter()
                    .try_for_each(|word| write!(f, " {}", word.to_string_lossy()))
            }
        }
    }
}

/// Returns the steps of a build. *Pure.*
#[must_use]
pub fn plan(config: &Config, boot: &BootFiles) -> Vec<Step> {
    let parts = config.out.join("parts");
    let mut steps = vec![Step::Folder(parts.clone())];
    steps.extend(root_steps(config, &parts));
    steps.extend(boot_steps(config, boot, &parts));
    steps.extend(recovery_steps(config, &parts));
    steps.extend(guard_steps(config, &parts));
    steps.extend(bundle_steps(config, &parts));
    if config.trust.keys.is_empty() {
        // Deltas and media are made of signed bundles.
        return steps;
    }
    steps.extend(delta_step(config));
    steps.extend(stick_step(config));
    steps.extend(disk_step(config));
    steps
}

/// The bundle of the release. *Pure.*
#[must_use]
pub fn bundle(config: &Config) -> PathBuf {
    let version = &config.release.version;
    config.out.join(format!("rayos-{version}.bundle"))
}

/// The file with the name of the hardware.
fn system_file(config: &Config) -> Content {
    Content::Text(format!(
        "compatible = {}\n",
        quoted(&config.release.compatible)
    ))
}

/// The root image: trust and hardware name in the tree, the check of the tree, erofs.
fn root_steps(config: &Config, parts: &Path) -> Vec<Step> {
    let Some(tree) = &config.root.tree else {
        return Vec::new();
    };
    let trust = Content::File(config.trust.file.clone());
    let check = Command {
        program: tree.join(CHECK),
        args: vec!["check".into(), tree.into()],
        out: None,
    };
    let image = parts.join("root.erofs");
    let mkfs = Words::of("mkfs.erofs")
        .word("--quiet")
        .word(format!("-T{}", config.release.created))
        .word(format!("-U{EROFS_UUID}"))
        .word("--exclude-regex=^boot/")
        .word(&image)
        .word(tree)
        .writes(&image);
    vec![
        Step::Place(tree.join(TRUST_FILE), trust),
        Step::Place(tree.join(SYSTEM_FILE), system_file(config)),
        Step::Run(check),
        mkfs,
    ]
}

fn boot_steps(config: &Config, boot: &BootFiles, parts: &Path) -> Vec<Step> {
    let os_release = boot.os_release.clone().map_or_else(
        || Content::Text(format!("ID=linux\nVERSION_ID={}\n", config.release.version)),
        Content::File,
    );
    let image = Step::Uki {
        stub: config.boot.stub.clone(),
        sections: vec![
            (".osrel", os_release),
            (".cmdline", Content::Text(config.boot.cmdline.clone())),
            (".initrd", Content::File(boot.initramfs.clone())),
            (".linux", Content::File(boot.kernel.clone())),
        ],
        out: parts.join("boot.efi"),
    };
    with_signature(config, image, parts, "boot")
}

/// The recovery image: the base with the product's trust before it.
fn recovery_steps(config: &Config, parts: &Path) -> Vec<Step> {
    let base = &config.recovery.base;
    let initramfs = parts.join("recovery.initramfs");
    let extended = Step::Initramfs {
        base: base.join("initramfs"),
        files: vec![
            (TRUST_FILE, Content::File(config.trust.file.clone())),
            (SYSTEM_FILE, system_file(config)),
        ],
        out: initramfs.clone(),
    };
    let image = Step::Uki {
        stub: config.boot.stub.clone(),
        sections: vec![
            (".osrel", Content::File(base.join("os-release"))),
            (".cmdline", Content::Text(config.recovery.cmdline.clone())),
            (".initrd", Content::File(initramfs)),
            (".linux", Content::File(base.join("vmlinuz"))),
        ],
        out: parts.join("recovery.efi"),
    };
    let mut steps = vec![extended];
    steps.extend(with_signature(config, image, parts, "recovery"));
    steps
}

/// The guard gets its keys before it is signed: the signature covers them.
fn guard_steps(config: &Config, parts: &Path) -> Vec<Step> {
    let out = parts.join("guard.efi");
    let embed = Words::of("rayos-bundle")
        .word("embed-trust")
        .word(&config.guard.program)
        .word("--trust")
        .word(&config.trust.file)
        .word("-o")
        .word(&out)
        .writes(&out);
    with_signature(config, embed, parts, "guard")
}

/// `step`, which makes `parts/NAME.efi`, and its signature for the firmware, if one is asked for.
fn with_signature(config: &Config, step: Step, parts: &Path, name: &str) -> Vec<Step> {
    let mut steps = vec![step];
    if let Some(SecureBoot { key, certificate }) = &config.secure_boot {
        let out = signed(config, parts, name);
        steps.push(
            Words::of("sbsign")
                .word("--key")
                .word(key)
                .word("--cert")
                .word(certificate)
                .word("--output")
                .word(&out)
                .word(parts.join(format!("{name}.efi")))
                .writes(&out),
        );
    }
    steps
}

/// The program that the bundle holds.
fn signed(config: &Config, parts: &Path, name: &str) -> PathBuf {
    let kind = match config.secure_boot {
        Some(_) => "signed.efi",
        None => "efi",
    };
    parts.join(format!("{name}.{kind}"))
}

fn bundle_steps(config: &Config, parts: &Path) -> Vec<Step> {
    let recipe = parts.join("bundle.toml");
    let out = bundle(config);
    let mut create = Words::of("rayos-bundle").word("create").word(&recipe);
    for key in &config.trust.keys {
        create = create.word("--key").word(key);
    }
    if config.trust.keys.is_empty() {
        create = create.word("--unsigned");
    }
    vec![
        Step::Write(recipe, Content::Text(recipe_text(config, parts))),
        create.word("-o").word(&out).writes(&out),
    ]
}

/// The recipe of the bundle. Paths in it are relative to it.
fn recipe_text(config: &Config, parts: &Path) -> String {
    let release = &config.release;
    let mut text = format!(
        "[release]\nversion = {}\nrollback_index = {}\ncompatible = [{}]\ncreated = {}\n",
        quoted(&release.version),
        release.rollback_index,
        quoted(&release.compatible),
        release.created
    );
    if let Some(notes) = &release.notes {
        text.push_str(&format!("notes = {}\n", quoted(notes)));
    }
    if let Some(level) = release.level {
        text.push_str(&format!("\n[compression]\nlevel = {level}\n"));
    }
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = match &config.root.image {
        Some(image) => absolute(image),
        None => "root.erofs".into(),
    };
    let image = |name: &str| signed(config, Path::new(""), name);
    debug_assert!(signed(config, parts, "boot").ends_with(image("boot")));
    for (role, path) in [
        ("boot", image("boot")),
        ("root", root),
        ("recovery", image("recovery")),
        ("guard", image("guard")),
    ] {
        let path = quoted(&path.to_string_lossy());
        text.push_str(&format!("\n[[image]]\nrole = \"{role}\"\npath = {path}\n"));
    }
    text
}

fn delta_step(config: &Config) -> Option<Step> {
    let delta = config.delta.as_ref()?;
    let out = config
        .out
        .join(format!("rayos-{}.delta", config.release.version));
    let mut words = Words::of("rayos-bundle")
        .word("delta")
        .word(&delta.from)
        .word(bundle(config))
        .word("--trust")
        .word(&config.trust.file);
    for key in &config.trust.keys {
        words = words.word("--key").word(key);
    }
    Some(words.word("-o").word(&out).writes(&out))
}

fn stick_step(config: &Config) -> Option<Step> {
    let stick = config.stick.as_ref()?;
    let out = config.out.join("stick.img");
    let mut words = installer(config, "media");
    if let Some(answers) = &stick.answers {
        words = words.word("--answers").word(answers);
    }
    Some(words.word("-o").word(&out).writes(&out))
}

fn disk_step(config: &Config) -> Option<Step> {
    let disk = config.disk.as_ref()?;
    let out = config.out.join("disk.img");
    let mut words = installer(config, "image").word("--size").word(&disk.size);
    if let Some(layout) = &disk.layout {
        words = words.word("--layout").word(layout);
    }
    if let Some(id) = &disk.install_id {
        words = words.word("--install-id").word(id);
    }
    Some(words.word("-o").word(&out).writes(&out))
}

fn installer(config: &Config, verb: &str) -> Words {
    Words::of("rayos-installer")
        .word(verb)
        .word("--bundle")
        .word(bundle(config))
        .word("--trust")
        .word(&config.trust.file)
}

/// A command as it grows.
struct Words(Command);

impl Words {
    fn of(program: &str) -> Self {
        Self(Command {
            program: program.into(),
            args: Vec::new(),
            out: None,
        })
    }

    fn word(mut self, word: impl Into<OsString>) -> Self {
        self.0.args.push(word.into());
        self
    }

    fn writes(mut self, out: &Path) -> Step {
        self.0.out = Some(out.to_owned());
        Step::Run(self.0)
    }
}

/// Returns a text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(more: &str) -> Vec<String> {
        let text = format!(
            "out = \"o\"\n[release]\nversion = \"1.0.0\"\nrollback_index = 3\ncompatible = \"a\\\"b\"\n\
             [root]\ntree = \"tree\"\n{more}"
        );
        let config = Config::parse(&text, Path::new("rayos.toml")).unwrap();
        let boot = BootFiles {
            kernel: "vmlinuz".into(),
            initramfs: "initrd".into(),
            os_release: None,
        };
        plan(&config, &boot).iter().map(Step::to_string).collect()
    }

    #[test]
    fn a_build_without_secure_boot_has_these_steps() {
        let wanted = [
            "mkdir -p o/parts",
            "write tree/etc/rayos/trust.toml",
            "write tree/etc/rayos/system.toml",
            "tree/usr/lib/rayos/rayos-root check tree",
            "mkfs.erofs --quiet -T0 -U72617973-6f73-4000-8000-726f6f740000 --exclude-regex=^boot/ \
             o/parts/root.erofs tree",
            "unified kernel image o/parts/boot.efi",
            "initramfs o/parts/recovery.initramfs",
            "unified kernel image o/parts/recovery.efi",
            "rayos-bundle embed-trust /usr/lib/rayos/guard/rayos-guard.efi --trust trust.toml -o \
             o/parts/guard.efi",
            "write o/parts/bundle.toml",
            "rayos-bundle create o/parts/bundle.toml --key keys/release.key -o o/rayos-1.0.0.bundle",
        ];
        assert_eq!(steps(""), wanted);
    }

    #[test]
    fn each_section_adds_its_results() {
        let more = "[secure_boot]\nkey = \"k\"\ncertificate = \"c\"\n[stick]\nanswers = \"i.toml\"\n\
                    [disk]\nsize = \"8G\"\n[delta]\nfrom = \"old.bundle\"\n";
        let steps = steps(more);
        for wanted in [
            "sbsign --key k --cert c --output o/parts/guard.signed.efi o/parts/guard.efi",
            "sbsign --key k --cert c --output o/parts/boot.signed.efi o/parts/boot.efi",
            "rayos-bundle delta old.bundle o/rayos-1.0.0.bundle --trust trust.toml --key \
             keys/release.key -o o/rayos-1.0.0.delta",
            "rayos-installer media --bundle o/rayos-1.0.0.bundle --trust trust.toml --answers i.toml \
             -o o/stick.img",
            "rayos-installer image --bundle o/rayos-1.0.0.bundle --trust trust.toml --size 8G -o \
             o/disk.img",
        ] {
            assert!(
                steps.iter().any(|step| step == wanted),
                "{wanted}: {steps:#?}"
            );
        }
        let position = |begin: &str| steps.iter().position(|step| step.starts_with(begin));
        assert!(
            position("rayos-bundle embed") < position("sbsign --key k --cert c --output o/parts/g")
        );
        assert!(position("sbsign") < position("rayos-bundle create"));
    }

    #[test]
    fn without_keys_the_build_ends_with_an_unsigned_bundle() {
        let more = "[trust]\nkeys = []\n[stick]\n[delta]\nfrom = \"old.bundle\"\n";
        let last = steps(more).pop().unwrap();
        let wanted = "rayos-bundle create o/parts/bundle.toml --unsigned -o o/rayos-1.0.0.bundle";
        assert_eq!(last, wanted);
    }

    #[test]
    fn texts_are_quoted_in_the_recipe() {
        let text = "[release]\nversion = \"1\"\nrollback_index = 3\ncompatible = \"a\\\"b\"\nnotes = \"n\\nm\"\nlevel = 3\n\
                    [root]\nimage = \"/r.img\"\n[boot]\nkernel = \"k\"\ninitramfs = \"i\"\n";
        let config = Config::parse(text, Path::new("rayos.toml")).unwrap();
        let recipe: toml::Table = recipe_text(&config, Path::new("p")).parse().unwrap();
        let release = recipe["release"].as_table().unwrap();
        assert_eq!(release["compatible"][0].as_str(), Some("a\"b"));
        assert_eq!(release["notes"].as_str(), Some("n\nm"));
        assert_eq!(recipe["compression"]["level"].as_integer(), Some(3));
        assert_eq!(recipe["image"][1]["path"].as_str(), Some("/r.img"));
    }
}
