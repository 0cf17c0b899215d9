//! The fetcher over sources in memory, in simulated time.

use super::retries::{FIRST_PAUSE, MAX_PAUSE};
use super::*;
use crate::source::{Fault, MemorySource};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("runtime").block_on(future)
}

#[test]
fn a_lost_connection_continues_at_the_missing_byte() {
    let source = MemorySource::new(bytes(10_000), 700).with_faults([
        Fault::DropAfter(1_234),
        Fault::Status(503),
        Fault::DropAfter(0),
    ]);
    let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
    let got = run(fetcher.range(0, 10_000)).expect("range");
    assert_eq!(got, bytes(10_000));
    assert_eq!(fetcher.source().opened, [0, 1_234, 1_234, 1_234]);
    assert_eq!(fetcher.fetched(), 10_000);
}

#[test]
fn a_large_gap_is_not_fetched() {
    let source = MemorySource::new(bytes(1_000_000), 4096);
    let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
    run(async {
        fetcher.range(0, 100).await.expect("range");
        let got = fetcher.range(900_000, 100).await.expect("range");
        assert_eq!(got, bytes(1_000_000)[900_000..900_100]);
    });
    assert_eq!(fetcher.source().opened, [0, 900_000]);
    assert_eq!(fetcher.fetched(), 2 * 4096);
}

#[test]
fn consecutive_failures_end_the_download_and_progress_restarts_the_count() {
    let retries = Retries {
        max_failures: 3,
        seed: 1,
        ..Retries::default()
    };
    let hopeless = [Fault::Status(503), Fault::Status(503), Fault::Status(503)];
    let mut fetcher = Fetcher::new(
        MemorySource::new(bytes(100), 10).with_faults(hopeless),
        retries,
        &|_, _| {},
    );
    let error = run(fetcher.range(0, 100)).expect_err("gives up");
    assert_eq!(error.to_string(), "memory: server answered 503");
    let drops = (0..9).map(|_| Fault::DropAfter(20_000));
    let source = MemorySource::new(bytes(200_000), 5_000).with_faults(drops);
    let mut fetcher = Fetcher::new(source, retries, &|_, _| {});
    assert_eq!(
        run(fetcher.range(0, 200_000)).expect("range"),
        bytes(200_000)
    );
}

#[test]
fn one_byte_per_request_ends_the_download() {
    let drops = (0..10_000).map(|_| Fault::DropAfter(1));
    let source = MemorySource::new(bytes(100_000), 10).with_faults(drops);
    let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
    let error = run(fetcher.range(0, 100_000)).expect_err("gives up");
    assert_eq!(error.to_string(), "memory: connection lost");
    assert_eq!(fetcher.source().opened.len(), 8);
}

#[test]
fn announced_ranges_are_requested_each_to_its_end() {
    let source = MemorySource::new(bytes(3_000_000), 4096);
    let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
    let ranges = [
        1_000..2_000,
        2_100..5_000,
        1_000_000..1_000_500,
        2_000_000..2_300_000,
    ];
    run(async {
        fetcher.range(0, 100).await.expect("head");
        fetcher.expect(ranges.clone());
        for Range { start, end } in ranges.clone() {
            let got = fetcher
                .range(start, (end - start) as usize)
                .await
                .expect("range");
            assert_eq!(got, bytes(3_000_000)[start as usize..end as usize]);
        }
    });
    let asked: Vec<_> = fetcher.source().asked.iter().skip(1).copied().collect();
    assert_eq!(
        asked,
        [
            (4_096, Some(5_000)),
            (1_000_000, Some(1_000_500)),
            (2_000_000, Some(2_300_000))
        ]
    );
    assert_eq!(fetcher.fetched(), 5_000 + 500 + 300_000);
}

#[test]
fn a_wrong_total_length_is_refused_at_once() {
    let source = |len| {
        let mut source = MemorySource::new(bytes(len), 10);
        source.reports_length = true;
        Fetcher::new(source, Retries::default(), &|_, _| {})
    };
    assert!(source(100).check_total(100).is_ok());
    let error = source(99).check_total(100).expect_err("short");
    assert_eq!(
        error.to_string(),
        "bundle ends after 99 bytes, expected 100"
    );
    let error = source(101).check_total(100).expect_err("long");
    assert_eq!(
        error.to_string(),
        "there is data after the 100 bytes of the bundle"
    );
}

#[test]
fn a_pause_that_the_server_asks_for_is_kept_up_to_a_maximum() {
    let fails = |retry_after| SourceError::Status {
        what: "x".to_owned(),
        status: 503,
        retry_after,
    };
    let mut fetcher = Fetcher::new(
        MemorySource::new(bytes(9), 9),
        Retries::default(),
        &|_, _| {},
    );
    let pause = fetcher
        .count_failure(fails(Some(Duration::from_secs(120))))
        .expect("again");
    assert_eq!(pause, Duration::from_secs(120));
    let pause = fetcher
        .count_failure(fails(Some(Duration::from_secs(999_999))))
        .expect("again");
    assert_eq!(pause, MAX_RETRY_AFTER);
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let source = MemorySource::new(bytes(100), 10).with_faults([Fault::Status(404)]);
    let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
    run(fetcher.range(0, 100)).expect_err("not found");
    assert_eq!(fetcher.source().opened.len(), 1);
}

