//! The firmware's calendar as seconds.

/// Returns the seconds from 1970-01-01 to a date of the Gregorian calendar, ignoring its time zone;
/// 0 for an earlier date and for one with a field out of range. *Pure.*
#[must_use]
pub fn seconds_of(date: (u16, u8, u8), time: (u8, u8, u8)) -> u64 {
    let ((year, month, day), (hour, minute, second)) = (date, time);
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return 0;
    }
    // Years from March to February, so that a leap day is the last day of a year.
    let (year, month, day) = (u64::from(year), u64::from(month), u64::from(day));
    let year = year.saturating_sub(u64::from(month <= 2));
    let month = if month > 2 {
        month.saturating_sub(3)
    } else {
        month.saturating_add(9)
    };
    let leap_days = (year / 4)
        .saturating_sub(year / 100)
        .saturating_add(year / 400);
    let days_before = month.saturating_mul(153).saturating_add(2) / 5;
    const EPOCH: u64 = 719_468; // days from 0000-03-01 to 1970-01-01
    let days = year
        .saturating_mul(365)
        .saturating_add(leap_days)
        .saturating_add(days_before)
        .saturating_add(day.saturating_sub(1))
        .saturating_sub(EPOCH);
    let minutes = days
        .saturating_mul(24)
        .saturating_add(u64::from(hour))
        .saturating_mul(60)
        .saturating_add(u64::from(minute));
    minutes.saturating_mul(60).saturating_add(u64::from(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values by `date -u -d ... +%s`.
    #[test]
    fn seconds_agree_with_date() {
        assert_eq!(seconds_of((1970, 1, 1), (0, 0, 0)), 0);
        assert_eq!(seconds_of((1970, 1, 2), (0, 0, 1)), 86_401);
        assert_eq!(seconds_of((2000, 2, 29), (12, 34, 56)), 951_827_696);
        assert_eq!(seconds_of((2000, 3, 1), (0, 0, 0)), 951_868_800);
        assert_eq!(seconds_of((2024, 12, 31), (23, 59, 59)), 1_735_689_599);
        assert_eq!(seconds_of((2100, 3, 1), (0, 0, 0)), 4_107_542_400);
    }

    #[test]
    fn invalid_dates_are_unknown() {
        for (date, time) in [
            ((1969, 12, 31), (0, 0, 0)),
            ((2024, 0, 1), (0, 0, 0)),
            ((2024, 13, 1), (0, 0, 0)),
            ((2024, 1, 0), (0, 0, 0)),
            ((2024, 1, 1), (24, 0, 0)),
            ((u16::MAX, u8::MAX, u8::MAX), (u8::MAX, u8::MAX, u8::MAX)),
        ] {
            assert_eq!(seconds_of(date, time), 0, "{date:?} {time:?}");
        }
    }
}
