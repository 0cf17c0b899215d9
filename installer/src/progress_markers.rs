//! Markers: lines on standard error by which a test, or a serial console's reader, follows an
//! installation.

/// A step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressMarker<'a> {
    /// The program runs.
    Started,
    /// The disks are made up.
    SampleMode,
    /// The disks are this machine's.
    RealMode,
    /// The plan stands.
    PlanGenerated,
    /// The plan was printed as JSON.
    JsonEmitted,
    /// From here on this disk is written.
    WriteStarted(&'a std::path::Path),
    /// Everything was read back, and the release will be tried at the next boot.
    Activated(&'a str),
    /// The release is installed on this disk already, and the firmware was asked to start it.
    AlreadyInstalled(&'a std::path::Path),
    /// It is done.
    Complete,
    /// It failed, with this exit code.
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
            Self::WriteStarted(disk) => write!(f, "WRITE_STARTED disk={}", disk.display()),
            Self::Activated(version) => write!(f, "ACTIVATED version={version}"),
            Self::AlreadyInstalled(disk) => write!(f, "ALREADY_INSTALLED disk={}", disk.display()),
            Self::Complete => f.write_str("COMPLETE"),
            Self::Failed(code) => write!(f, "FAILED code={code}"),
        }
    }
}