#[test]
fn short_and_trailing_data_are_refused() {
    let mut fetcher = Fetcher::new(
        MemorySource::new(bytes(99), 10),
        Retries::default(),
        &|_, _| {},
    );
    let error = run(fetcher.range(0, 100)).expect_err("short");
    assert_eq!(
        error.to_string(),
        "bundle ends after 99 bytes, expected 100"
    );
    let mut pipe = MemorySource::new(bytes(101), 10);
    pipe.seekable = false;
    let mut fetcher = Fetcher::new(pipe, Retries::default(), &|_, _| {});
    run(fetcher.range(0, 100)).expect("range");
    let error = run(fetcher.finish(100)).expect_err("trailing");
    assert_eq!(
        error.to_string(),
        "there is data after the 100 bytes of the bundle"
    );
}

#[test]
fn pauses_grow_and_are_bounded() {
    let retries = Retries {
        seed: 42,
        ..Retries::default()
    };
    for failures in 1..100 {
        let pause = retries.pause(failures);
        let whole = FIRST_PAUSE
            .saturating_mul(1 << (failures - 1).min(16))
            .min(MAX_PAUSE);
        assert!(
            pause >= whole / 2 && pause <= whole,
            "{failures}: {pause:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_rising_ranges_over_any_network_are_correct(
        piece in 1_usize..5_000,
        seekable in any::<bool>(),
        gaps in prop::collection::vec((0_u64..200_000, 0_usize..20_000), 1..12),
        drops in prop::collection::vec(1_u64..60_000, 0..6),
        announced in any::<bool>(),
    ) {
        let all = bytes(3_000_000);
        let faults = drops.into_iter().map(Fault::DropAfter);
        let mut source = MemorySource::new(all.clone(), piece);
        if seekable {
            source = source.with_faults(faults);
        }
        source.seekable = seekable;
        let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
        if announced {
            let mut at = 0;
            let ranges = gaps.iter().map(|(gap, len)| {
                let from = at + gap;
                at = from + *len as u64;
                from..at
            });
            fetcher.expect(ranges.collect::<Vec<_>>());
        }
        let mut at = 0;
        for (gap, len) in gaps {
            let from = at + gap;
            let got = run(fetcher.range(from, len)).expect("range");
            prop_assert_eq!(&got[..], &all[from as usize..from as usize + len]);
            at = from + len as u64;
        }
    }
}

/// Returns a memory source in front of which each answer takes `delay`.
struct Slow {
    source: MemorySource,
    per_piece: Duration,
    status: Option<Duration>,
}

impl Source for Slow {
    fn can_seek(&self) -> bool {
        true
    }

    fn until(&mut self, end: Option<u64>) {
        self.source.until(end);
    }

    async fn open(&mut self, offset: u64) -> Result<(), SourceError> {
        self.source.open(offset).await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        tokio::time::sleep(self.per_piece).await;
        match (self.status, self.source.piece().await?) {
            (Some(retry_after), Some(_)) if self.source.delivered.is_multiple_of(32_768) => {
                Err(SourceError::Status {
                    what: "slow".to_owned(),
                    status: 503,
                    retry_after: Some(retry_after),
                })
            }
            (_, piece) => Ok(piece),
        }
    }
}

/// Fetches 300 MB with the default limits. Returns the error, and the simulated time.
fn fails_after(source: Slow) -> (String, Duration) {
    run(async {
        let start = Instant::now();
        let mut fetcher = Fetcher::new(source, Retries::default(), &|_, _| {});
        let mut at = 0;
        loop {
            match fetcher.range(at, 65_536).await {
                Ok(_) => at += 65_536,
                Err(error) => return (error.to_string(), start.elapsed()),
            }
        }
    })
}

#[test]
fn a_server_that_sends_one_kibibyte_per_second_for_ever_meets_the_deadline() {
    let (words, took) = fails_after(Slow {
        source: MemorySource::new(bytes(100_000_000), 32_768),
        per_piece: Duration::from_secs(32),
        status: None,
    });
    assert!(
        words.ends_with("bytes in 86400 s, and not complete: the deadline"),
        "{words}"
    );
    assert_eq!(took, Duration::from_secs(24 * 3600));
}

#[test]
fn a_server_that_asks_for_pauses_after_a_little_progress_meets_the_deadline() {
    let (words, took) = fails_after(Slow {
        source: MemorySource::new(bytes(100_000_000), 16_384),
        per_piece: Duration::ZERO,
        status: Some(Duration::from_secs(600)),
    });
    assert!(words.ends_with("and not complete: the deadline"), "{words}");
    let day = Duration::from_secs(24 * 3600);
    // A pause that would end after the deadline is not begun.
    assert!(
        took <= day && took >= day - Duration::from_secs(600),
        "{took:?}"
    );
}
