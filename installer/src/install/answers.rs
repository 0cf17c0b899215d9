//! The answers file, `install.toml`: the settings of an unattended installation. Its keys match the
//! options of `rayos-installer apply`; docs/install.example.toml has every key.

use crate::disk::choose::Target;
use crate::disk::layout::Layout;
use crate::disk::safety::DiskRequest;
use cli::input::{TextError, decode_text};
use record::Text64;
use serde::{Deserialize, Serialize};

/// An answers file, version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Version of this file's format: 1.
    pub version: u32,
    /// Install without a question. A disk that is not empty must still be named in `erase`.
    #[serde(default)]
    pub unattended: bool,
    /// The disk to install to.
    #[serde(default)]
    pub target: Target,
    /// Bundle: a file on the medium, or a URL; `None` takes the only bundle on the medium.
    pub bundle: Option<String>,
    /// Hardware name of the machine; `None` takes that of the recovery system, which refuses any
    /// other name.
    pub compatible: Option<String>,
    /// Id of a disk that may be erased; with `beside`, of a disk on which RayOS may be replaced.
    pub erase: Option<String>,
    /// The recovery keys of BitLocker volumes on the disk are at hand: Windows may ask for them
    /// after boot entries change.
    #[serde(default)]
    pub recovery_key_at_hand: bool,
    /// Install into free space of the disk: partitions of other systems stay unchanged.
    #[serde(default)]
    pub beside: bool,
    /// Accept releases below the rollback floor of the previous installation, if a person confirms
    /// it. Otherwise the floor in a valid boot record with the same hardware name is kept.
    #[serde(default)]
    pub forget_floor: bool,
    /// Sizes of the partitions.
    #[serde(default)]
    pub layout: Layout,
    /// What to do after the installation.
    #[serde(default)]
    pub then: Then,
}

/// What to do after the installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Restart into the installed system.
    #[default]
    Reboot,
    /// Switch off.
    PowerOff,
    /// Neither.
    Nothing,
}

/// Why an answers file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswersError {
    /// It is not TOML, or has an unknown key or value; names line and column.
    #[error("install.toml: {0}")]
    Syntax(String),
    /// It is not text.
    #[error("install.toml: {0}")]
    Text(#[from] TextError),
    /// It names other hardware than this machine.
    #[error("install.toml: compatible is {found}, this machine is {machine}")]
    Compatible {
        /// Name in the file.
        found: String,
        /// Name in the recovery system.
        machine: Text64,
    },
    /// It has another version of the format.
    #[error("install.toml: version is {0}, expected 1")]
    Version(u32),
}

