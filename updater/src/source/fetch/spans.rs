//! The spans of a file that are worth one request each. *Pure.*

use std::collections::VecDeque;
use std::ops::Range;

/// Spans that will be read, in rising order, with more than a small gap between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    spans: VecDeque<Range<u64>>,
    max_gap: u64,
}

impl Spans {
    /// Returns the spans that cover `ranges`, given in rising order, and the gaps between them of
    /// at most `max_gap` bytes.
    pub(super) fn new(ranges: impl IntoIterator<Item = Range<u64>>, max_gap: u64) -> Self {
        let mut spans: VecDeque<Range<u64>> = VecDeque::new();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match spans.back_mut() {
                Some(last) if range.start <= last.end.saturating_add(max_gap) => {
                    last.end = last.end.max(range.end);
                }
                _ => spans.push_back(range),
            }
        }
        Self { spans, max_gap }
    }

    /// Returns the bytes in all spans.
    pub(super) fn total(&self) -> u64 {
        self.spans.iter().map(|span| span.end - span.start).sum()
    }

    /// Returns the number of spans.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the part from `at` on of the first span that ends after it.
    pub(super) fn next_from(&self, at: u64) -> Option<Range<u64>> {
        let index = self.spans.partition_point(|span| span.end <= at);
        self.spans
            .get(index)
            .map(|span| span.start.max(at)..span.end)
    }

    /// Returns the end of the span that contains the byte at `at`, or that begins shortly after it;
    /// `None` if there is none. Forgets the spans before it.
    pub(super) fn end_at(&mut self, at: u64) -> Option<u64> {
        while self.spans.front().is_some_and(|span| span.end <= at) {
            self.spans.pop_front();
        }
        let reach = at.saturating_add(self.max_gap);
        self.spans
            .front()
            .filter(|span| span.start <= reach)
            .map(|span| span.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn small_gaps_are_merged() {
        let mut spans = Spans::new([0..10, 15..20, 30..40, 51..60, 60..60, 60..70], 10);
        assert_eq!(spans.spans, [0..40, 51..70]);
        assert_eq!(spans.total(), 59);
        assert_eq!((spans.len(), spans.next_from(39)), (2, Some(39..40)));
        assert_eq!(
            (spans.next_from(40), spans.next_from(70)),
            (Some(51..70), None)
        );
        assert_eq!(spans.end_at(0), Some(40));
        assert_eq!(spans.end_at(39), Some(40));
        assert_eq!(spans.end_at(40), None);
        assert_eq!(spans.end_at(41), Some(70));
        assert_eq!(spans.end_at(70), None);
    }

    proptest! {
        #[test]
        fn every_requested_byte_is_in_one_span(
            parts in prop::collection::vec((0_u64..50, 0_u64..50), 0..20),
            max_gap in 0_u64..30,
        ) {
            let mut at = 0;
            let ranges: Vec<Range<u64>> = parts.into_iter().map(|(gap, len)| {
                let start = at + gap;
                at = start + len;
                start..at
            }).collect();
            let mut spans = Spans::new(ranges.clone(), max_gap);
            let pairs = spans.spans.iter().zip(spans.spans.iter().skip(1));
            let are_apart = pairs.clone().all(|(a, b)| b.start > a.end + max_gap);
            prop_assert!(are_apart);
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                let ends: Vec<_> = range.clone().map(|byte| spans.end_at(byte)).collect();
                prop_assert!(ends.iter().all(|end| end.is_some_and(|end| end >= range.end)));
                prop_assert_eq!(ends.first(), ends.last());
            }
        }
    }
}
