//! `rayos-module-graph`: writes the module graph into docs/architecture.md. `scripts/module-graph`
//! runs it.

use anyhow::{Context as _, Result};
use tests::project::root;
use tests::structure::drawing::{DOCUMENT, graph, inserted};
use tests::structure::package::packages;

fn main() -> Result<()> {
    let path = root().join(DOCUMENT);
    let document = std::fs::read_to_string(&path).context(DOCUMENT)?;
    let new = inserted(&document, &graph(&packages()?))
        .with_context(|| format!("{DOCUMENT} has no markers of the module graph"))?;
    std::fs::write(&path, new).context(DOCUMENT)
}
