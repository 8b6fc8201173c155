//! Asks Prometheus servers for how long more was asked of volumes than their limits allow, by what their drivers count: each
//! interval, while there are such volumes. What counts is the difference between two readings of a counter, by the times at
//! which Prometheus has read it, so that nothing depends on how often that is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{ExceededCounter, Saturation};
use orlop_operator::{Backoff, Counted, Measurement, Metrics};
use orlop_planner::Exceeded;
use serde::Deserialize;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{BATCH, CLOCK_SKEW_MAX, PAUSE_MAX, answer::time, name_of};
use crate::{
    causes::in_one_line,
    operator::measure::Measurements,
    prometheus::{self, Client, QueryError, Server, Success},
};

/// How large an answer may be: of 50,000 volumes with two counters each it has about 40 MiB.
const BYTES_MAX: usize = 64 << 20;

/// Between two readings of which the difference counts there may be as much. Prometheus gives no sample that is older.
const APART_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The volumes of which it is asked, by the PersistentVolume's name: written by the operator after each pass.
pub type CountedVolumes = BTreeMap<Arc<str>, Counted>;

/// Whom to ask of what, and whom to tell.
#[derive(Debug)]
pub struct Counters {
    /// The servers.
    pub servers: Vec<Server>,
    /// Of which volumes.
    pub volumes: watch::Receiver<CountedVolumes>,
    /// Where measurements go.
    pub measurements: Measurements,
    /// How often a server is asked.
    pub interval: Duration,
    /// Where the questions are counted.
    pub metrics: Metrics,
}

/// Asks until nobody listens any more, or nobody says any more of which volumes. Without a server there is nothing to do, for
/// ever.
pub async fn run(counters: Counters) {
    let Counters { servers, volumes, measurements, interval, metrics } = counters;
    let readings = Mutex::default();
    let asking = servers.into_iter().map(|server| {
        let asker = Asker {
            name: name_of(&server),
            client: Client::new(server),
            failures: 0,
            readings: &readings,
            measurements: measurements.clone(),
            metrics: metrics.clone(),
        };
        Box::pin(asker.run(volumes.clone(), interval))
    });
    let asking: Vec<_> = asking.collect();
    if asking.is_empty() {
        std::future::pending::<()>().await;
    } else {
        futures::future::select_all(asking).await;
    }
}

/// Asks one server.
struct Asker<'a> {
    name: String,
    client: Client,
    /// How often in a row it has failed.
    failures: u32,
    readings: &'a Mutex<Readings>,
    measurements: Measurements,
    metrics: Metrics,
}

