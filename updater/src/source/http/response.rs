//! The head of a response, and whether it matches the request (RFC 9110, 13 to 15). *Pure.*

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName,
    LAST_MODIFIED, RETRY_AFTER,
};
use std::time::Duration;

/// A request for the bytes of a file from `start` up to, not including, `end`, or the end of the
/// file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RangeRequest {
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

impl RangeRequest {
    /// Returns the value of the header `Range`.
    pub(super) fn to_header(self) -> String {
        match self.end {
            Some(end) => format!("bytes={}-{}", self.start, end.saturating_sub(1)),
            None => format!("bytes={}-", self.start),
        }
    }
}

/// The head of a response that matches its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    /// Offset in the file of the first byte.
    pub(super) start: u64,
    /// Offset of the end, if announced.
    pub(super) end: Option<u64>,
    /// Length of the whole file, if announced.
    pub(super) total: Option<u64>,
    /// The server supports ranges.
    pub(super) ranges: bool,
}

/// A response that does not answer the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResponseError {
    /// Its status is not success.
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The range begins within the file and ends beyond it, and this server refuses that.
    EndsBeyond { total: u64 },
    /// The file ends before the requested range.
    Ended { total: u64, asked: u64 },
    /// The head contradicts itself or the request; in words.
    Mismatch(String),
}

/// Checks the head of a response against the request.
///
/// # Errors
/// [`ResponseError`].
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    request: RangeRequest,
) -> Result<ResponseHead, ResponseError> {
    match status {
        StatusCode::OK => {
            let len = content_length(headers);
            let ranges = text(headers, &ACCEPT_RANGES) == Some("bytes");
            Ok(ResponseHead {
                start: 0,
                end: len,
                total: len,
                ranges: ranges && request.start == 0,
            })
        }
        StatusCode::PARTIAL_CONTENT => check_partial(headers, request),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(not_satisfiable(headers, request)),
        _ => Err(ResponseError::Status {
            status: status.as_u16(),
            retry_after: retry_after(headers),
        }),
    }
}

fn check_partial(
    headers: &HeaderMap,
    request: RangeRequest,
) -> Result<ResponseHead, ResponseError> {
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let parsed = ContentRange::parse(range).filter(|parsed| parsed.start == request.start);
    let Some(ContentRange { start, end, total }) = parsed else {
        return Err(ResponseError::Mismatch(format!(
            "range {range:?}, expected one from byte {}",
            request.start
        )));
    };
    // A server may name the requested end, though the file ends before it.
    let end = total.map_or(end, |total| end.min(total));
    let expected = end.saturating_sub(start);
    match content_length(headers) {
        Some(len) if len != expected => Err(ResponseError::Mismatch(format!(
            "range {range:?} and a length of {len}, expected {expected}"
        ))),
        _ => Ok(ResponseHead {
            start,
            end: Some(end),
            total,
            ranges: true,
        }),
    }
}

/// Returns the error that a response with status 416 stands for.
fn not_satisfiable(headers: &HeaderMap, request: RangeRequest) -> ResponseError {
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    match range.strip_prefix("bytes */").map(str::parse) {
        Some(Ok(total)) if total <= request.start => ResponseError::Ended {
            total,
            asked: request.start,
        },
        Some(Ok(total)) if request.end.is_some_and(|end| end > total) => {
            ResponseError::EndsBeyond { total }
        }
        _ => ResponseError::Status {
            status: StatusCode::RANGE_NOT_SATISFIABLE.as_u16(),
            retry_after: None,
        },
    }
}

/// `Content-Range: bytes FIRST-LAST/TOTAL`; `end` is the offset after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    end: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let start = first.parse().ok()?;
        let end = last.parse::<u64>().ok()?.checked_add(1)?;
        let total = if total == "*" {
            None
        } else {
            Some(total.parse().ok()?)
        };
        let is_valid = start < end && total.is_none_or(|total| start < total);
        is_valid.then_some(Self { start, end, total })
    }
}

/// The validators and the length, which differ between versions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileVersion {
    etag: Option<String>,
    modified: Option<String>,
    total: Option<u64>,
}

