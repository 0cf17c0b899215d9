//! Unified kernel images: systemd's stub, an EFI program, with kernel, initramfs and command line
//! as further sections (UAPI group, "Unified Kernel Image").
//!
//! PE fields are those of Microsoft's "PE Format". Sections are appended; nothing of the stub is
//! loaded at another address.

/// Maximum length of a stub; systemd's have about 100 KiB.
pub const MAX_STUB_LEN: usize = 4 << 20;
/// Maximum length of an image: more does not fit into the fields of the format.
const MAX_LEN: usize = u32::MAX as usize;
/// Minimum alignment of added sections in memory: kernels expect pages, whatever the stub has.
const ALIGNMENT: usize = 64 << 10;
/// Length of a section header.
const SECTION_LEN: usize = 40;
/// Initialised data, readable.
const DATA: u32 = 0x4000_0040;

/// Why an image could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// The stub is not what it should be.
    #[error("the stub is not an EFI program for x86-64: {0}")]
    Stub(&'static str),
    /// The stub has a section of that name.
    #[error("the stub has a section {0}: it is not a stub but an image")]
    Taken(String),
    /// The image is too long.
    #[error("the image would have 4 GiB or more")]
    TooLong,
}

/// A section to add.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its name, at most 8 bytes, such as `.linux`.
    pub name: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// Positions in the headers of a stub.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Of the COFF header.
    coff: usize,
    /// Of the optional header.
    optional: usize,
    /// Of the first section header.
    sections: usize,
    /// Number of sections.
    count: usize,
    /// Alignment of sections in memory and in the file.
    section_alignment: usize,
    file_alignment: usize,
    /// Length of all headers, from the begin of the file.
    headers_len: usize,
}

