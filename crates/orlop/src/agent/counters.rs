//! What a block device has done since it is there, by the kernel's counters, and at which rate that is. The rates are over
//! ten seconds, so that neither a burst nor a pause of a moment is taken for the load.

use std::{collections::VecDeque, fmt, fs, io, path::Path};

use jiff::{SignedDuration, Timestamp};
use orlop_planner::{LoadWatch, Rates};

/// Over how long rates are taken.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// Counters that follow each other sooner than this are passed over, so that a volume that is looked at closely needs no more
/// memory than another.
const STEP: SignedDuration = SignedDuration::from_millis(500);

/// The kernel counts in sectors of this size, whatever the device's (`Documentation/block/stat.rst`).
const SECTOR: u64 = 512;

/// Where the kernel has its block devices.
pub(super) const DEVICES: &str = "/sys/dev/block";

/// A block device by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Of its driver.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What a device has completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read operations.
    pub reads: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Write operations.
    pub writes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

/// The counters of a device below `devices`; none for what is no block device, such as a network filesystem.
pub(super) fn read(devices: &Path, device: Device) -> io::Result<Option<Counters>> {
    match fs::read_to_string(devices.join(device.to_string()).join("stat")) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first fields are the operations that were read, those that were merged, the sectors and the milliseconds, and then the
/// same of what was written.
fn parse(stat: &str) -> Option<Counters> {
    let fields: Vec<u64> = stat.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let &[reads, _, read_sectors, _, writes, _, written_sectors, ..] = &*fields else { return None };
    Some(Counters {
        reads,
        read_bytes: read_sectors.saturating_mul(SECTOR),
        writes,
        written_bytes: written_sectors.saturating_mul(SECTOR),
    })
}

/// How much a volume does, by its watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Quiet,
    Ordinary,
    Busy,
}

/// The counters of a volume's device, of the last seconds.
#[derive(Debug, Default)]
pub(super) struct History {
    readings: VecDeque<(Timestamp, Counters)>,
    /// The rates, as soon as the window is full.
    pub(super) rates: Option<Rates>,
    /// The most of each since [`History::reported`].
    pub(super) peak: Rates,
}

impl History {
    /// Takes in what was read. Counters that are smaller than before are those of another device, and begin anew, as they do
    /// where a clock was set.
    pub(super) fn push(&mut self, at: Timestamp, counters: Option<Counters>) {
        let Some(counters) = counters else {
            *self = Self::default();
            return;
        };
        if let Some((before, last)) = self.readings.back() {
            let goes_on = *before <= at
                && at.duration_since(*before) < WINDOW * 3
                && last.reads <= counters.reads
                && last.writes <= counters.writes;
            if !goes_on {
                *self = Self::default();
            } else if at.duration_since(*before) < STEP {
                return;
            }
        }
        self.readings.push_back((at, counters));
        // The oldest is the youngest of those that are as old as the window.
        while self.readings.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= WINDOW) {
            self.readings.pop_front();
        }
        self.rates = self.readings.front().and_then(|(first, then)| rates(at.duration_since(*first), then, &counters));
        if let Some(rates) = self.rates {
            self.peak = self.peak.max(rates);
        }
    }

    /// How much that is; none while no rate is known.
    pub(super) fn level(&self, watch: &LoadWatch) -> Option<Level> {
        let rates = self.rates?;
        Some(if rates.reaches(&watch.busy) {
            Level::Busy
        } else if watch.quiet.is_some_and(|quiet| !self.peak.reaches(&quiet)) {
            Level::Quiet
        } else {
            Level::Ordinary
        })
    }

    /// The operator has been told.
    pub(super) fn reported(&mut self) {
        self.peak = self.rates.unwrap_or_default();
    }
}

/// The rates over a time that is as long as the window at least.
fn rates(over: SignedDuration, then: &Counters, now: &Counters) -> Option<Rates> {
    let milliseconds = u128::try_from(over.as_millis()).ok().filter(|_| over >= WINDOW)?;
    let rate = |then: u64, now: u64| {
        let rate = u128::from(now.saturating_sub(then)) * 1_000 / milliseconds;
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    Some(Rates::new(
        rate(then.reads, now.reads),
        rate(then.writes, now.writes),
        rate(then.read_bytes, now.read_bytes),
        rate(then.written_bytes, now.written_bytes),
    ))
}

#[cfg(test)]
mod tests {
    use orlop_api::{Dimension, Limits};

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn writes(writes: u64) -> Option<Counters> {
        Some(Counters { writes, written_bytes: writes * 4096, ..Counters::default() })
    }

    #[test]
    fn the_kernel_s_counters_are_read_as_it_documents_them() {
        let devices = tempfile::tempdir().unwrap();
        let device = Device { major: 7, minor: 3 };
        assert_eq!(read(devices.path(), device).unwrap(), None, "it is no block device");
        fs::create_dir(devices.path().join("7:3")).unwrap();
        let stat = "  446216   784926  9550688  4382310   875  3  5000 77      0   447312  4382310 0 0 0 0 1 2\n";
        fs::write(devices.path().join("7:3/stat"), stat).unwrap();
        let expected =
            Counters { reads: 446_216, read_bytes: 9_550_688 * 512, writes: 875, written_bytes: 5_000 * 512 };
        assert_eq!(read(devices.path(), device).unwrap(), Some(expected));
        assert_eq!(parse("1 2 3"), None);
    }

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let mut history = History::default();
        for second in 0..10 {
            history.push(at(second * 1_000), writes(0));
            assert_eq!(history.rates, None, "the window is not full");
        }
        history.push(at(10_000), writes(1_000));
        assert_eq!(history.rates, Some(Rates::new(0, 100, 0, 409_600)));
        for second in 11..=20 {
            history.push(at(second * 1_000), writes(1_000));
        }
        assert_eq!(history.rates, Some(Rates::default()), "what was done before them is forgotten");
        assert_eq!(history.peak.get(Dimension::WriteIops), 100, "but not that it was done");
        history.reported();
        assert_eq!(history.peak, Rates::default());
    }

    #[test]
    fn another_device_and_a_clock_that_was_set_begin_anew() {
        let full = || {
            let mut history = History::default();
            (0..=10).for_each(|second| history.push(at(second * 1_000), writes(1_000)));
            assert!(history.rates.is_some());
            history
        };
        for (milliseconds, counters) in
            [(11_000, writes(5)), (5_000, writes(1_000)), (60_000, writes(1_000)), (11_000, None)]
        {
            let mut history = full();
            history.push(at(milliseconds), counters);
            assert_eq!(history.rates, None);
        }
    }

    #[test]
    fn a_volume_is_quiet_only_while_no_peak_has_been_high() {
        let bounds = |writes| {
            let mut bounds = Limits::default();
            bounds.set(Dimension::WriteIops, writes);
            bounds
        };
        let watch = LoadWatch { busy: bounds(90), quiet: Some(bounds(20)) };
        let mut history = History::default();
        assert_eq!(history.level(&watch), None);
        (0..=10).for_each(|second| history.push(at(second * 1_000), writes(0)));
        assert_eq!(history.level(&watch), Some(Level::Quiet));
        history.push(at(11_000), writes(1_000));
        assert_eq!(history.level(&watch), Some(Level::Busy));
        (12..=30).for_each(|second| history.push(at(second * 1_000), writes(1_000)));
        assert_eq!(history.level(&watch), Some(Level::Ordinary));
        history.reported();
        assert_eq!(history.level(&watch), Some(Level::Quiet));
    }
}
