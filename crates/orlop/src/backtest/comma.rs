//! A history as CSV: a line for each sample, a claim after the other or all mixed. The first line names the columns, in any
//! order; columns of other names are passed over.

use std::{
    io::{Read, Write},
    path::Path,
};

use csv::{ByteRecord, Reader, ReaderBuilder, Writer};
use jiff::Timestamp;
use orlop_backtest::Sample;

use super::{
    columns::{Measured, milliseconds, whole},
    feed::{Feed, InputError},
};

/// The columns, as they are written. Of used and available one is enough, and so of the inodes that are used and free.
pub(super) const HEAD: [&str; 8] =
    ["time", "namespace", "claim", "capacity_bytes", "used_bytes", "available_bytes", "inodes", "inodes_free"];

/// Beyond this a number of seconds is one of milliseconds: it would be of the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// Where the columns are.
struct Layout {
    time: usize,
    namespace: usize,
    claim: usize,
    capacity: usize,
    used: Option<usize>,
    available: Option<usize>,
    inodes: Option<usize>,
    inodes_used: Option<usize>,
    inodes_free: Option<usize>,
}

/// Feeds all of it.
pub(super) fn read(path: &Path, reader: impl Read, feed: &mut Feed) -> Result<(), InputError> {
    let mut reader = ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(reader);
    let layout = Layout::of(&mut reader).map_err(|what| InputError::Line { path: path.to_owned(), line: 1, what })?;
    let mut record = ByteRecord::new();
    loop {
        let at_line = |line, what| InputError::Line { path: path.to_owned(), line, what };
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                return Err(at_line(line, error.to_string()));
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let row = layout.row(&record).map_err(|what| at_line(line, what))?;
        // A row without values says that there are none.
        let Some((namespace, claim, sample)) = row else { continue };
        feed.take(namespace, claim, &sample)?.map_err(|rejected| at_line(line, rejected.to_string()))?;
    }
}

/// Writes one sample.
pub(super) fn write(
    writer: &mut Writer<impl Write>,
    namespace: &str,
    claim: &str,
    sample: &Sample,
) -> Result<(), csv::Error> {
    let seconds = sample.at_ms.div_euclid(1000);
    let time = match sample.at_ms.rem_euclid(1000) {
        0 => seconds.to_string(),
        fraction => format!("{seconds}.{fraction:03}"),
    };
    let [capacity, used, mut available] =
        [sample.capacity, sample.used, sample.available].map(|bytes| bytes.0.to_string());
    // What is just the rest is read as that.
    if sample.capacity.0 - sample.used.0 == sample.available.0 {
        available.clear();
    }
    let inodes = sample.inodes.map(|inodes| [inodes.total, inodes.free].map(|count| count.0.to_string()));
    let [total, free] = inodes.unwrap_or_default();
    writer.write_record([&*time, namespace, claim, &*capacity, &*used, &*available, &*total, &*free])
}

impl Layout {
    fn of(reader: &mut Reader<impl Read>) -> Result<Self, String> {
        let head = reader.headers().map_err(|error| error.to_string())?;
        let find = |name: &str| head.iter().position(|column| column.eq_ignore_ascii_case(name));
        let required = |name: &str| {
            find(name).ok_or_else(|| {
                format!(
                    "there is no column `{name}`: name the columns in the first line, such as \
                     time,namespace,claim,capacity_bytes,used_bytes"
                )
            })
        };
        let (used, available) = (find("used_bytes"), find("available_bytes"));
        if used.is_none() && available.is_none() {
            required("used_bytes")?;
        }
        Ok(Self {
            time: required("time")?,
            namespace: required("namespace")?,
            claim: required("claim")?,
            capacity: required("capacity_bytes")?,
            used,
            available,
            inodes: find("inodes"),
            inodes_used: find("inodes_used"),
            inodes_free: find("inodes_free"),
        })
    }

    fn row<'a>(&self, record: &'a ByteRecord) -> Result<Option<(&'a str, &'a str, Sample)>, String> {
        let text =
            |index: usize| std::str::from_utf8(record.get(index).unwrap_or_default()).map_err(|_| "it is not UTF-8");
        let number = |index: Option<usize>, name: &str| -> Result<Option<u64>, String> {
            match index.map(text).transpose()? {
                None | Some("") => Ok(None),
                Some(number) => whole(number).map_err(|what| format!("{name}: {what}")),
            }
        };
        let measured = Measured {
            capacity: number(Some(self.capacity), "capacity_bytes")?,
            used: number(self.used, "used_bytes")?,
            available: number(self.available, "available_bytes")?,
            inodes: number(self.inodes, "inodes")?,
            inodes_used: number(self.inodes_used, "inodes_used")?,
            inodes_free: number(self.inodes_free, "inodes_free")?,
        };
        let (namespace, claim) = (text(self.namespace)?, text(self.claim)?);
        if namespace.is_empty() || claim.is_empty() {
            return Err("it names no claim: write its namespace and its name".to_owned());
        }
        let at_ms = time_ms(text(self.time)?)?;
        Ok(measured.sample(at_ms).map(|sample| (namespace, claim, sample)))
    }
}

/// A time in milliseconds since the beginning of 1970.
fn time_ms(text: &str) -> Result<i64, String> {
    let refuse = || format!("time: `{text}` is not a time: write 2026-01-31T12:00:00Z, or seconds since 1970");
    match text.parse::<f64>() {
        Ok(seconds) if seconds.abs() >= SECONDS_MAX => {
            Err(format!("time: `{text}` seems to be in milliseconds: write seconds since 1970"))
        }
        Ok(seconds) => milliseconds(seconds).ok_or_else(refuse),
        Err(_) => text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| refuse()),
    }
}
