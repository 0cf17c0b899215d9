//! What a server's answer says of itself, and whether that fits what was asked for (RFC 9110, 13 to
//! 15).

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName,
    LAST_MODIFIED, RETRY_AFTER,
};
use std::time::Duration;

/// What was asked for: bytes of the file from `from` on, up to (not including) `to` or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: u64,
    pub(super) to: Option<u64>,
}

impl Asked {
    /// The value of the header `Range`.
    pub(super) fn range(&self) -> String {
        match self.to {
            Some(to) => format!("bytes={}-{}", self.from, to.saturating_sub(1)),
            None => format!("bytes={}-", self.from),
        }
    }
}

/// What an answer will bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    /// Where its first byte lies in the file.
    pub(super) from: u64,
    /// Where it ends, if it says so.
    pub(super) to: Option<u64>,
    /// Length of the whole file, if it says so.
    pub(super) total: Option<u64>,
    /// Whether the server knows ranges.
    pub(super) ranges: bool,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its status is not one of success.
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The range begins within the file and ends behind it, and this server refuses that.
    EndsBehind { total: u64 },
    /// The file ends before what was asked for.
    Ended { total: u64, asked: u64 },
    /// It contradicts itself or the request; in words.
    Contradiction(String),
}

/// Looks at the head of an answer. *Pure.*
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    asked: Asked,
) -> Result<Promised, Wrong> {
    let wrong = |words: String| Err(Wrong::Contradiction(words));
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let len = text(headers, &CONTENT_LENGTH).and_then(|len| len.parse().ok());
    match status {
        StatusCode::OK => {
            let ranges = text(headers, &ACCEPT_RANGES) == Some("bytes");
            Ok(Promised {
                from: 0,
                to: len,
                total: len,
                ranges: ranges && asked.from == 0,
            })
        }
        StatusCode::PARTIAL_CONTENT => {
            let Some(ContentRange { from, to, total }) = ContentRange::parse(range) else {
                return wrong(format!(
                    "range {range:?}, expected one from byte {}",
                    asked.from
                ));
            };
            if from != asked.from {
                return wrong(format!(
                    "range {range:?}, expected one from byte {}",
                    asked.from
                ));
            }
            // A server may name the end that was asked for, though the file ends before it.
            let to = total.map_or(to, |total| to.min(total));
            let named = to.saturating_sub(from);
            if let Some(len) = len.filter(|len| *len != named) {
                return wrong(format!(
                    "range {range:?} and a length of {len}, expected {named}"
                ));
            }
            Ok(Promised {
                from,
                to: Some(to),
                total,
                ranges: true,
            })
        }
        StatusCode::RANGE_NOT_SATISFIABLE => match range.strip_prefix("bytes */").map(str::parse) {
            Some(Ok(total)) if total <= asked.from => Err(Wrong::Ended {
                total,
                asked: asked.from,
            }),
            Some(Ok(total)) if asked.to.is_some_and(|to| to > total) => {
                Err(Wrong::EndsBehind { total })
            }
            _ => Err(Wrong::Status {
                status: status.as_u16(),
                retry_after: None,
            }),
        },
        _ => Err(Wrong::Status {
            status: status.as_u16(),
            retry_after: retry_after(headers),
        }),
    }
}

/// `Content-Range: bytes FIRST-LAST/TOTAL`, with `to` after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    from: u64,
    to: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (from, to) = (
            first.parse().ok()?,
            last.parse::<u64>().ok()?.checked_add(1)?,
        );
        let total = if total == "*" {
            None
        } else {
            Some(total.parse().ok()?)
        };
        (from < to && total.is_none_or(|total| from < total)).then_some(Self { from, to, total })
    }
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    etag: Option<String>,
    modified: Option<String>,
    total: Option<u64>,
}

impl Identity {
    pub(super) fn new(headers: &HeaderMap, promised: &Promised) -> Self {
        let owned = |name| text(headers, name).map(str::to_owned);
        Self {
            etag: owned(&ETAG),
            modified: owned(&LAST_MODIFIED),
            total: promised.total,
        }
    }

