//! Dates of cookies, read as leniently as RFC 6265, 5.1.1 says.

use std::time::{Duration, SystemTime};

use jiff::civil;
use jiff::tz::TimeZone;

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Parts of a date found so far.
#[derive(Default)]
struct Found {
    time: Option<(u32, u32, u32)>,
    day: Option<u32>,
    month: Option<usize>,
    year: Option<u32>,
}

/// Reads the value of `Expires`; `None` if it holds no date. A date before 1970 is given as its
/// beginning.
pub(super) fn parse(text: &[u8]) -> Option<SystemTime> {
    let mut found = Found::default();
    for token in text
        .split(|byte| is_delimiter(*byte))
        .filter(|token| !token.is_empty())
    {
        found.take(token);
    }
    let year = match found.year? {
        short @ 0..=69 => short + 2000,
        short @ 70..=99 => short + 1900,
        year => year,
    };
    let (hour, minute, second) = found.time?;
    if !(1601..=9999).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let month = found.month? as i8 + 1;
    let date = civil::Date::new(year as i16, month, found.day? as i8).ok()?;
    let time = civil::Time::new(hour as i8, minute as i8, second as i8, 0).ok()?;
    let at = TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?;
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

impl Found {
    /// Takes a token as the first part of a date that it can be and that was not found before.
    fn take(&mut self, token: &[u8]) {
        if self.time.is_none()
            && let Some(time) = time(token)
        {
            self.time = Some(time);
        } else if self.day.is_none()
            && let Some(day) = number(token, 1..=2)
        {
            self.day = Some(day);
        } else if self.month.is_none()
            && let Some(month) = month(token)
        {
            self.month = Some(month);
        } else if self.year.is_none()
            && let Some(year) = number(token, 2..=4)
        {
            self.year = Some(year);
        }
    }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// Reads a number of so many digits, whatever follows them but a digit.
fn number(token: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let count = token
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = token.get(..count).filter(|_| digits.contains(&count))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn month(token: &[u8]) -> Option<usize> {
    let name = token.get(..3)?;
    MONTHS
        .iter()
        .position(|month| name.eq_ignore_ascii_case(month))
}

fn time(token: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = token.splitn(3, |byte| *byte == b':');
    let [hour, minute, second] = [parts.next()?, parts.next()?, parts.next()?];
    let whole = |part: &[u8]| number(part, 1..=2).filter(|_| part.len() <= 2);
    Some((whole(hour)?, whole(minute)?, number(second, 1..=2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let at = parse(text.as_bytes())?;
        Some(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "tomorrow",
            "Sun, 06 Nov 1994",
            "08:49:37",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1600 08:49:37 GMT",
            "Sun, 06 Nov 94000 08:49:37 GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn every_usual_way_to_write_a_date_is_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "06-nov-1994 8:49:37",
            "1994 November 6th 08:49:37 UTC",
            "Sun; 6/NOV/1994;08:49:37.123+0000",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
        assert_eq!(seconds("Thu, 01-Jan-1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Mon, 01 Jan 1601 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Fri, 31-Dec-69 23:59:59 GMT"), Some(3_155_759_999));
    }
}