impl Answers {
    /// Parses an answers file as an editor saved it, with or without a byte order mark. *Pure.*
    ///
    /// # Errors
    /// [`AnswersError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AnswersError> {
        Self::parse(&decode_text(bytes)?)
    }

    /// Parses an answers file. *Pure.*
    ///
    /// # Errors
    /// [`AnswersError`].
    pub fn parse(text: &str) -> Result<Self, AnswersError> {
        let answers: Self = toml::from_str(text)
            .map_err(|error| AnswersError::Syntax(error.to_string().trim_end().to_owned()))?;
        if answers.version != 1 {
            return Err(AnswersError::Version(answers.version));
        }
        Ok(answers)
    }

    /// Returns the answers file as text, which [`Self::parse`] accepts. *Pure.*
    #[must_use]
    pub fn encode(&self) -> String {
        // Every value has a form in TOML, and tables come last.
        toml::to_string(self).unwrap_or_default()
    }

    /// Checks that the file is for `machine`, the hardware name in the recovery system. *Pure.*
    ///
    /// # Errors
    /// [`AnswersError::Compatible`].
    pub fn check_machine(&self, machine: Text64) -> Result<(), AnswersError> {
        match &self.compatible {
            Some(found) if found != machine.as_str() => Err(AnswersError::Compatible {
                found: found.clone(),
                machine,
            }),
            _ => Ok(()),
        }
    }

    /// Returns how a disk is to be used, in a machine with the medium on `media_disks`. *Pure.*
    #[must_use]
    pub fn disk_request<'a>(&'a self, media_disks: &'a [String]) -> DiskRequest<'a> {
        DiskRequest {
            layout: &self.layout,
            beside: self.beside,
            recovery_key_at_hand: self.recovery_key_at_hand,
            media_disks,
            erase: self.erase.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_file_asks_before_installing() {
        let answers = Answers::parse("version = 1").expect("answers");
        assert!(!answers.unattended);
        assert_eq!(
            (answers.target, answers.then),
            (Target::OnlyBlankDisk, Then::Reboot)
        );
    }

    #[test]
    fn every_key_of_a_file_is_read() {
        let text = "version = 1\nunattended = true\nbundle = \"x.bundle\"\nerase = \"S-1\"\n\
                    then = \"power-off\"\n\
                    [target]\ndisk = \"S-1\"\n[layout]\nroot = \"512M\"\n";
        let answers = Answers::parse(text).expect("answers");
        assert_eq!(answers.target, Target::Disk("S-1".to_owned()));
        assert_eq!(answers.layout.root.0, 512 << 20);
        assert_eq!(answers.then, Then::PowerOff);
        assert_eq!((answers.beside, answers.layout.data), (false, None));
    }

    #[test]
    fn an_installation_beside_another_system_is_explicit() {
        let answers = Answers::parse("version = 1\nbeside = true\n[layout]\ndata = \"20G\"\n")
            .expect("answers");
        assert!(answers.beside && answers.disk_request(&[]).beside);
        assert_eq!(answers.layout.data.map(|size| size.0), Some(20 << 30));
    }

    #[test]
    fn the_documented_example_has_every_key_and_shows_the_defaults() {
        let text = include_str!("../../../docs/install.example.toml");
        let answers = Answers::parse(text).expect("example");
        let keys = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
        let (shown, all) = (
            text.parse().expect("toml"),
            toml::Table::try_from(&answers).expect("toml"),
        );
        assert_eq!(keys(&shown), keys(&all));
        let layout = |table: &toml::Table| table["layout"].as_table().map(keys);
        assert_eq!(layout(&shown), layout(&all));
        let least = Answers::parse("version = 1").expect("answers");
        let without = Answers {
            unattended: false,
            bundle: None,
            compatible: None,
            erase: None,
            recovery_key_at_hand: false,
            layout: Layout {
                data: None,
                ..answers.layout
            },
            ..answers
        };
        assert_eq!(without, least);
    }

    #[test]
    fn the_encoding_is_accepted_or_named_in_the_error() {
        let marked = b"\xef\xbb\xbfversion = 1\r\nunattended = true\r\n";
        assert!(Answers::decode(marked).expect("answers").unattended);
        let utf16: Vec<u8> = "version = 1"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let words = Answers::decode(&utf16).expect_err("UTF-16").to_string();
        assert_eq!(words, "install.toml: encoded as UTF-16: save it as UTF-8");
    }

    #[test]
    fn a_file_for_other_hardware_is_refused() {
        let machine = Text64::new("board-1").expect("name");
        let with = |more: &str| Answers::parse(&format!("version = 1\n{more}")).expect("answers");
        assert_eq!(with("").check_machine(machine), Ok(()));
        assert_eq!(
            with("compatible = \"board-1\"").check_machine(machine),
            Ok(())
        );
        let error = with("compatible = \"board-2\"").check_machine(machine);
        assert_eq!(
            error.expect_err("other hardware").to_string(),
            "install.toml: compatible is board-2, this machine is board-1"
        );
    }

    #[test]
    fn errors_name_the_line() {
        let error = Answers::parse("version = 1\nunatended = true\n").expect_err("unknown key");
        assert!(
            error.to_string().contains("line 2") && error.to_string().contains("unatended"),
            "{error}"
        );
        assert_eq!(Answers::parse("version = 2"), Err(AnswersError::Version(2)));
    }
}
