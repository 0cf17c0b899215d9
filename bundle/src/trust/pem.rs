//! PEM texts as tools and editors leave them, with blank lines, spaces, CR LF or a byte order mark;
//! and messages for keys of other kinds.

/// Returns a message for a text that is no key or a key of another kind, with the way to a usable
/// one; `None` if the text may be a key. *Pure.*
#[must_use]
pub(crate) fn foreign_kind(text: &str) -> Option<&'static str> {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("OPENSSH PRIVATE KEY") {
        Some("an OpenSSH key: make a PKCS#8 key with `rayos-bundle keygen`")
    } else if text.trim_start().starts_with("ssh-") {
        Some("an OpenSSH public key: make one with `rayos-bundle keygen`")
    } else if has("RSA PRIVATE KEY") || has("RSA PUBLIC KEY") || has("EC PRIVATE KEY") {
        Some("a key of another kind: expected Ed25519")
    } else if has("CERTIFICATE") {
        Some("a certificate: take its public key with `openssl x509 -in CERT -pubkey -noout`")
    } else if has("PGP PUBLIC KEY BLOCK") || has("PGP PRIVATE KEY BLOCK") {
        Some("an OpenPGP key: make a PKCS#8 key with `rayos-bundle keygen`")
    } else if !text.contains("-----BEGIN") {
        Some("not PEM: expected a line with -----BEGIN")
    } else {
        None
    }
}

/// Returns whether a PEM text holds a private key that is encrypted with a passphrase. *Pure.*
#[must_use]
pub(crate) fn is_encrypted(text: &str) -> bool {
    text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// Returns the PEM block in `text` without extra white space. *Pure.* Text that is not one block is
/// returned unchanged, and the parser refuses it.
#[must_use]
pub(crate) fn normalize(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    match (lines.first(), lines.last()) {
        (Some(first), Some(last))
            if first.starts_with("-----BEGIN") && last.starts_with("-----END") =>
        {
            lines.join("\n") + "\n"
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
    fn extra_white_space_is_dropped() {
        for text in [
            format!("\u{feff}{PEM}"),
            format!("\n\n{PEM}\n\n"),
            PEM.replace('\n', " \r\n"),
            PEM.replace('\n', "\n   "),
            PEM.trim_end().to_owned(),
        ] {
            assert_eq!(normalize(&text), PEM, "{text:?}");
        }
        assert_eq!(normalize("epoch = 0\n"), "epoch = 0\n");
    }

    #[test]
    fn a_key_of_another_kind_is_named_with_the_way_to_a_usable_one() {
        for (text, words) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "an OpenSSH key"),
            ("ssh-ed25519 AAAA me", "an OpenSSH public key"),
            ("-----BEGIN RSA PRIVATE KEY-----", "expected Ed25519"),
            ("-----BEGIN CERTIFICATE-----", "a certificate"),
            ("0123456789abcdef", "not PEM"),
        ] {
            let found = foreign_kind(text).unwrap_or_default();
            assert!(found.contains(words), "{text}: {found}");
        }
        assert_eq!(foreign_kind(PEM), None);
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing(text in "\\PC{0,80}") {
            prop_assert_eq!(normalize(&normalize(&text)), normalize(&text));
            let is_named = foreign_kind(&text).is_some();
            prop_assert!(is_named || text.contains("-----BEGIN"));
        }
    }
}
