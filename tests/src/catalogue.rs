//! The catalogue of faults and attacks, docs/threat-model.md, as far as tests and the report read
//! it.

/// What a row says that no test shows.
pub const NOTHING: [&str; 2] = ["**not covered**", "**no test**"];

/// The rows: their id and what follows it. *Pure.*
pub fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_id = |id: &str| id.len() == 3 && id.chars().skip(1).all(|digit| digit.is_ascii_digit());
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter(move |(id, _)| is_id(id))
}
