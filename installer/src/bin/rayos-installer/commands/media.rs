//! `rayos-installer media`.

use super::files::read_answers;
use crate::args::Media;
use crate::output::emit;
use anyhow::{Context as _, Result};
use bootctl::device::{Access, FileDevice, SectorSize};
use cli::ExitStatus;
use installer::host::block_on;
use installer::media::{Content, images, stick_len, write_stick};
use installer::progress_markers::Marker;
use std::fs::File;

impl Media {
    /// Creates the stick, or its file system alone.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&Marker::Started);
        let trust = bundle::trust::load(&self.trust)?;
        let answers = self.answers()?;
        let images = block_on(images(&self.bundle, &trust))??;
        let content = Content {
            guard: &images.guard,
            recovery: &images.recovery,
            answers: answers.as_deref(),
            bundle: &self.bundle,
        };
        let esp_len = content.esp_len()?;
        let len = if self.esp_only {
            esp_len
        } else {
            stick_len(esp_len)
        };
        let file = File::create(&self.output).with_context(|| self.output.display().to_string())?;
        file.set_len(len)?;
        drop(file);
        let device = FileDevice::open(&self.output, Access::Write, SectorSize::Bytes(512))?;
        if self.esp_only {
            content.write_esp(&device, 0, esp_len)?;
        } else {
            write_stick(&device, &content, images.id)?;
        }
        emit(&Marker::Complete);
        Ok(ExitStatus::Success)
    }

    /// Returns the answers file as it is, after parsing it.
    fn answers(&self) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.answers else {
            return Ok(None);
        };
        read_answers(path)?;
        Ok(Some(std::fs::read(path)?))
    }
}