    /// Returns whether no length that both tell differs.
    pub(super) fn has_same_length(&self, later: &Self) -> bool {
        let lengths = self.total.zip(later.total);
        lengths.is_none_or(|(one, other)| one == other)
    }

    /// Returns whether both may be of the same version: nothing that both tell differs.
    pub(super) fn fits(&self, later: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        // A date says nothing that an equal ETag has not said better: servers behind one name
        // differ in dates.
        let tagged = self.etag.is_some() && self.etag == later.etag;
        same(self.etag.as_ref(), later.etag.as_ref())
            && same(self.total.as_ref(), later.total.as_ref())
            && (tagged || same(self.modified.as_ref(), later.modified.as_ref()))
    }

    /// Fills in what was not known before.
    pub(super) fn learn(&mut self, later: Self) {
        let Self {
            etag,
            modified,
            total,
        } = later;
        self.etag = self.etag.take().or(etag);
        self.modified = self.modified.take().or(modified);
        self.total = self.total.or(total);
    }

    /// Length of the whole file.
    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }
}

/// Returns the content coding that an answer names, if it is one that may change bytes. *Pure.*
///
/// Stores keep codings that changed nothing (`aws-chunked`), so a coding alone refuses nothing.
pub(super) fn coding(headers: &HeaderMap) -> Option<String> {
    let coding = text(headers, &CONTENT_ENCODING)?;
    let changes_nothing = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!changes_nothing).then(|| coding.to_owned())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

