//! Exit statuses of errors.

use crate::commands::inspect::Differs;
use bundle::ReadError;
use bundle::create::CreateError;
use bundle::delta::DeltaError;
use bundle::open::OpenError;
use bundle::trust::TrustFileError;
use bundle::trust::pe::EmbedError;
use bundle::trust::signing::SignError;
use bundle::trust::update::TrustUpdateError;
use cli::ExitStatus;
use seal::LinkError;
use std::error::Error;

/// Returns [`ExitStatus::Refused`] if a bundle, a signature or a trust file was refused, else
/// [`ExitStatus::Failed`].
pub(crate) fn of(error: &anyhow::Error) -> ExitStatus {
    if error.chain().any(is_refusal) {
        ExitStatus::Refused
    } else {
        ExitStatus::Failed
    }
}

fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<OpenError>() {
        error.is_refusal()
    } else if let Some(error) = error.downcast_ref::<ReadError>() {
        error.is_refusal()
    } else if let Some(error) = error.downcast_ref::<DeltaError>() {
        error.is_refusal()
    } else if let Some(error) = error.downcast_ref::<SignError>() {
        !matches!(error, SignError::Io(_))
    } else if let Some(error) = error.downcast_ref::<TrustUpdateError>() {
        !matches!(error, TrustUpdateError::File(_))
    } else if let Some(error) = error.downcast_ref::<TrustFileError>() {
        matches!(error, TrustFileError::Trust { .. })
    } else if let Some(error) = error.downcast_ref::<CreateError>() {
        matches!(error, CreateError::Sign(_))
    } else {
        error.is::<EmbedError>() || error.is::<LinkError>() || error.is::<Differs>()
    }
}