impl Asker<'_> {
    async fn run(mut self, mut volumes: watch::Receiver<CountedVolumes>, interval: Duration) {
        let pauses = Backoff { first: interval, longest: PAUSE_MAX.max(interval) };
        loop {
            let Ok(wanted) = volumes.wait_for(|volumes| !volumes.is_empty()).await.map(|volumes| volumes.clone())
            else {
                return;
            };
            let news = self.ask_all(&wanted).await;
            for batch in news.chunks(BATCH) {
                if self.measurements.send(batch.to_vec()).await.is_err() {
                    return;
                }
            }
            sleep(pauses.after(self.failures)).await;
        }
    }

    /// Asks of all these volumes, by the metrics of one driver after the other.
    async fn ask_all(&mut self, wanted: &CountedVolumes) -> Vec<Measurement> {
        let mut drivers: Vec<(Arc<Saturation>, HashMap<&str, &str>)> = Vec::new();
        for (volume, Counted { handle, by }) in wanted {
            let index = drivers.iter().position(|(known, _)| Arc::ptr_eq(known, by)).unwrap_or_else(|| {
                drivers.push((Arc::clone(by), HashMap::new()));
                drivers.len() - 1
            });
            drivers[index].1.insert(handle, volume);
        }
        let mut news = Vec::new();
        for (by, volumes) in &drivers {
            let answer = self.ask(by).await;
            let read = self.take_in(answer);
            let now = Timestamp::now();
            let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
            readings.forget(now);
            for (handle, counters) in read {
                if let Some(volume) = volumes.get(&*handle) {
                    news.extend(readings.take_in(volume, &counters, now));
                }
            }
        }
        news
    }

    async fn ask(&self, by: &Saturation) -> Result<Answer, QueryError> {
        let json = self.client.ask(&question(self.client.server(), by), BYTES_MAX).await?;
        parse(&json, by).map_err(QueryError::Parse)
    }

    /// Counts the answer, and says what is new about the server. A part of an answer is better than none.
    fn take_in(&mut self, answer: Result<Answer, QueryError>) -> BTreeMap<String, Vec<Reading>> {
        let (server, failed_before) = (&*self.name, self.failures > 0);
        match answer {
            Ok(Answer { volumes, warnings }) => {
                let outcome = if warnings.is_empty() { "complete" } else { "partial" };
                self.metrics.prometheus_asked(server, outcome);
                if failed_before {
                    info!(server, "Prometheus says again what exceeds the limits of volumes");
                }
                self.failures = 0;
                volumes
            }
            Err(error) => {
                self.metrics.prometheus_asked(server, "failed");
                if !failed_before {
                    let error = in_one_line(&error);
                    warn!(
                        server,
                        error, "Prometheus does not say what exceeds the limits of volumes; asks more rarely"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                BTreeMap::new()
            }
        }
    }
}

/// The labels that the query gives to values and to the times of samples: which metric they are of. The name of the metric itself
/// would not do, because `or` takes series for the same that differ in nothing else.
const VALUE_OF: &str = "value_of";
const TIME_OF: &str = "time_of";

/// The question: the newest value of each metric for each volume, and when it was read. Of several series for one volume, such as
/// those of two servers that read the same node, the largest counts: it is the newest.
fn question(server: &Server, by: &Saturation) -> String {
    let (own, label) = (server.matchers(), &by.volume_label);
    let comma = if own.is_empty() { "" } else { "," };
    let matchers = format!(r#"{label}!=""{comma}{own}"#);
    let parts = by.counters.iter().flat_map(|ExceededCounter { metric, .. }| {
        let series = format!(r#"{{__name__="{metric}",{matchers}}}"#);
        [(VALUE_OF, series.clone()), (TIME_OF, format!("timestamp({series})"))]
            .map(|(of, what)| format!(r#"label_replace(max by ({label}) ({what}), "{of}", "{metric}", "", "")"#))
    });
    let query = parts.collect::<Vec<_>>().join(" or ");
    let parameters = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &query)
        .append_pair("timeout", &format!("{}s", server.timeout.as_secs()))
        .finish();
    format!("/api/v1/query?{parameters}")
}

/// A counter as it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    /// Which of the driver's counters.
    counter: Counter,
    at: Timestamp,
    seconds: f64,
}

/// A counter by its place in the profile, with which limit is exceeded.
type Counter = (usize, orlop_api::Dimension);

/// What a server knows.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// By the volume's handle.
    volumes: BTreeMap<String, Vec<Reading>>,
    /// Why it is not the whole.
    warnings: Vec<String>,
}

/// What an answer has of a counter of one volume.
#[derive(Debug, Clone, Default)]
struct Numbers {
    at: Option<Timestamp>,
    seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Series {
    metric: HashMap<String, String>,
    /// When it was asked for, and what it was then.
    value: (f64, String),
}

fn parse(json: &[u8], by: &Saturation) -> Result<Answer, serde_json::Error> {
    let Success { result, warnings } = prometheus::success::<Vec<Series>>(json)?;
    let mut known: BTreeMap<String, Vec<Numbers>> = BTreeMap::new();
    for Series { mut metric, value: (_, value) } in result {
        let Some(handle) = metric.remove(&by.volume_label) else { continue };
        let place = |name: Option<&String>| by.counters.iter().position(|counter| Some(&counter.metric) == name);
        let Some(value) = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0) else { continue };
        let numbers = known.entry(handle).or_insert_with(|| vec![Numbers::default(); by.counters.len()]);
        if let Some(counter) = place(metric.get(TIME_OF)) {
            numbers[counter].at = time(value);
        } else if let Some(counter) = place(metric.get(VALUE_OF)) {
            numbers[counter].seconds = Some(value / by.counters[counter].unit.unwrap_or_default().in_a_second());
        }
    }
    let volumes = known.into_iter().map(|(handle, numbers)| {
        let readings = numbers.into_iter().enumerate().filter_map(|(counter, Numbers { at, seconds })| {
            Some(Reading { counter: (counter, by.counters[counter].exceeds), at: at?, seconds: seconds? })
        });
        (handle, readings.collect())
    });
    Ok(Answer { volumes: volumes.collect(), warnings })
}

/// What all servers have said last, by the PersistentVolume's name.
#[derive(Debug, Default)]
struct Readings {
    volumes: HashMap<String, BTreeMap<usize, (Timestamp, f64)>>,
}

impl Readings {
    /// Forgets what nobody has spoken of for long.
    fn forget(&mut self, now: Timestamp) {
        self.volumes.retain(|_, counters| counters.values().any(|(at, _)| now.duration_since(*at) <= APART_MAX));
    }

    /// What is new, where that can be said: each counter must have been read before. One that is smaller than before was begun anew,
    /// because the volume was attached anew.
    fn take_in(&mut self, volume: &str, counters: &[Reading], now: Timestamp) -> Option<Measurement> {
        let known = self.volumes.entry(volume.to_owned()).or_default();
        let mut shares = Exceeded::default();
        let mut latest = None;
        for Reading { counter: (counter, exceeds), at, seconds } in counters {
            if at.duration_since(now) > CLOCK_SKEW_MAX || known.get(counter).is_some_and(|(before, _)| at <= before) {
                continue;
            }
            if let Some((before, counted)) = known.insert(*counter, (*at, *seconds)) {
                let apart = at.duration_since(before);
                if apart <= APART_MAX && counted <= *seconds {
                    shares.set(*exceeds, percent((seconds - counted) / apart.as_secs_f64()));
                    latest = latest.max(Some(*at));
                }
            }
        }
        latest.map(|at| Measurement::Exceeded { volume: volume.to_owned(), at, shares })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
fn percent(share: f64) -> u8 {
    (share * 100.0).clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use orlop_api::{Dimension, driver::built_in};

    use super::*;

    fn ebs() -> &'static Saturation {
        built_in::of("ebs.csi.aws.com").saturation.as_ref().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_question_is_for_the_metrics_of_the_profile_with_the_labels_that_are_asked_for() {
        let server = r#"{"url": "http://p", "timeout": "7s", "matchLabels": {"cluster": "a\"b"}}"#.parse().unwrap();
        let question = question(&server, ebs());
        let (path, parameters) = question.split_once('?').unwrap();
        let parameters: Vec<_> = form_urlencoded::parse(parameters.as_bytes()).collect();
        assert_eq!(path, "/api/v1/query");
        assert_eq!(parameters[1], ("timeout".into(), "7s".into()));
        for metric in ["aws_ebs_csi_exceeded_iops_seconds_total", "aws_ebs_csi_exceeded_tp_seconds_total"] {
            let series = format!(r#"{{__name__="{metric}",volume_id!="",cluster="a\"b"}}"#);
            assert_eq!(parameters[0].1.matches(&series).count(), 2, "{}", parameters[0].1);
        }
    }

    #[test]
    fn a_counter_is_read_in_its_unit_with_the_time_of_its_own_sample_or_not_at_all() {
        let mut by = ebs().clone();
        by.counters[1].unit = Some(orlop_api::TimeUnit::Microseconds);
        let series = |labels: &str, value: &str| {
            format!(r#"{{"metric": {{"volume_id": "vol-1", {labels}}}, "value": [1700000100.5, "{value}"]}}"#)
        };
        let (iops, throughput) = (&by.counters[0].metric, &by.counters[1].metric);
        let all = [
            series(&format!(r#""{VALUE_OF}": "{iops}""#), "12.5"),
            series(&format!(r#""{TIME_OF}": "{iops}""#), "1700000000"),
            series(&format!(r#""{VALUE_OF}": "{throughput}""#), "2500000"),
            series(&format!(r#""{TIME_OF}": "{throughput}""#), "1700000001"),
            series(&format!(r#""{VALUE_OF}": "another""#), "7"),
        ];
        let answer = |series: &[String]| {
            let result = series.join(",");
            let json = format!(r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{result}]}}}}"#);
            parse(json.as_bytes(), &by).unwrap().volumes.remove("vol-1").unwrap()
        };
        let reading = |counter, second, seconds| Reading { counter, at: at(second), seconds };
        let first = reading((0, Dimension::Iops), 1_700_000_000, 12.5);
        assert_eq!(answer(&all), [first, reading((1, Dimension::Throughput), 1_700_000_001, 2.5)]);
        assert_eq!(answer(&all[..3]), [first], "without its time a number says nothing");
    }

    #[test]
    fn the_share_of_time_is_what_a_counter_has_risen_between_two_readings() {
        let mut readings = Readings::default();
        let mut read = |second: i64, iops: f64, throughput: f64| {
            let reading = |counter, seconds| Reading { counter, at: at(second), seconds };
            let both = [reading((0, Dimension::Iops), iops), reading((1, Dimension::Throughput), throughput)];
            match readings.take_in("pv-1", &both, at(1_500)) {
                Some(Measurement::Exceeded { volume, at, shares }) => {
                    assert_eq!((&*volume, at), ("pv-1", self::at(second)));
                    Some(shares.iter().map(|(_, percent)| percent).collect::<Vec<_>>())
                }
                None => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(1_000, 500.0, 7.0), None, "it has not been read before");
        assert_eq!(read(1_060, 530.0, 7.0), Some(vec![50, 0]));
        assert_eq!(read(1_060, 530.0, 7.0), None, "it says the same");
        assert_eq!(read(1_030, 515.0, 7.0), None, "another server is behind");
        assert_eq!(read(1_120, 2.0, 13.0), Some(vec![10]), "the one was begun anew");
        assert_eq!(read(1_430, 2.0, 13.0), None, "in between nobody has looked");
        assert_eq!(read(1_490, 90.0, 13.0), Some(vec![100, 0]), "there is no more than all");
        assert_eq!(read(1_600, 90.0, 13.0), None, "its clock is ahead");
        readings.forget(at(1_790));
        assert_eq!(readings.volumes.len(), 1);
        readings.forget(at(1_791));
        assert!(readings.volumes.is_empty());
    }
}
