//! The time of day, and how koala writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A time in nanoseconds since 1970 as RFC 3339 in UTC, to the millisecond: `2026-02-03T04:05:06.789Z`.
pub fn rfc3339(nanoseconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(nanoseconds);
    let millisecond = nanoseconds / 1_000_000 % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// The hour of a time in nanoseconds since 1970, as log files are named by it: `2026020304`.
pub fn hour_stamp(nanoseconds: u64) -> String {
    let Civil { year, month, day, hour, .. } = Civil::of(nanoseconds);
    format!("{year:04}{month:02}{day:02}{hour:02}")
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    fn of(nanoseconds: u64) -> Self {
        let seconds = nanoseconds / 1_000_000_000;
        // Years are counted from March, so that the leap day is a year's last; day 0 is 0000-03-01.
        let days = seconds / 86_400 + 719_468;
        let era_day = days % 146_097;
        let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
        let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
        let shifted_month = (5 * year_day + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: days / 146_097 * 400 + era_year + u64::from(month <= 2),
            month,
            day: year_day - (153 * shifted_month + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates_as_date_1_does() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999_000_000), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_251_200_000_000_000), "2024-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(4_102_444_800_000_000_000), "2100-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_767_225_599_123_456_789), "2025-12-31T23:59:59.123Z");
    }

    #[test]
    fn names_hours() {
        assert_eq!(hour_stamp(1_767_225_599_123_456_789), "2025123123");
    }
}
