//! History in the text format of Prometheus or OpenMetrics, each line with its time, as `promtool tsdb dump-openmetrics`
//! writes it: one series after the other, so that what belongs to one claim is all over the file. A first pass notes where
//! the series are, and a second reads them claim by claim: only one claim's history is ever in memory.

mod line;

use std::{
    collections::BTreeMap,
    io::{BufRead, Seek, SeekFrom},
    path::Path,
};

use super::{
    CLAIM_LABEL, NAMESPACE_LABEL,
    columns::{Columns, Measure, milliseconds, whole},
    feed::{Feed, InputError},
    measure,
};
use line::Series;

/// Beyond this a time is in milliseconds, as the format of Prometheus and `promtool tsdb dump` have it, and not in the
/// seconds of OpenMetrics: these would be of the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// Lines that follow each other and are of one series.
struct Run {
    measure: Measure,
    /// Where the first of them begins, and its number.
    offset: u64,
    line: u64,
    lines: u64,
    /// How long the text is by which each of them names the series.
    series_bytes: usize,
}

/// The runs of each claim, by its namespace and name.
type Index = BTreeMap<(String, String), Vec<Run>>;

/// Feeds all of it.
pub(super) fn read(path: &Path, mut reader: impl BufRead + Seek, feed: &mut Feed) -> Result<(), InputError> {
    let failed = |source| InputError::Read { path: path.to_owned(), source };
    let index = index(path, &mut reader)?;
    if index.is_empty() {
        return Err(InputError::File {
            path: path.to_owned(),
            what: "has no series of a claim: it must have the kubelet's kubelet_volume_stats_capacity_bytes, and \
                   _used_bytes or _available_bytes, with the labels namespace and persistentvolumeclaim"
                .to_owned(),
        });
    }
    let mut text = String::new();
    for ((namespace, claim), runs) in index {
        let mut columns = Columns::default();
        for run in runs {
            reader.seek(SeekFrom::Start(run.offset)).map_err(failed)?;
            for line in run.line..run.line + run.lines {
                text.clear();
                reader.read_line(&mut text).map_err(failed)?;
                let point = point(text.get(run.series_bytes..).unwrap_or_default());
                let point = point.map_err(|what| InputError::Line { path: path.to_owned(), line, what })?;
                if let Some((at_ms, value)) = point {
                    columns.push(run.measure, at_ms, value);
                }
            }
        }
        feed.take_columns(&namespace, &claim, columns)?.map_err(|rejected| InputError::File {
            path: path.to_owned(),
            what: format!("claim {namespace}/{claim}: {rejected}"),
        })?;
    }
    Ok(())
}

/// The first pass. Most lines name the series of the line before, which is all that is looked at then.
fn index(path: &Path, reader: &mut impl BufRead) -> Result<Index, InputError> {
    let mut index = Index::new();
    let (mut text, mut latest) = (String::new(), String::new());
    let mut of_latest: Option<(String, String)> = None;
    let (mut offset, mut line) = (0, 0);
    loop {
        text.clear();
        let bytes = reader.read_line(&mut text).map_err(|source| InputError::Read { path: path.to_owned(), source })?;
        if bytes == 0 {
            return Ok(index);
        }
        line += 1;
        let begins = offset;
        offset += u64::try_from(bytes).unwrap_or(0);
        if !latest.is_empty() && text.strip_prefix(&*latest).is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            if let Some(run) = of_latest.as_ref().and_then(|claim| index.get_mut(claim)?.last_mut()) {
                run.lines += 1;
            }
            continue;
        }
        latest.clear();
        of_latest = None;
        let series = Series::of(&text).map_err(|what| InputError::Line { path: path.to_owned(), line, what })?;
        let Some(series) = series else { continue };
        latest.push_str(&text[..series.bytes]);
        let Some(measure) = measure(&series.name) else { continue };
        let (Some(namespace), Some(claim)) = (series.label(NAMESPACE_LABEL), series.label(CLAIM_LABEL)) else {
            continue;
        };
        let claim = (namespace.to_owned(), claim.to_owned());
        let run = Run { measure, offset: begins, line, lines: 1, series_bytes: series.bytes };
        index.entry(claim.clone()).or_default().push(run);
        of_latest = Some(claim);
    }
}

/// The time and the value behind the name of a series; none where the value says that there is none.
fn point(text: &str) -> Result<Option<(i64, u64)>, String> {
    let mut words = text.split_ascii_whitespace();
    let value = whole(words.next().unwrap_or_default())?;
    let Some(time) = words.next().filter(|word| *word != "#") else {
        return Err("has no time behind its value: write the history with `promtool tsdb dump-openmetrics`".to_owned());
    };
    let not_a_time = || format!("`{time}` is not a time");
    let number: f64 = time.parse().map_err(|_| not_a_time())?;
    let seconds = if number.abs() < SECONDS_MAX { number } else { number / 1000.0 };
    let at_ms = milliseconds(seconds).ok_or_else(not_a_time)?;
    Ok(value.map(|value| (at_ms, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_seconds_or_where_it_must_be_in_milliseconds() {
        assert_eq!(point(" 5 1700000000.25"), Ok(Some((1_700_000_000_250, 5))));
        assert_eq!(point(" 5e3 1700000000250 # {trace=\"x\"} 1"), Ok(Some((1_700_000_000_250, 5000))));
        assert_eq!(point(" NaN 1700000000"), Ok(None));
        assert!(point(" 5").unwrap_err().contains("dump-openmetrics"));
        assert!(point(" 5 soon").unwrap_err().contains("`soon` is not a time"));
        assert!(point(" -5 1700000000").unwrap_err().contains("`-5` is not a number"));
    }
}
