//! History in a file, whose format is seen from how it begins.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use super::{
    comma, exposition,
    feed::{Feed, InputError},
    query,
};

/// A line of a format that is text has its first words within so many bytes.
const BEGINNING: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Exposition,
    Query,
}

/// Feeds all that is in a file: CSV, the text format of Prometheus or OpenMetrics with times, or an answer of the query API.
/// Of the first the samples of a claim must be in the order of their times. The second is read twice, claim by claim.
pub fn read(path: &Path, feed: &mut Feed) -> Result<(), InputError> {
    let failed = |source| InputError::Read { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let beginning = reader.fill_buf().map_err(failed)?;
    match format(beginning.get(..BEGINNING).unwrap_or(beginning)) {
        Format::Csv => comma::read(path, reader, feed),
        Format::Exposition => exposition::read(path, reader, feed),
        Format::Query => query::read(path, reader, feed),
    }
}

fn format(beginning: &[u8]) -> Format {
    let text = String::from_utf8_lossy(beginning);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if let Some(object) = text.strip_prefix('{') {
        // A series without a name before its labels, as `promtool tsdb dump` writes it, begins with a brace, too.
        return if object.trim_start().starts_with('"') { Format::Query } else { Format::Exposition };
    }
    match lines.find(|line| !line.starts_with('#')) {
        Some(line) if line.contains('{') => Format::Exposition,
        None if text.starts_with("# ") => Format::Exposition,
        _ => Format::Csv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_how_it_begins() {
        for (beginning, expected) in [
            ("time,namespace,claim,capacity_bytes,used_bytes\n", Format::Csv),
            ("# seed 7\ntime,namespace,claim", Format::Csv),
            ("", Format::Csv),
            (
                "# HELP kubelet_volume_stats_used_bytes Used\nkubelet_volume_stats_used_bytes{a=\"b\"} 1 2",
                Format::Exposition,
            ),
            ("{__name__=\"kubelet_volume_stats_used_bytes\"} 1 2", Format::Exposition),
            ("# EOF\n", Format::Exposition),
            ("{\"status\":\"success\"}", Format::Query),
            (" {\n  \"status\": \"success\"", Format::Query),
        ] {
            assert_eq!(format(beginning.as_bytes()), expected, "{beginning}");
        }
    }
}