/// `Retry-After` in seconds; a date needs a right clock, which is not asked for here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, &RETRY_AFTER)?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&str, &str)| {
            (name.parse().expect("name"), value.parse().expect("value"))
        };
        lines.iter().map(header).collect::<HeaderMap>()
    }

    fn answer(
        status: u16,
        lines: &[(&str, &str)],
        from: u64,
        to: Option<u64>,
    ) -> Result<Promised, Wrong> {
        judge(
            StatusCode::from_u16(status).expect("status"),
            &headers(lines),
            Asked { from, to },
        )
    }

    fn contradiction(end: Result<Promised, Wrong>) -> String {
        match end {
            Err(Wrong::Contradiction(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranges_that_are_asked_for() {
        assert_eq!(Asked { from: 0, to: None }.range(), "bytes=0-");
        assert_eq!(
            Asked {
                from: 5,
                to: Some(10)
            }
            .range(),
            "bytes=5-9"
        );
    }

    #[test]
    fn what_fits_is_taken() {
        let part = answer(
            206,
            &[("content-range", "bytes 5-9/100"), ("content-length", "5")],
            5,
            Some(10),
        );
        assert_eq!(
            part,
            Ok(Promised {
                from: 5,
                to: Some(10),
                total: Some(100),
                ranges: true
            })
        );
        let unknown = answer(206, &[("content-range", "bytes 5-9/*")], 5, None);
        assert_eq!(
            unknown,
            Ok(Promised {
                from: 5,
                to: Some(10),
                total: None,
                ranges: true
            })
        );
        let whole = answer(200, &[("content-length", "100")], 5, None);
        assert_eq!(
            whole,
            Ok(Promised {
                from: 0,
                to: Some(100),
                total: Some(100),
                ranges: false
            })
        );
        let whole = answer(
            200,
            &[("content-length", "100"), ("accept-ranges", "bytes")],
            0,
            None,
        );
        assert_eq!(whole.map(|promised| promised.ranges), Ok(true));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let words = contradiction(answer(206, &[("content-range", "bytes 6-9/100")], 5, None));
        assert_eq!(words, "range \"bytes 6-9/100\", expected one from byte 5");
        let words = contradiction(answer(206, &[], 5, None));
        assert_eq!(words, "range \"\", expected one from byte 5");
        let lines = [("content-range", "bytes 5-9/100"), ("content-length", "6")];
        let words = contradiction(answer(206, &lines, 5, None));
        assert_eq!(
            words,
            "range \"bytes 5-9/100\" and a length of 6, expected 5"
        );
        for range in [
            "bytes 9-5/100",
            "bytes 100-110/100",
            "items 5-9/100",
            "bytes 5-18446744073709551615/*",
            "bytes */9",
        ] {
            contradiction(answer(206, &[("content-range", range)], 5, None));
        }
    }

    #[test]
    fn statuses_of_failure() {
        assert_eq!(
            answer(416, &[("content-range", "bytes */100")], 100, None),
            Err(Wrong::Ended {
                total: 100,
                asked: 100
            })
        );
        assert!(matches!(
            answer(416, &[], 100, None),
            Err(Wrong::Status { status: 416, .. })
        ));
        let later = answer(503, &[("retry-after", "120")], 0, None);
        assert_eq!(
            later,
            Err(Wrong::Status {
                status: 503,
                retry_after: Some(Duration::from_secs(120))
            })
        );
    }

    fn identity(lines: &[(&str, &str)], total: Option<u64>) -> Identity {
        Identity::new(
            &headers(lines),
            &Promised {
                from: 0,
                to: None,
                total,
                ranges: true,
            },
        )
    }

    #[test]
    fn a_change_is_seen_by_whatever_tells_it() {
        let strong = identity(&[("etag", "\"x\""), ("last-modified", "Monday")], Some(9));
        assert!(strong.fits(&strong.clone()));
        assert!(strong.fits(&Identity::default()));
        assert!(strong.fits(&identity(
            &[("etag", "\"x\""), ("last-modified", "Tuesday")],
            None
        )));
        assert!(strong.has_same_length(&identity(&[], None)));
        assert!(!strong.has_same_length(&identity(&[], Some(10))));
        assert!(!strong.fits(&identity(&[("etag", "\"y\"")], Some(9))));
        assert!(!strong.fits(&identity(&[("etag", "\"x\"")], Some(10))));
        let weak = identity(&[("etag", "W/\"x\"")], None);
        assert!(!weak.fits(&identity(&[("etag", "W/\"y\"")], None)));
        let dated = identity(&[("last-modified", "Monday")], None);
        assert!(!dated.fits(&identity(&[("last-modified", "Tuesday")], None)));
    }

    #[test]
    fn a_coding_is_named_and_refuses_nothing() {
        let coded = [("content-encoding", "gzip"), ("content-length", "9")];
        assert_eq!(coding(&headers(&coded)).as_deref(), Some("gzip"));
        assert!(answer(200, &coded, 0, None).is_ok());
        for nothing in ["", "identity", "Identity"] {
            assert_eq!(coding(&headers(&[("content-encoding", nothing)])), None);
        }
    }

    #[test]
    fn a_range_that_ends_behind_the_file_is_cut() {
        let lines = [
            ("content-range", "bytes 5-199/100"),
            ("content-length", "95"),
        ];
        let promised = answer(206, &lines, 5, Some(200)).expect("taken");
        assert_eq!((promised.to, promised.total), (Some(100), Some(100)));
        let lines = [("content-range", "bytes */100")];
        assert_eq!(
            answer(416, &lines, 5, Some(200)),
            Err(Wrong::EndsBehind { total: 100 })
        );
    }

    proptest! {
        #[test]
        fn any_content_range_is_read_or_refused(text in "(bytes )?[0-9]{0,21}-?[0-9]{0,21}/?([0-9]{0,21}|\\*)") {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(range.from < range.to);
                let total = range.total.map_or_else(|| "*".to_owned(), |total| total.to_string());
                let again = format!("bytes {}-{}/{total}", range.from, range.to - 1);
                prop_assert_eq!(ContentRange::parse(&again), Some(range));
            }
        }

        #[test]
        fn no_head_makes_it_panic(
            status in 100_u16..600,
            from in any::<u64>(),
            values in proptest::collection::vec("[ -~]{0,40}", 6),
        ) {
            let names = ["content-range", "content-length", "etag", "retry-after", "accept-ranges", "content-encoding"];
            let lines: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let answer = answer(status, &lines, from, None);
            if let Ok(promised) = answer {
                prop_assert!(promised.from == 0 || promised.from == from);
            }
        }
    }
}
