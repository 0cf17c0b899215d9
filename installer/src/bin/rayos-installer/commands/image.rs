//! `rayos-installer image`.

use super::files::{compatible, read_text};
use crate::args::Image;
use crate::output::{emit, finish};
use anyhow::{Context as _, Result, bail};
use bootctl::device::{Access, FileDevice, SectorSize};
use bootctl::efivars::{EfiVars, Efivarfs};
use cli::ExitStatus;
use cli::new_file::NewFile;
use installer::disk::layout::Layout;
use installer::host::{block_on, jobs, random_guid};
use installer::install::{InstallOptions, InstallRequest, install};
use installer::progress_markers::ProgressMarker;
use record::Guid;
use std::path::Path;
use std::sync::Arc;
use updater::Report;
use updater::source::{AnySource, HttpOptions};
use updater::terminal::{ProgressStyle, Terminal};

impl Image {
    /// Creates the image. The file gets its name only after the installation succeeded.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        emit(&ProgressMarker::Started);
        let trust = bundle::trust::load(&self.trust)?;
        let layout = self.layout()?;
        let install_id = self.install_id()?;
        let source = AnySource::new(&self.bundle, HttpOptions::default())?;
        let name = || self.output.display().to_string();
        if self.output.exists() {
            bail!("{}: exists already", self.output.display());
        }
        let new = NewFile::create(&self.output).with_context(name)?;
        new.file.set_len(self.size.0).with_context(name)?;
        let report = self.install(source, &new.open_path(), &trust, &layout, install_id)?;
        new.publish().with_context(name)?;
        finish(&report);
        Ok(ExitStatus::Success)
    }

    fn layout(&self) -> Result<Layout> {
        let Some(path) = &self.layout else {
            return Ok(Layout::default());
        };
        toml::from_str(&read_text(path)?).with_context(|| path.display().to_string())
    }

    fn install_id(&self) -> Result<Guid> {
        match &self.install_id {
            Some(text) => Guid::parse(text).context("--install-id: expected a GUID"),
            None => Ok(random_guid()?),
        }
    }

    fn install(
        &self,
        source: AnySource,
        path: &Path,
        trust: &seal::Trust,
        layout: &Layout,
        install_id: Guid,
    ) -> Result<Report> {
        let sectors = SectorSize::Bytes(self.sector_size);
        let device = Arc::new(FileDevice::open(path, Access::Write, sectors)?);
        let vars = self.efivars.as_deref().map(Efivarfs::new);
        let request = InstallRequest {
            device,
            layout,
            install_id,
            compatible: self.compatible.as_deref().map(compatible).transpose()?,
            trust,
            vars: vars.as_ref().map(|vars| vars as &dyn EfiVars),
            jobs: jobs(),
            now: cli::clock::now(),
            options: InstallOptions::default(),
        };
        let terminal = Terminal::new(ProgressStyle::Auto);
        let report = block_on(install(source, &request, &terminal))??;
        terminal.finish();
        Ok(report)
    }
}
