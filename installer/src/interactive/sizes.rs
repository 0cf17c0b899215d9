//! The sizes that an operator can change, and their limits.

use crate::disk::layout::{ALIGNMENT, Layout, Size};

/// A size in a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// EFI system partition.
    Esp,
    /// Both boot partitions.
    Boot,
    /// Both root partitions.
    Root,
    /// Recovery partition.
    Recovery,
    /// Data partition.
    Data,
}

impl Field {
    /// All fields, in the order of a screen.
    pub const ALL: [Self; 5] = [
        Self::Root,
        Self::Data,
        Self::Boot,
        Self::Recovery,
        Self::Esp,
    ];

    /// Returns its name for people. *Pure.*
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp => "EFI system partition",
            Self::Boot => "boot image, each of two",
            Self::Root => "root, each of two",
            Self::Recovery => "recovery",
            Self::Data => "data",
        }
    }

    /// Returns the size in `layout`; `None` is the rest of the disk. *Pure.*
    #[must_use]
    pub const fn of(self, layout: &Layout) -> Option<Size> {
        match self {
            Self::Esp => Some(layout.esp),
            Self::Boot => Some(layout.boot),
            Self::Root => Some(layout.root),
            Self::Recovery => Some(layout.recovery),
            Self::Data => layout.data,
        }
    }
}

/// Returns `layout` with another size, as typed: `2G`, or `rest` for the data. *Pure.*
///
/// # Errors
/// Why the size is not possible, for people: not a size, not a multiple of 1 MiB, below `limits`.
pub fn set_size(
    layout: &Layout,
    field: Field,
    typed: &str,
    limits: &Layout,
) -> Result<Layout, String> {
    let (typed, mut changed) = (typed.trim(), *layout);
    if field == Field::Data && (typed.is_empty() || typed.eq_ignore_ascii_case("rest")) {
        changed.data = None;
        return Ok(changed);
    }
    if typed.is_empty() {
        return Ok(changed);
    }
    let size: Size = typed.parse()?;
    if size.0 == 0 || !size.0.is_multiple_of(ALIGNMENT) {
        return Err(format!("{size} is not a multiple of 1 MiB"));
    }
    let least = field.of(limits).unwrap_or(Size(16 * ALIGNMENT));
    if size < least {
        return Err(format!("{} needs {least} or more", field.name()));
    }
    match field {
        Field::Esp => changed.esp = size,
        Field::Boot => changed.boot = size,
        Field::Root => changed.root = size,
        Field::Recovery => changed.recovery = size,
        Field::Data => changed.data = Some(size),
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interactive::session::Needs;

    #[test]
    fn a_size_is_changed_within_its_limits() {
        let (layout, needs) = (
            Layout::default(),
            Needs {
                root: (1 << 30) + 5,
                ..Needs::default()
            },
        );
        let limits = needs.smallest(512);
        let set = |field, typed| set_size(&layout, field, typed, &limits);
        assert_eq!(
            set(Field::Root, " 3G ").map(|it| it.root),
            Ok(Size(3 << 30))
        );
        assert_eq!(set(Field::Root, "").as_ref(), Ok(&layout));
        let too_small = set(Field::Root, "1G").expect_err("too small");
        assert_eq!(too_small, "root, each of two needs 1025MiB or more");
        assert!(
            set(Field::Boot, "1000K")
                .expect_err("odd")
                .contains("multiple")
        );
        assert!(
            set(Field::Boot, "much")
                .expect_err("text")
                .contains("expected K, M, G or T")
        );
        assert_eq!(
            set(Field::Data, "20G").map(|it| it.data),
            Ok(Some(Size(20 << 30)))
        );
        assert_eq!(set(Field::Data, "rest").map(|it| it.data), Ok(None));
        assert!(set(Field::Esp, "32M").is_err());
        assert_eq!(Needs::default().smallest(4096).esp, Size(257 << 20));
    }
}
