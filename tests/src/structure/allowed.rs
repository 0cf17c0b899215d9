//! The packages of the workspace, and which of them each may import.

/// Packages that each package may depend on, except for its tests (docs/architecture.md).
pub const PACKAGES: &[(&str, &[&str])] = &[
    ("cli", &[]),
    ("seal", &[]),
    ("bundle", &["cli", "seal"]),
    ("record", &["seal"]),
    ("guard", &["record", "seal"]),
    ("bootctl", &["cli", "record", "seal"]),
    ("updater", &["bootctl", "bundle", "cli", "record", "seal"]),
    (
        "installer",
        &["bootctl", "bundle", "cli", "record", "seal", "updater"],
    ),
    (
        "recovery",
        &[
            "bootctl",
            "bundle",
            "cli",
            "installer",
            "record",
            "seal",
            "updater",
        ],
    ),
    ("kit", &["cli"]),
    ("fixtures", &[]),
    ("qemu", &[]),
    (
        "tests",
        &[
            "bootctl",
            "bundle",
            "cli",
            "fixtures",
            "guard",
            "installer",
            "qemu",
            "record",
            "seal",
            "updater",
        ],
    ),
];
