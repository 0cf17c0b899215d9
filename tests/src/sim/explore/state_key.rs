//! States that differ only in what no decision reads.

use crate::sim::hardware::layout::Region;
use crate::sim::hardware::state::{MachineState, hash_of};
use crate::sim::oracle::record_copy;

/// Returns a key that is equal for states which differ only in what no decision reads: the event
/// ring, the height of the record's sequence numbers, the content of an invalid copy of the record.
/// *Pure.*
pub(super) fn decision_key(state: &MachineState) -> (u64, u64) {
    let start = Region::State.start();
    let ours = state.image.hash_of(start..Region::State.end());
    let copies = [(0, start), (1, start + 1020 * 1024)]
        .map(|(number, at)| record_copy(&state.image, at, number));
    let order = copies[0]
        .as_ref()
        .map(|(seq, _)| seq)
        .cmp(&copies[1].as_ref().map(|(seq, _)| seq));
    let content = copies.map(|copy| copy.map(|(_, rest)| rest));
    let vars: Vec<_> = state
        .vars
        .iter()
        .map(|(name, value)| (name, &value.data))
        .collect();
    (
        state.image.hash() ^ ours,
        hash_of(&(order, content, vars, state.history)),
    )
}
