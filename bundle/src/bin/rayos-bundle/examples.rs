//! Examples that `--help` shows; a test does what they say.

/// The way from a description to an image.
pub(crate) const RELEASE: &str = "\
Example:
  rayos-bundle keygen --out keys/release
  rayos-bundle create bundle.toml --key keys/release.key -o rayos-1.0.0.bundle
  rayos-bundle verify rayos-1.0.0.bundle --trust keys/release.pub
  rayos-bundle extract rayos-1.0.0.bundle --trust keys/release.pub --image root -o root.img";

/// How a signature is made elsewhere.
pub(crate) const ELSEWHERE: &str = "\
Example:
  rayos-bundle create bundle.toml --unsigned -o x.bundle
  rayos-bundle digest x.bundle -o x.tbs
  openssl pkeyutl -sign -rawin -inkey keys/release.key -in x.tbs -out x.sig
  rayos-bundle attach x.bundle --public-key keys/release.pub --signature x.sig";

/// The least description of a release.
pub(crate) const LEAST_RECIPE: &str = "\
The least BUNDLE.TOML:
  [release]
  version = \"1.0.0\"
  rollback_index = 1
  compatible = [\"rayos-x86_64\"]

  [[image]]
  role = \"root\"
  path = \"root.img\"

docs/bundle.example.toml has every key.";
