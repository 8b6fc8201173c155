//! What every answer has around its result.

use serde::Deserialize;

/// The answer to a question that could be answered.
#[derive(Debug, PartialEq)]
pub struct Success<T> {
    /// What was asked for.
    pub result: T,
    /// Why it is not the whole.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    #[expect(dead_code, reason = "there is one word that it may be")]
    status: Succeeded,
    data: Data<T>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
enum Succeeded {
    #[serde(rename = "success")]
    Success,
}

#[derive(Deserialize)]
struct Data<T> {
    result: T,
}

/// Reads an answer; an error that the server tells of has no result, which the client has read.
pub fn success<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<Success<T>, serde_json::Error> {
    let Answer { data, warnings, .. } = serde_json::from_slice::<Answer<T>>(json)?;
    Ok(Success { result: data.result, warnings })
}
