//! Bundle locations on a command line.

use super::redacted::redacted;
use std::path::PathBuf;
use std::str::FromStr;

/// The location of a bundle, as written on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// Standard input, written `-`.
    Stdin,
    /// A URL with the scheme http or https.
    Http(String),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("://") {
            _ if text == "-" => Ok(Self::Stdin),
            // A scheme may be written in capitals (RFC 3986, 3.1).
            Some((scheme, _)) if is_http(scheme) => Ok(Self::Http(text.to_owned())),
            Some((scheme, _)) => Err(format!(
                "scheme {scheme}: expected a file, -, http:// or https://"
            )),
            None if text.is_empty() => Err("expected a file, -, http:// or https://".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// For messages: a URL is shown without user information and query.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Http(url) => f.write_str(&redacted(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_standard_input_and_urls_are_distinguished() {
        assert_eq!("-".parse(), Ok(Location::Stdin));
        assert_eq!(
            "a/b.bundle".parse(),
            Ok(Location::File("a/b.bundle".into()))
        );
        assert_eq!(
            "https://x/y".parse(),
            Ok(Location::Http("https://x/y".into()))
        );
        assert_eq!(
            "HTTPS://x/y".parse(),
            Ok(Location::Http("HTTPS://x/y".into()))
        );
        assert_eq!(
            "ftp://x".parse::<Location>(),
            Err("scheme ftp: expected a file, -, http:// or https://".to_owned())
        );
    }
}