impl FileVersion {
    pub(super) fn new(headers: &HeaderMap, head: &ResponseHead) -> Self {
        let owned = |name| text(headers, name).map(str::to_owned);
        Self {
            etag: owned(&ETAG),
            modified: owned(&LAST_MODIFIED),
            total: head.total,
        }
    }

    /// Returns whether both have the same length, as far as both know one.
    pub(super) fn has_same_length(&self, later: &Self) -> bool {
        same(self.total.as_ref(), later.total.as_ref())
    }

    /// Returns whether both may be the same version: they differ in no value that both have.
    pub(super) fn may_be(&self, later: &Self) -> bool {
        // With an equal ETag the date does not matter: servers behind one name differ in dates.
        let has_same_etag = self.etag.is_some() && self.etag == later.etag;
        same(self.etag.as_ref(), later.etag.as_ref())
            && self.has_same_length(later)
            && (has_same_etag || same(self.modified.as_ref(), later.modified.as_ref()))
    }

    /// Adds the values that are still unknown.
    pub(super) fn complete_from(&mut self, later: Self) {
        self.etag = self.etag.take().or(later.etag);
        self.modified = self.modified.take().or(later.modified);
        self.total = self.total.or(later.total);
    }

    /// Returns the length of the whole file, if known.
    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }
}

/// Returns whether two values are equal, as far as both are known.
fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

/// Returns the content coding of a response, if it is one that may change bytes.
///
/// Stores keep codings that changed nothing (`aws-chunked`), so a coding alone is not refused.
pub(super) fn content_coding(headers: &HeaderMap) -> Option<String> {
    let coding = text(headers, &CONTENT_ENCODING)?;
    let changes_nothing = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!changes_nothing).then(|| coding.to_owned())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH).and_then(|len| len.parse().ok())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

