//! Examples for `--help`. A test runs them.

/// From a recipe to an image.
pub(crate) const RELEASE: &str = "\
Example:
  rayos-bundle keygen -o keys/release
  rayos-bundle create bundle.toml --key keys/release.key -o rayos-1.0.0.bundle
  rayos-bundle verify rayos-1.0.0.bundle --trust keys/release.pub
  rayos-bundle extract rayos-1.0.0.bundle --trust keys/release.pub --image root -o root.img";

/// A signature of a key that this program cannot read.
pub(crate) const EXTERNAL_SIGNATURE: &str = "\
Example:
  rayos-bundle create bundle.toml --unsigned -o x.bundle
  rayos-bundle digest x.bundle -o x.tbs
  openssl pkeyutl -sign -rawin -inkey keys/release.key -in x.tbs -out x.sig
  rayos-bundle attach x.bundle --public-key keys/release.pub --signature x.sig";

/// A minimal recipe.
pub(crate) const MINIMAL_RECIPE: &str = "\
Minimal BUNDLE.TOML:
  [release]
  version = \"1.0.0\"
  rollback_index = 1
  compatible = [\"rayos-x86_64\"]

  [[image]]
  role = \"root\"
  path = \"root.img\"

docs/bundle.example.toml has every key.";
