//! The minute of a call in what it asks for, as counters have it in their keys: `stats:2026-11-23T09:14`,
//! `rate:10.0.0.1:29384756`.
//!
//! Another minute is another key, but where each is the minute at which it was asked for. So what a request says of its own
//! minute is written as it would have been said when the recorded call was made, and the rest decides as ever. A minute in
//! words is told by its distance from that of the clock, which is that of a time zone; a number counts minutes, or other
//! lengths of time, since 1970. A day or an hour in words is left as it is: the zone is not known, and so it may as well be
//! yesterday's that is asked for.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

/// What is counted since 1970, in seconds: minutes first.
const UNITS: [u64; 9] = [60, 10, 15, 30, 300, 600, 900, 3600, 86400];
/// Time zones differ by quarters of an hour.
const QUARTER: i64 = 15;
/// And by up to so many minutes from UTC.
const FARTHEST: u64 = 14 * 60;

/// A request that was sent `now` as it would have been sent `then`, both in seconds since 1970; `None` where that is the
/// same.
pub(crate) fn moved(request: &[u8], now: u64, then: u64) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(rest) = request.get(at..).filter(|rest| !rest.is_empty()) {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'.').count();
        let (length, text) = match minute(rest) {
            Some((minute, length)) => (length, minute.moved(now, then)),
            None if digits == word => {
                (digits.max(1), counted(rest.get(..digits).unwrap_or_default(), now, then))
            }
            None => (word, None),
        };
        if let Some(text) = text
            && let Some(place) = out.get_or_insert_with(|| request.to_owned()).get_mut(at..at + text.len())
        {
            place.copy_from_slice(&text);
        }
        at += length;
    }
    out.filter(|out| out != request)
}

/// A count of what has passed since 1970.
fn counted(digits: &[u8], now: u64, then: u64) -> Option<Vec<u8>> {
    if !(5..=9).contains(&digits.len()) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let unit = UNITS.into_iter().find(|unit| now / unit == number)?;
    let text = alloc::format!("{}", then / unit).into_bytes();
    (text.len() == digits.len()).then_some(text)
}

/// A minute in words, with the places of its parts.
struct Minute<'a> {
    text: &'a [u8],
    places: [usize; 5],
}

