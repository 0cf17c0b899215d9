//! URLs for messages, without the secrets that they often hold.

/// Returns `url` without user information, query and fragment, for messages, logs and JSON. *Pure.*
///
/// A presigned query is as good as a password, and so is a token in place of a user name. Text that
/// is no URL is treated alike, because messages about malformed URLs show it.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // A query may also hide in a malformed authority; nothing behind the mark is shown.
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn user_information_query_and_fragment_are_left_out() {
        for (url, shown) in [
            (
                "https://example.org/x.bundle",
                "https://example.org/x.bundle",
            ),
            (
                "https://example.org:8443/x?sig=SECRET#SECRET",
                "https://example.org:8443/x",
            ),
            ("http://SECRET@example.org/x", "http://example.org/x"),
            ("http://me:SECRET@example.org", "http://example.org"),
            (
                "http://me:SE@CRET@example.org/a@b",
                "http://example.org/a@b",
            ),
            ("HTTPS://[::1]:1/x?SECRET", "HTTPS://[::1]:1/x"),
            ("http://example.org?SECRET", "http://example.org"),
            ("a/file?name", "a/file?name"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(
            user in "[a-z:@]{0,8}",
            path in "[a-z/]{0,8}",
            query in "[a-z=&?#]{0,8}",
        ) {
            let url = format!("http://{user}SECRET@example.org/{path}?{query}SECRET#SECRET");
            prop_assert!(!redacted(&url).contains("SECRET"), "{url}");
        }
    }
}