/// Returns `Retry-After` if it is in seconds; a date would need a clock that is right.
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

    fn response(
        status: u16,
        lines: &[(&str, &str)],
        start: u64,
        end: Option<u64>,
    ) -> Result<ResponseHead, ResponseError> {
        check(
            StatusCode::from_u16(status).expect("status"),
            &headers(lines),
            RangeRequest { start, end },
        )
    }

    fn mismatch(end: Result<ResponseHead, ResponseError>) -> String {
        match end {
            Err(ResponseError::Mismatch(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_names_first_and_last_byte() {
        assert_eq!(
            RangeRequest {
                start: 0,
                end: None
            }
            .to_header(),
            "bytes=0-"
        );
        assert_eq!(
            RangeRequest {
                start: 5,
                end: Some(10)
            }
            .to_header(),
            "bytes=5-9"
        );
    }

    #[test]
    fn a_response_that_matches_the_request_is_accepted() {
        let part = response(
            206,
            &[("content-range", "bytes 5-9/100"), ("content-length", "5")],
            5,
            Some(10),
        );
        assert_eq!(
            part,
            Ok(ResponseHead {
                start: 5,
                end: Some(10),
                total: Some(100),
                ranges: true
            })
        );
        let unknown = response(206, &[("content-range", "bytes 5-9/*")], 5, None);
        assert_eq!(
            unknown,
            Ok(ResponseHead {
                start: 5,
                end: Some(10),
                total: None,
                ranges: true
            })
        );
        let whole = response(200, &[("content-length", "100")], 5, None);
        assert_eq!(
            whole,
            Ok(ResponseHead {
                start: 0,
                end: Some(100),
                total: Some(100),
                ranges: false
            })
        );
        let whole = response(
            200,
            &[("content-length", "100"), ("accept-ranges", "bytes")],
            0,
            None,
        );
        assert_eq!(whole.map(|head| head.ranges), Ok(true));
    }

    #[test]
    fn a_mismatch_is_named() {
        let words = mismatch(response(
            206,
            &[("content-range", "bytes 6-9/100")],
            5,
            None,
        ));
        assert_eq!(words, "range \"bytes 6-9/100\", expected one from byte 5");
        let words = mismatch(response(206, &[], 5, None));
        assert_eq!(words, "range \"\", expected one from byte 5");
        let lines = [("content-range", "bytes 5-9/100"), ("content-length", "6")];
        let words = mismatch(response(206, &lines, 5, None));
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
            mismatch(response(206, &[("content-range", range)], 5, None));
        }
    }

    #[test]
    fn other_statuses_are_errors() {
        assert_eq!(
            response(416, &[("content-range", "bytes */100")], 100, None),
            Err(ResponseError::Ended {
                total: 100,
                asked: 100
            })
        );
        assert!(matches!(
            response(416, &[], 100, None),
            Err(ResponseError::Status { status: 416, .. })
        ));
        let later = response(503, &[("retry-after", "120")], 0, None);
        assert_eq!(
            later,
            Err(ResponseError::Status {
                status: 503,
                retry_after: Some(Duration::from_secs(120))
            })
        );
    }

    fn version(lines: &[(&str, &str)], total: Option<u64>) -> FileVersion {
        FileVersion::new(
            &headers(lines),
            &ResponseHead {
                start: 0,
                end: None,
                total,
                ranges: true,
            },
        )
    }

    #[test]
    fn a_change_of_any_validator_is_seen() {
        let strong = version(&[("etag", "\"x\""), ("last-modified", "Monday")], Some(9));
        assert!(strong.may_be(&strong.clone()));
        assert!(strong.may_be(&FileVersion::default()));
        assert!(strong.may_be(&version(
            &[("etag", "\"x\""), ("last-modified", "Tuesday")],
            None
        )));
        assert!(strong.has_same_length(&version(&[], None)));
        assert!(!strong.has_same_length(&version(&[], Some(10))));
        assert!(!strong.may_be(&version(&[("etag", "\"y\"")], Some(9))));
        assert!(!strong.may_be(&version(&[("etag", "\"x\"")], Some(10))));
        let weak = version(&[("etag", "W/\"x\"")], None);
        assert!(!weak.may_be(&version(&[("etag", "W/\"y\"")], None)));
        let dated = version(&[("last-modified", "Monday")], None);
        assert!(!dated.may_be(&version(&[("last-modified", "Tuesday")], None)));
    }

    #[test]
    fn a_content_coding_is_named_but_not_refused() {
        let coded = [("content-encoding", "gzip"), ("content-length", "9")];
        assert_eq!(content_coding(&headers(&coded)).as_deref(), Some("gzip"));
        assert!(response(200, &coded, 0, None).is_ok());
        for harmless in ["", "identity", "Identity"] {
            assert_eq!(
                content_coding(&headers(&[("content-encoding", harmless)])),
                None
            );
        }
    }

    #[test]
    fn a_range_that_ends_beyond_the_file_is_cut() {
        let lines = [
            ("content-range", "bytes 5-199/100"),
            ("content-length", "95"),
        ];
        let head = response(206, &lines, 5, Some(200)).expect("taken");
        assert_eq!((head.end, head.total), (Some(100), Some(100)));
        let lines = [("content-range", "bytes */100")];
        assert_eq!(
            response(416, &lines, 5, Some(200)),
            Err(ResponseError::EndsBeyond { total: 100 })
        );
    }

    proptest! {
        #[test]
        fn any_content_range_is_parsed_or_refused(
            text in "(bytes )?[0-9]{0,21}-?[0-9]{0,21}/?([0-9]{0,21}|\\*)"
        ) {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(range.start < range.end);
                let total = range.total.map_or_else(|| "*".to_owned(), |total| total.to_string());
                let again = format!("bytes {}-{}/{total}", range.start, range.end - 1);
                prop_assert_eq!(ContentRange::parse(&again), Some(range));
            }
        }

        #[test]
        fn no_head_causes_a_panic(
            status in 100_u16..600,
            from in any::<u64>(),
            values in proptest::collection::vec("[ -~]{0,40}", 6),
        ) {
            let names = [
                "content-range",
                "content-length",
                "etag",
                "retry-after",
                "accept-ranges",
                "content-encoding",
            ];
            let lines: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let checked = response(status, &lines, from, None);
            if let Ok(head) = checked {
                prop_assert!(head.start == 0 || head.start == from);
            }
        }
    }
}
