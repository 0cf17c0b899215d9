//! Placeholder of the skeleton commit; the crate's own work follows.
