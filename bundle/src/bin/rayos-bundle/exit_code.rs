//! Errors as exit codes.

use crate::commands::inspect::Differs;
use bundle::ReadError;
use bundle::create::CreateError;
use bundle::delta::DeltaError;
use bundle::open::OpenError;
use bundle::trust::TrustFileError;
use bundle::trust::pe::EmbedError;
use bundle::trust::signing::SignError;
use bundle::trust::update::TrustUpdateError;

/// 3 if a bundle, a key or a trust file was refused, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let refused = error.chain().any(|cause| {
        cause
            .downcast_ref::<OpenError>()
            .is_some_and(OpenError::is_refusal)
            || cause
                .downcast_ref::<ReadError>()
                .is_some_and(ReadError::is_refusal)
            || cause
                .downcast_ref::<SignError>()
                .is_some_and(|error| !matches!(error, SignError::Io(_)))
            || matches!(
                cause.downcast_ref::<TrustFileError>(),
                Some(TrustFileError::Trust { .. })
            )
            || matches!(
                cause.downcast_ref::<CreateError>(),
                Some(CreateError::Sign(_))
            )
            || cause
                .downcast_ref::<DeltaError>()
                .is_some_and(DeltaError::is_refusal)
            || cause.is::<EmbedError>()
            || cause.is::<Differs>()
            || cause
                .downcast_ref::<TrustUpdateError>()
                .is_some_and(|error| !matches!(error, TrustUpdateError::File(_)))
    });
    if refused { 3 } else { 1 }
}
