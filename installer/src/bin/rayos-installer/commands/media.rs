//! `rayos-installer media`.

use super::files::{read_answers, read_text};
use crate::args::Media;
use crate::output::emit;
use anyhow::{Context as _, Result};
use bootctl::device::{Access, FileDevice, SectorSize};
use cli::ExitStatus;
use cli::input::refuse_input_as_output;
use cli::new_file::NewFile;
use installer::host::block_on;
use installer::media::{MediaContent, MediaError, images, stick_len, write_stick};
use installer::progress_markers::ProgressMarker;
use std::path::PathBuf;

impl Media {
    /// Creates the stick, or its file system alone.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        let trust = bundle::trust::load(&self.trust)?;
        let answers = self.answers()?;
        let inputs = [&self.bundle, &self.trust].into_iter().chain(&self.answers);
        refuse_input_as_output(&self.output, inputs.map(PathBuf::as_path))?;
        let images = block_on(images(&self.bundle, &trust))??;
        if let Some(warning) = images.starts.clone().map_err(MediaError::from)? {
            cli::output::note(&format!("warning: {warning}: firmware will not start it"));
        }
        let content = MediaContent {
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
        let name = || self.output.display().to_string();
        let new = NewFile::create(&self.output).with_context(name)?;
        new.file.set_len(len).with_context(name)?;
        let device = FileDevice::open(&new.open_path(), Access::Write, SectorSize::Bytes(512))?;
        if self.esp_only {
            content.write_esp(&device, 0, esp_len)?;
        } else {
            write_stick(&device, &content, content.id(images.release))?;
        }
        drop(device);
        new.publish().with_context(name)?;
        emit(&ProgressMarker::Complete);
        Ok(ExitStatus::Success)
    }

    /// Returns the answers file as it is read from the stick: parsed, without a byte order mark.
    fn answers(&self) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.answers else {
            return Ok(None);
        };
        read_answers(path)?;
        Ok(Some(read_text(path)?.into_bytes()))
    }
}
