//! What a server answers: one number in each series, of which five make a measurement.

use std::{borrow::Cow, collections::HashMap, fmt};

use jiff::Timestamp;
use orlop_api::{Bytes, Count};
use orlop_planner::{Capacity, ClaimId, NamespaceName};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use crate::prometheus::{self, Success};

/// The label that the query gives to the times of samples.
pub(super) const OF_TIME: (&str, &str) = ("stat", "timestamp");

/// The names of the kubelet's metrics begin with it.
pub(super) const PREFIX: &str = "kubelet_volume_stats_";

/// What was measured of a claim's filesystem.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub(super) claim: ClaimId,
    /// When Prometheus read it from the kubelet.
    pub(super) at: Timestamp,
    pub(super) total: Bytes,
    pub(super) available: Bytes,
    pub(super) inodes: Option<Capacity<Count>>,
}

/// An answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) measured: Vec<Measured>,
    /// Why it is not the whole: what the server says, and of how many claims a number is missing.
    pub(super) lacks: Vec<String>,
}

/// Reads an answer; an error that the server tells of has no result, which the client has read.
pub(super) fn parse(json: &[u8]) -> Result<Answer, serde_json::Error> {
    let Success { result: Claims(numbers), warnings } = prometheus::success(json)?;
    let claims = numbers.len();
    let measured: Vec<_> = numbers.into_iter().filter_map(|(claim, numbers)| numbers.of(claim)).collect();
    let mut lacks = warnings;
    if measured.len() < claims {
        lacks.push(format!("numbers are missing of {} of {claims} claims", claims - measured.len()));
    }
    Ok(Answer { measured, lacks })
}

/// The numbers of each claim. They are put together while the answer is read: of a large cluster there are half a million.
struct Claims(HashMap<ClaimId, Numbers>);

#[derive(Default)]
struct Numbers {
    at: Option<Timestamp>,
    total: Option<u64>,
    available: Option<u64>,
    inodes: Option<u64>,
    free_inodes: Option<u64>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    /// When it was asked for, and what it was then.
    value: (f64, &'a str),
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow, rename = "__name__")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stat: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    persistentvolumeclaim: Option<Cow<'a, str>>,
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfSeries;
        impl<'de> Visitor<'de> for OfSeries {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an instant vector")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut series: A) -> Result<Claims, A::Error> {
                let mut claims = Claims(HashMap::new());
                while let Some(series) = series.next_element()? {
                    claims.take_in(&series);
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_seq(OfSeries)
    }
}

impl Claims {
    /// What is of no claim, or no number, is passed over.
    fn take_in(&mut self, series: &Series<'_>) {
        let Series { metric: Labels { name, stat, namespace, persistentvolumeclaim }, value: (_, value) } = series;
        let (Some(namespace), Some(name_of_claim)) = (namespace, persistentvolumeclaim) else { return };
        let claim = ClaimId { namespace: NamespaceName((**namespace).into()), name: (**name_of_claim).into() };
        let numbers = self.0.entry(claim).or_default();
        let Some(value) = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0) else { return };
        if stat.as_deref() == Some(OF_TIME.1) {
            numbers.at = time(value);
            return;
        }
        let number = match name.as_deref().and_then(|name| name.strip_prefix(PREFIX)) {
            Some("capacity_bytes") => &mut numbers.total,
            Some("available_bytes") => &mut numbers.available,
            Some("inodes") => &mut numbers.inodes,
            Some("inodes_free") => &mut numbers.free_inodes,
            _ => return,
        };
        *number = Some(whole(value));
    }
}

impl Numbers {
    /// A measurement, if nothing is missing: what is not known is not zero.
    fn of(self, claim: ClaimId) -> Option<Measured> {
        let inodes = self.inodes.zip(self.free_inodes).filter(|(total, _)| *total > 0);
        Some(Measured {
            claim,
            at: self.at?,
            total: Bytes(self.total?),
            available: Bytes(self.available?),
            inodes: inodes.map(|(total, free)| Capacity { total: Count(total), free: Count(free) }),
        })
    }
}

/// A number that Prometheus keeps as a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative, and ends at the most")]
const fn whole(value: f64) -> u64 {
    value as u64
}

/// Seconds since 1970, of which Prometheus keeps the thousandths.
#[expect(clippy::cast_possible_truncation, reason = "what is no time that there is, is refused")]
pub(super) fn time(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1_000.0).round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, claim: &str, value: &str) -> String {
        format!(
            r#"{{"metric": {{"__name__": "{PREFIX}{name}", "namespace": "shop", "persistentvolumeclaim": "{claim}"}},
                "value": [1700000100.5, "{value}"]}}"#
        )
    }

    fn time_of(claim: &str) -> String {
        format!(
            r#"{{"metric": {{"namespace": "shop", "persistentvolumeclaim": "{claim}", "stat": "timestamp"}},
                "value": [1700000100.5, "1700000000.123"]}}"#
        )
    }

    fn answer(series: &[String], more: &str) -> Answer {
        let series = series.join(",");
        let json =
            format!(r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{series}]}}{more}}}"#);
        parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn five_series_make_a_measurement_with_the_time_of_its_own_sample() {
        let answer = answer(
            &[
                series("available_bytes", "db", "100"),
                time_of("db"),
                series("capacity_bytes", "db", "4e+02"),
                series("inodes", "db", "10"),
                series("inodes_free", "db", "7"),
            ],
            "",
        );
        assert_eq!(answer.lacks, [""; 0]);
        assert_eq!(
            answer.measured,
            [Measured {
                claim: ClaimId { namespace: NamespaceName("shop".into()), name: "db".into() },
                at: "2023-11-14T22:13:20.123Z".parse().unwrap(),
                total: Bytes(400),
                available: Bytes(100),
                inodes: Some(Capacity { total: Count(10), free: Count(7) }),
            }]
        );
    }

    #[test]
    fn a_claim_that_lacks_a_number_is_not_taken_for_a_full_one() {
        let whole = [series("available_bytes", "db", "1"), series("capacity_bytes", "db", "9"), time_of("db")];
        for missing in 0..whole.len() {
            let mut series = whole.to_vec();
            series.remove(missing);
            let answer = answer(&series, "");
            assert_eq!((answer.measured.len(), &*answer.lacks[0]), (0, "numbers are missing of 1 of 1 claims"));
        }
        let strange = [series("available_bytes", "db", "NaN"), series("capacity_bytes", "db", "-1"), time_of("db")];
        assert_eq!(answer(&strange, "").measured, []);
    }

    #[test]
    fn a_warning_says_that_the_answer_is_not_the_whole() {
        let whole = [series("available_bytes", "db", "1"), series("capacity_bytes", "db", "9"), time_of("db")];
        let answer = answer(&whole, r#", "warnings": ["a store is gone"]"#);
        assert_eq!((answer.measured.len(), &*answer.lacks), (1, &["a store is gone".to_owned()][..]));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let error_of_server = br#"{"status": "error", "errorType": "bad_data", "error": "unknown function"}"#;
        assert!(parse(error_of_server).is_err());
        assert!(parse(b"<html>").is_err());
    }
}