/// `2026-11-23T09:14`, `2026-11-23 09:14`, `2026/11/23-09:14`, `202611230914`, and its length; not what goes on to seconds.
fn minute(text: &[u8]) -> Option<(Minute<'_>, usize)> {
    let short = text.get(..12).is_some_and(|text| text.iter().all(u8::is_ascii_digit));
    let (places, length) = if short { ([0, 4, 6, 8, 10], 12) } else { ([0, 5, 8, 11, 14], 16) };
    let text = text.get(..length).filter(|_| {
        let goes_on = text.get(length..).unwrap_or_default();
        !matches!(goes_on, [b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Y', ..] | [b':' | b'.', b'0'..=b'9', ..])
    })?;
    let is_gap = |at: usize| !short && matches!(at, 4 | 7 | 10 | 13);
    let fits = text.iter().enumerate().all(|(at, byte)| match is_gap(at) {
        true => matches!(
            (at, byte),
            (4 | 7, b'-' | b'/') | (10, b'T' | b' ' | b'-' | b'_' | b':') | (13, b':' | b'-')
        ),
        false => byte.is_ascii_digit(),
    });
    fits.then_some((Minute { text, places }, length))
}

impl Minute<'_> {
    fn part(&self, place: usize, length: usize) -> Option<i64> {
        let digits = self.text.get(place..place + length)?;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Minutes since 1970, by its own clock.
    fn read(&self) -> Option<i64> {
        let [year, month, day, hour, minute] = self.places;
        let day_in = self.part(day, 2)?;
        let (hours, minutes) = (self.part(hour, 2)?, self.part(minute, 2)?);
        let days = days(self.part(year, 4)?, self.part(month, 2)?, day_in)?;
        ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some((days * 24 + hours) * 60 + minutes)
    }

    fn moved(&self, now: u64, then: u64) -> Option<Vec<u8>> {
        let [now, then] = [now / 60, then / 60].map(|minutes| minutes as i64);
        let zone = self.read()? - now;
        let is_zone = zone % QUARTER == 0 && zone.unsigned_abs() <= FARTHEST;
        let minutes = Some(then + zone).filter(|minutes| is_zone && *minutes >= 0)?;
        let (year, month, day) = date(minutes / (24 * 60));
        let mut text = self.text.to_owned();
        let parts = [year, month, day, minutes / 60 % 24, minutes % 60];
        for ((place, part), length) in self.places.into_iter().zip(parts).zip([4, 2, 2, 2, 2]) {
            let mut part = part;
            for digit in text.get_mut(place..place + length)?.iter_mut().rev() {
                *digit = b'0' + (part % 10) as u8;
                part /= 10;
            }
        }
        Some(text)
    }
}

/// Days since 1970 of a day of the Gregorian calendar; `None` where there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    // Years begin in March: a leap day is then the last of its year.
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let found = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    let is_day = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    (is_day && date(found).2 == day).then_some(found)
}

/// The year, month and day so many days after the first of 1970.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days / ERA, days % ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-23T09:14:40Z
    const NOW: u64 = 1_795_425_280;
    /// 2024-02-29T23:59:05Z
    const THEN: u64 = 1_709_251_145;

    fn at_then(text: &str) -> Option<String> {
        moved(text.as_bytes(), NOW, THEN).map(|text| String::from_utf8(text).expect("is text"))
    }

    #[test]
    fn the_minute_of_now_becomes_that_of_then() {
        for (now, then) in [
            ("stats:2026-11-23T09:14", "stats:2024-02-29T23:59"),
            ("stats:2026-11-23 17:14:hits", "stats:2024-03-01 07:59:hits"),
            ("202611230914", "202402292359"),
            ("2026/11/22-23:29Z", "2024/02/29-14:14Z"),
            ("rate:10.0.0.1:29923754", "rate:10.0.0.1:28487519"),
            ("a:20780 b:498729", "a:19782 b:474791"),
        ] {
            assert_eq!(at_then(now).as_deref(), Some(then), "{now}");
        }
        for text in [
            "stats:2026-11-23T09:15",
            "stats:2026-11-23T09:13",
            "stats:2026-11-23T09:14:40",
            "stats:2026-11-24T09:14",
            "stats:2026-11-23",
            "2026-02-30T09:14",
            "2026-11-23T24:14",
            "rate:29923755",
            "rate:29923753",
            "v29923754",
            "29923754.5",
            "1.29923754",
            "129923754",
            "",
        ] {
            assert_eq!(at_then(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn calendars_agree(day in 0i64..2_000_000) {
            let (year, month, of_month) = date(day);
            prop_assert_eq!(days(year, month, of_month), Some(day).filter(|_| year < 10_000 && (year, month) > (1970, 2)));
        }

        #[test]
        fn any_bytes_keep_their_length(bytes in proptest::collection::vec(any::<u8>(), 0..60), now: u64, then: u64) {
            if let Some(moved) = moved(&bytes, now, then) {
                prop_assert_eq!(moved.len(), bytes.len());
            }
        }

        #[test]
        fn there_and_back(now in 1_600_000_000u64..2_000_000_000, then in 1_600_000_000u64..2_000_000_000) {
            let (year, month, day) = date((now / 86_400) as i64);
            let text = std::format!("a:{year:04}-{month:02}-{day:02}T{:02}:{:02} {}", now / 3600 % 24, now / 60 % 60, now / 60);
            let moved = |text: &[u8], now, then| moved(text, now, then).unwrap_or_else(|| text.to_vec());
            let there = moved(text.as_bytes(), now, then);
            prop_assert_eq!(moved(&there, then, now), text.as_bytes());
        }
    }
}
