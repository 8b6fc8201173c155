//! Answers of the query API of Prometheus to range queries (`/api/v1/query_range`), from a file or from a server.

use std::{borrow::Cow, collections::BTreeMap, io::BufRead, path::Path};

use serde::Deserialize;

use super::{
    columns::{Columns, Measure, milliseconds, whole},
    feed::{Feed, InputError},
    measure,
};

/// The metrics of each claim, by its namespace and name.
pub(super) type Claims = BTreeMap<(String, String), Columns>;

#[derive(Deserialize)]
struct Answer<'a> {
    status: &'a str,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: &'a str,
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    /// Times in seconds, and values.
    #[serde(borrow, default)]
    values: Vec<(f64, &'a str)>,
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow, rename = "__name__")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    persistentvolumeclaim: Option<Cow<'a, str>>,
}

/// Feeds what is in a file: one answer, or several one after the other, since one metric alone makes no sample.
pub(super) fn read(path: &Path, mut reader: impl BufRead, feed: &mut Feed) -> Result<(), InputError> {
    let failed = |what| InputError::File { path: path.to_owned(), what };
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|source| InputError::Read { path: path.to_owned(), source })?;
    let mut claims = Claims::new();
    for answer in serde_json::Deserializer::from_str(&text).into_iter() {
        let answer: Answer<'_> = answer.map_err(|error| failed(format!("is no answer of a range query: {error}")))?;
        for warning in take(answer, None, &mut claims).map_err(failed)? {
            feed.note(format!("{} may not have the whole: {warning}", path.display()));
        }
    }
    if claims.is_empty() {
        return Err(failed(
            "has no series of a claim: ask /api/v1/query_range for {__name__=~\"kubelet_volume_stats_.*\"}".to_owned(),
        ));
    }
    for ((namespace, claim), columns) in claims {
        let taken = feed.take_columns(&namespace, &claim, columns)?;
        taken.map_err(|rejected| failed(format!("claim {namespace}/{claim}: {rejected}")))?;
    }
    Ok(())
}

/// Takes an answer of a server to a question for one measure. Returns its warnings: that it is not the whole.
pub(super) fn parse(text: &[u8], of: Measure, claims: &mut Claims) -> Result<Vec<String>, String> {
    let answer = serde_json::from_slice(text).map_err(|error| format!("answers what is no answer: {error}"))?;
    take(answer, Some(of), claims)
}

fn take(answer: Answer<'_>, of: Option<Measure>, claims: &mut Claims) -> Result<Vec<String>, String> {
    let Answer { status, error, warnings, data } = answer;
    let Some(data) = data.filter(|_| status == "success") else {
        return Err(format!("says {status}: {}", error.unwrap_or_default()));
    };
    if data.result_type != "matrix" {
        return Err(format!("is an answer of type {}: ask /api/v1/query_range", data.result_type));
    }
    for Series { metric, values } in data.result {
        let measure = of.or_else(|| measure(metric.name.as_deref()?));
        let (Some(measure), Some(namespace), Some(claim)) = (measure, metric.namespace, metric.persistentvolumeclaim)
        else {
            continue;
        };
        let columns = claims.entry((namespace.into_owned(), claim.into_owned())).or_default();
        for (seconds, value) in values {
            let at_ms = milliseconds(seconds).ok_or_else(|| format!("`{seconds}` is not a time"))?;
            if let Some(value) = whole(value)? {
                columns.push(measure, at_ms, value);
            }
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"namespace":"shop","persistentvolumeclaim":"db"},"values":[[1700000000,"5"],[1700000300.5,"6"]]},
        {"metric":{"namespace":"shop"},"values":[[1700000000,"7"]]}]},"warnings":["a store is gone"]}"#;

    #[test]
    fn an_answer_is_taken_by_claim_with_its_warnings() {
        let mut claims = Claims::new();
        let warnings = parse(USED.as_bytes(), Measure::Used, &mut claims).unwrap();
        assert_eq!(warnings, ["a store is gone"]);
        let mut columns = claims.remove(&("shop".to_owned(), "db".to_owned())).unwrap();
        assert!(claims.is_empty(), "a series of no claim is passed over");
        columns.push(Measure::Capacity, 1_700_000_300_500, 10);
        let (samples, _) = columns.samples();
        assert_eq!((samples[0].used.0, samples[0].available.0), (6, 4));
    }

    #[test]
    fn an_error_is_told_in_the_words_of_the_server() {
        let refused = |text: &str| parse(text.as_bytes(), Measure::Used, &mut Claims::new()).unwrap_err();
        let error = r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}"#;
        assert_eq!(refused(error), "says error: exceeded maximum resolution");
        let instant = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert!(refused(instant).contains("ask /api/v1/query_range"));
        assert!(refused("<html>").contains("no answer"));
    }
}
