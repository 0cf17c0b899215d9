//! Forgeries that a reader must refuse. Each is signed with the trusted key, unless it is about the
//! signature.

mod chunks;
mod index;
mod manifest;
#[path = "../sample/mod.rs"]
mod sample;
mod statement;

use sample::{Parts, check, refusal, sample, trust};
use std::io::{self, Read};

/// Returns the refusal of a forgery, made by changing parts of the sample.
fn forged(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = Parts::sample();
    change(&mut parts);
    refusal(&parts.seal())
}

#[test]
fn the_sample_and_a_forgery_without_change_are_accepted() {
    check(&sample(), &trust()).unwrap();
    check(&Parts::sample().seal(), &trust()).unwrap();
    assert_eq!(Parts::sample().seal(), sample());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let refused = check(&bytes[..len], &trust()).unwrap_err();
        assert!(
            matches!(
                refused,
                bundle::open::OpenError::Read(bundle::ReadError::Truncated { .. })
            ),
            "{len}: {refused}"
        );
    }
}

#[test]
fn every_flip_of_a_single_bit_is_refused() {
    let bytes = sample();
    let flip_all = |from: usize, step: usize| {
        let mut flipped = bytes.clone();
        for at in (from..bytes.len()).step_by(step) {
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                assert!(check(&flipped, &trust()).is_err(), "bit {bit} of byte {at}");
                flipped[at] = bytes[at];
            }
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|from| {
            drop(scope.spawn({
                let flip_all = &flip_all;
                move || flip_all(from, 4)
            }))
        });
    });
}

#[test]
fn trailing_data_is_refused() {
    let bytes = sample();
    let at = bytes.len();
    assert_eq!(
        refusal(&[bytes, vec![0]].concat()),
        format!("data after the end of the bundle, at byte {at}")
    );
}

#[test]
fn reading_a_source_without_end_stops_at_the_first_trailing_byte() {
    struct Endless(io::Cursor<Vec<u8>>, u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += buffer.len() as u64;
            assert!(self.1 < 8 << 20, "no end of reading");
            let read = self.0.read(buffer)?;
            buffer[read..].fill(0);
            Ok(buffer.len())
        }
    }
    let source = Endless(io::Cursor::new(sample()), 0);
    let access = bundle::open::Access::Verify(&trust(), seal::Purpose::Release);
    let opener = bundle::open::Opener::open(source, access, 1).unwrap();
    assert!(
        opener
            .check(&mut |_| ())
            .unwrap_err()
            .to_string()
            .starts_with("data after the end")
    );
}
