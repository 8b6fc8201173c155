//! What a block device has done since it is there, by the kernel's counters, and at which rate that is.

use std::{fmt, fs, io, path::Path};

use jiff::SignedDuration;
use orlop_planner::Rates;

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

impl Counters {
    /// Can these be what the same device has counted later?
    pub(super) const fn go_on(&self, later: &Self) -> bool {
        self.reads <= later.reads && self.writes <= later.writes
    }

    /// At which rate the device has got from these to what it has counted some time later.
    pub(super) fn rates(&self, over: SignedDuration, now: &Self) -> Rates {
        let milliseconds = u128::try_from(over.as_millis()).unwrap_or(0).max(1);
        let rate = |then: u64, now: u64| {
            let rate = u128::from(now.saturating_sub(then)) * 1_000 / milliseconds;
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        Rates::new(
            rate(self.reads, now.reads),
            rate(self.writes, now.writes),
            rate(self.read_bytes, now.read_bytes),
            rate(self.written_bytes, now.written_bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