/// Returns `stub` with `sections` appended, in this order. *Pure*: the same bytes each time.
///
/// # Errors
/// [`UkiError`].
pub fn assemble(stub: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, UkiError> {
    let layout = Layout::of(stub)?;
    let mut image = stub.to_vec();
    // A symbol table would be a gap between sections, which signing programs and firmware hash in
    // different ways.
    image.truncate(layout.end_in_file(stub)?);
    put(&mut image, layout.coff + 8, &[0; 8])?;
    let headers_end = layout.sections + (layout.count + sections.len()) * SECTION_LEN;
    let shift = make_room(&mut image, &layout, headers_end)?;
    let mut address = layout.end_in_memory(stub)?;
    image.resize(align(image.len(), layout.file_alignment)?, 0);
    for (added, section) in sections.iter().enumerate() {
        let at = layout.sections + (layout.count + added) * SECTION_LEN;
        let raw_len = align(section.content.len(), layout.file_alignment)?;
        put_header(&mut image, at, section, (address, raw_len))?;
        image.extend_from_slice(section.content);
        image.resize(align(image.len(), layout.file_alignment)?, 0);
        address = align(
            address + section.content.len().max(1),
            layout.section_alignment,
        )?;
    }
    if image.len() > MAX_LEN {
        return Err(UkiError::TooLong);
    }
    let count = u16::try_from(layout.count + sections.len()).map_err(|_| UkiError::TooLong)?;
    put(&mut image, layout.coff + 2, &count.to_le_bytes())?;
    put_u32(&mut image, layout.optional + 56, address)?;
    put_u32(&mut image, layout.optional + 60, layout.headers_len + shift)?;
    // No checksum: firmware does not read it, and `sbsign` sets it.
    put_u32(&mut image, layout.optional + 64, 0)?;
    Ok(image)
}

/// Moves everything behind the headers, so that they may end at `end`. Returns by how much.
fn make_room(image: &mut Vec<u8>, layout: &Layout, end: usize) -> Result<usize, UkiError> {
    if end <= layout.headers_len {
        return Ok(0);
    }
    let shift = align(end - layout.headers_len, layout.file_alignment)?;
    let first = u32_at(image, layout.sections + 12)?;
    if layout.headers_len + shift > first {
        return Err(UkiError::Stub("no room for further section headers"));
    }
    let zeroes = std::iter::repeat_n(0, shift);
    drop(image.splice(layout.headers_len..layout.headers_len, zeroes));
    for number in 0..layout.count {
        let field = layout.sections + number * SECTION_LEN + 20;
        let at = u32_at(image, field)?;
        if at != 0 {
            put_u32(image, field, at + shift)?;
        }
    }
    Ok(shift)
}

/// Writes the header of a section whose content follows at the end of the image. `place` is its
/// address in memory and its length in the file.
fn put_header(
    image: &mut [u8],
    at: usize,
    section: &Section<'_>,
    place: (usize, usize),
) -> Result<(), UkiError> {
    let (address, raw_len) = place;
    let mut name = [0; 8];
    let begin = name
        .get_mut(..section.name.len())
        .ok_or(UkiError::TooLong)?;
    begin.copy_from_slice(section.name.as_bytes());
    let content_at = image.len();
    put(image, at, &[0; SECTION_LEN])?;
    put(image, at, &name)?;
    put_u32(image, at + 8, section.content.len())?;
    put_u32(image, at + 12, address)?;
    put_u32(image, at + 16, raw_len)?;
    put_u32(image, at + 20, content_at)?;
    put(image, at + 36, &DATA.to_le_bytes())
}

impl Layout {
    /// Parses the headers of a stub.
    fn of(stub: &[u8]) -> Result<Self, UkiError> {
        if stub.len() > MAX_STUB_LEN {
            return Err(UkiError::Stub("longer than 4 MiB"));
        }
        if stub.get(..2) != Some(b"MZ") {
            return Err(UkiError::Stub("no DOS header"));
        }
        let pe = u32_at(stub, 60)?;
        if stub.get(pe..pe.saturating_add(6)) != Some(b"PE\0\0\x64\x86") {
            return Err(UkiError::Stub("no PE header for x86-64"));
        }
        let coff = pe + 4;
        let optional = coff + 20;
        let layout = Self {
            coff,
            optional,
            count: u16_at(stub, coff + 2)?,
            sections: optional + u16_at(stub, coff + 16)?,
            section_alignment: u32_at(stub, optional + 32)?.max(ALIGNMENT),
            file_alignment: u32_at(stub, optional + 36)?,
            headers_len: u32_at(stub, optional + 60)?,
        };
        let alignments = [layout.section_alignment, layout.file_alignment];
        if !alignments.iter().all(|value| value.is_power_of_two()) {
            return Err(UkiError::Stub("an alignment is no power of two"));
        }
        let end = layout.sections + layout.count * SECTION_LEN;
        if layout.count == 0 || end > layout.headers_len || layout.headers_len > stub.len() {
            return Err(UkiError::Stub("section headers outside of the headers"));
        }
        layout.refuse_images(stub)?;
        Ok(layout)
    }

    /// Refuses a stub that has been made into an image already.
    fn refuse_images(&self, stub: &[u8]) -> Result<(), UkiError> {
        for number in 0..self.count {
            let at = self.sections + number * SECTION_LEN;
            let name = stub.get(at..at + 8).unwrap_or_default();
            if [&b".linux\0\0"[..], b".initrd\0", b".cmdline"].contains(&name) {
                let name = String::from_utf8_lossy(name);
                let name = name.trim_end_matches('\0').to_owned();
                return Err(UkiError::Taken(name));
            }
        }
        Ok(())
    }

    /// Returns the position behind the content of all sections of the stub.
    fn end_in_file(&self, stub: &[u8]) -> Result<usize, UkiError> {
        let mut end = self.headers_len;
        for number in 0..self.count {
            let at = self.sections + number * SECTION_LEN;
            end = end.max(u32_at(stub, at + 20)? + u32_at(stub, at + 16)?);
        }
        if end > stub.len() {
            return Err(UkiError::Stub("a section ends behind it"));
        }
        Ok(end)
    }

    /// Returns the first address behind all sections of the stub.
    fn end_in_memory(&self, stub: &[u8]) -> Result<usize, UkiError> {
        let mut end = 0;
        for number in 0..self.count {
            let at = self.sections + number * SECTION_LEN;
            end = end.max(u32_at(stub, at + 12)? + u32_at(stub, at + 8)?);
        }
        align(end, self.section_alignment)
    }
}

fn align(value: usize, to: usize) -> Result<usize, UkiError> {
    value.checked_next_multiple_of(to).ok_or(UkiError::TooLong)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<usize, UkiError> {
    let field = bytes.get(at..at.saturating_add(2));
    let field = field.and_then(|field| field.try_into().ok());
    field
        .map(|field| usize::from(u16::from_le_bytes(field)))
        .ok_or(UkiError::Stub("it ends in its headers"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize, UkiError> {
    let field = bytes.get(at..at.saturating_add(4));
    let field = field.and_then(|field| field.try_into().ok());
    field
        .and_then(|field| usize::try_from(u32::from_le_bytes(field)).ok())
        .ok_or(UkiError::Stub("it ends in its headers"))
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) -> Result<(), UkiError> {
    bytes
        .get_mut(at..at.saturating_add(field.len()))
        .ok_or(UkiError::Stub("it ends in its headers"))?
        .copy_from_slice(field);
    Ok(())
}

fn put_u32(bytes: &mut [u8], at: usize, value: usize) -> Result<(), UkiError> {
    let value = u32::try_from(value).map_err(|_| UkiError::TooLong)?;
    put(bytes, at, &value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A stub with one section and `spare` bytes between its headers and their end.
    fn stub(spare: usize) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[60] = 64;
        bytes.extend_from_slice(b"PE\0\0\x64\x86\x01\0");
        bytes.resize(64 + 24 + 112, 0);
        bytes[64 + 4 + 16] = 112;
        let optional = 64 + 24;
        let headers_len = (optional + 112 + SECTION_LEN + spare).next_multiple_of(16);
        bytes.resize(headers_len, 0);
        put_u32(&mut bytes, optional + 32, 4096).unwrap();
        put_u32(&mut bytes, optional + 36, 16).unwrap();
        put_u32(&mut bytes, optional + 60, headers_len).unwrap();
        let code = Section {
            name: ".text",
            content: &[0x90; 16],
        };
        put_header(&mut bytes, optional + 112, &code, (4096, 16)).unwrap();
        bytes.extend_from_slice(code.content);
        bytes
    }

    /// The content of the sections of an image, by its headers.
    fn sections(image: &[u8]) -> Vec<(String, Vec<u8>)> {
        let layout = Layout {
            count: 0,
            ..Layout::of(&stub(0)).unwrap()
        };
        let count = u16_at(image, layout.coff + 2).unwrap();
        (0..count)
            .map(|number| {
                let at = layout.sections + number * SECTION_LEN;
                let name = String::from_utf8(image[at..at + 8].to_vec()).unwrap();
                let from = u32_at(image, at + 20).unwrap();
                let len = u32_at(image, at + 8).unwrap();
                let name = name.trim_end_matches('\0').to_owned();
                (name, image[from..from + len].to_vec())
            })
            .collect()
    }

    const PARTS: [Section<'static>; 2] = [
        Section {
            name: ".cmdline",
            content: b"quiet",
        },
        Section {
            name: ".linux",
            content: b"kernel of some length",
        },
    ];

    #[test]
    fn sections_follow_those_of_the_stub_with_and_without_spare_room() {
        for spare in [0, 200] {
            let image = assemble(&stub(spare), &PARTS).unwrap();
            let found = sections(&image);
            assert_eq!(found.len(), 3);
            assert_eq!(found[0], (".text".to_owned(), vec![0x90; 16]));
            assert_eq!(found[1], (".cmdline".to_owned(), b"quiet".to_vec()));
            assert_eq!(found[2].1, b"kernel of some length");
            assert_eq!(image, assemble(&stub(spare), &PARTS).unwrap());
        }
    }

    #[test]
    fn a_symbol_table_behind_the_sections_is_left_out() {
        let plain = stub(200);
        let mut with_symbols = plain.clone();
        let coff = 64 + 4;
        put_u32(&mut with_symbols, coff + 8, plain.len()).unwrap();
        put_u32(&mut with_symbols, coff + 12, 1).unwrap();
        with_symbols.extend_from_slice(&[7; 18]);
        assert_eq!(assemble(&with_symbols, &PARTS), assemble(&plain, &PARTS));
    }

    #[test]
    fn what_is_no_stub_is_refused() {
        let whole = stub(0);
        for len in 0..64 + 24 + 112 + SECTION_LEN {
            assert!(assemble(&whole[..len], &PARTS).is_err(), "{len} bytes");
        }
        let mut arm = whole.clone();
        arm[68..70].copy_from_slice(&[0x64, 0xaa]);
        assert!(matches!(assemble(&arm, &PARTS), Err(UkiError::Stub(_))));
        let image = assemble(&stub(200), &PARTS).unwrap();
        assert_eq!(
            assemble(&image, &PARTS),
            Err(UkiError::Taken(".cmdline".to_owned()))
        );
    }

    #[test]
    fn any_damage_of_the_headers_is_an_error_or_an_image_and_never_a_panic() {
        let whole = stub(0);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                drop(assemble(&damaged, &PARTS));
            }
        }
    }

    #[test]
    fn objdump_reads_an_image_of_the_stub_of_systemd() {
        let path = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
        let stub = std::fs::read(path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image.efi");
        std::fs::write(&image, assemble(&stub, &PARTS).unwrap()).unwrap();
        let part = folder.path().join("part");
        for section in PARTS {
            let copied = Command::new("objcopy")
                .args(["-O", "binary", "--only-section", section.name])
                .arg(&image)
                .arg(&part)
                .status()
                .unwrap();
            assert!(copied.success());
            let found = std::fs::read(&part).unwrap();
            assert_eq!(found.get(..section.content.len()), Some(section.content));
        }
    }
}
