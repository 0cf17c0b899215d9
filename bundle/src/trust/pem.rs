//! PEM as people and tools hand it on: with blank lines, spaces, CR LF or a byte order mark around
//! it, and other kinds of keys by the name of what to do.

/// Why a text is no key that can be used, in words that say what to do. *Pure.* `None` for what only
/// a parser can judge.
#[must_use]
pub(crate) fn foreign_kind(text: &str) -> Option<&'static str> {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("ENCRYPTED PRIVATE KEY") {
        Some("an encrypted key: decrypt it with `openssl pkey -in KEY -out PLAIN`")
    } else if has("OPENSSH PRIVATE KEY") {
        Some("an OpenSSH key: make a PKCS#8 key with `rayos-bundle keygen`")
    } else if text.trim_start().starts_with("ssh-") {
        Some("an OpenSSH public key: make one with `rayos-bundle keygen`")
    } else if has("RSA PRIVATE KEY") || has("RSA PUBLIC KEY") || has("EC PRIVATE KEY") {
        Some("a key of another kind: Ed25519 is expected")
    } else if has("CERTIFICATE") {
        Some("a certificate: take its public key with `openssl x509 -in CERT -pubkey -noout`")
    } else if has("PGP PUBLIC KEY BLOCK") || has("PGP PRIVATE KEY BLOCK") {
        Some("an OpenPGP key: make a PKCS#8 key with `rayos-bundle keygen`")
    } else if !text.contains("-----BEGIN") {
        Some("no PEM: a line with -----BEGIN is expected")
    } else {
        None
    }
}

/// Returns the one PEM block in `text` without the white space that people and tools add. *Pure.*
/// Text that has no block, or more than one, is returned as it is, for the parser to refuse.
#[must_use]
pub(crate) fn tidy(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tidy: Vec<&str> = lines.collect();
    match (tidy.first(), tidy.last()) {
        (Some(first), Some(last))
            if first.starts_with("-----BEGIN") && last.starts_with("-----END") =>
        {
            tidy.join("\n") + "\n"
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCow\nabc=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn white_space_around_and_in_it_is_dropped() {
        for text in [
            format!("\u{feff}{PEM}"),
            format!("\n\n{PEM}\n\n"),
            PEM.replace('\n', " \r\n"),
            PEM.replace('\n', "\n   "),
            PEM.trim_end().to_owned(),
        ] {
            assert_eq!(tidy(&text), PEM, "{text:?}");
        }
        assert_eq!(tidy("epoch = 0\n"), "epoch = 0\n");
    }

    #[test]
    fn other_kinds_are_named_with_the_way_out() {
        for (text, words) in [
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "decrypt it"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "an OpenSSH key"),
            ("ssh-ed25519 AAAA me", "an OpenSSH public key"),
            ("-----BEGIN RSA PRIVATE KEY-----", "Ed25519 is expected"),
            ("-----BEGIN CERTIFICATE-----", "a certificate"),
            ("0123456789abcdef", "no PEM"),
        ] {
            let found = foreign_kind(text).unwrap_or_default();
            assert!(found.contains(words), "{text}: {found}");
        }
        assert_eq!(foreign_kind(PEM), None);
    }

    proptest! {
        #[test]
        fn any_text_is_tidied_once_and_for_all(text in "\\PC{0,80}") {
            prop_assert_eq!(tidy(&tidy(&text)), tidy(&text));
            let is_named = foreign_kind(&text).is_some();
            prop_assert!(is_named || text.contains("-----BEGIN"));
        }
    }
}
