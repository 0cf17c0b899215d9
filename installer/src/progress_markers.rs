//! Progress markers: lines on standard error by which a test or the reader of a serial console
//! follows an installation.

/// A step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressMarker<'a> {
    /// The program started.
    Started,
    /// The disks are those of a sample machine.
    SampleMode,
    /// The disks are those of this machine.
    RealMode,
    /// The plan is complete.
    PlanGenerated,
    /// The plan was printed as JSON.
    JsonEmitted,
    /// The plan was printed for people.
    TextPrinted,
    /// This disk is about to be written.
    WriteStarted(&'a std::path::Path),
    /// The release was verified on the disk and is armed for the next boot.
    Activated(&'a str),
    /// The disk already contains the installation, and the firmware was asked to start it.
    AlreadyInstalled(&'a std::path::Path),
    /// The program succeeded.
    Complete,
    /// The program failed, with this exit code.
    Failed(u8),
}

impl std::fmt::Display for ProgressMarker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RAYOS_INSTALLER:")?;
        match self {
            Self::Started => f.write_str("STARTED"),
            Self::SampleMode => f.write_str("SAMPLE_MODE"),
            Self::RealMode => f.write_str("REAL_MODE"),
            Self::PlanGenerated => f.write_str("PLAN_GENERATED"),
            Self::JsonEmitted => f.write_str("JSON_EMITTED"),
            Self::TextPrinted => f.write_str("TEXT_PRINTED"),
            Self::WriteStarted(disk) => write!(f, "WRITE_STARTED disk={}", disk.display()),
            Self::Activated(version) => write!(f, "ACTIVATED version={version}"),
            Self::AlreadyInstalled(disk) => write!(f, "ALREADY_INSTALLED disk={}", disk.display()),
            Self::Complete => f.write_str("COMPLETE"),
            Self::Failed(code) => write!(f, "FAILED code={code}"),
        }
    }
}
