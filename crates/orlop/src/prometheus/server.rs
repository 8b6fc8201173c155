//! Which Prometheus server is to be asked, and how.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use http::Uri;
use orlop_api::Period;
use serde::Deserialize;

/// A server that speaks the query API of Prometheus: its own, or Thanos, Mimir, `VictoriaMetrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is, without `/api/v1`. It has no credentials in it.
    pub url: Uri,
    /// A file with a bearer token, which is read again when the server refuses it.
    pub bearer_token_file: Option<PathBuf>,
    /// A file with `user:password`, which is read again when the server refuses it.
    pub basic_auth_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of the authorities to believe in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Period,
    /// The labels that series must have, such as `cluster`, where the server knows more than one cluster.
    pub match_labels: BTreeMap<String, String>,
}

impl Server {
    /// The labels that series must have, as matchers of PromQL: `cluster="a",zone="b"`, or nothing.
    pub fn matchers(&self) -> String {
        // JSON and PromQL write a text alike.
        let matcher = |(name, value): (&String, &String)| format!("{name}={}", serde_json::Value::from(&**value));
        self.match_labels.iter().map(matcher).collect::<Vec<_>>().join(",")
    }
}

const TIMEOUT: Period = Period::from_secs(10);

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    url: String,
    bearer_token_file: Option<PathBuf>,
    basic_auth_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    timeout: Option<Period>,
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
}

impl FromStr for Server {
    type Err = String;

    /// Reads a URL, or a JSON object that has one and more.
    fn from_str(text: &str) -> Result<Self, String> {
        let written = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            let (url, match_labels) = (text.to_owned(), BTreeMap::new());
            Written { url, bearer_token_file: None, basic_auth_file: None, ca_file: None, timeout: None, match_labels }
        };
        let Written { url, bearer_token_file, basic_auth_file, ca_file, timeout, match_labels } = written;
        if bearer_token_file.is_some() && basic_auth_file.is_some() {
            return Err("either bearerTokenFile or basicAuthFile, not both".to_owned());
        }
        if let Some(name) = match_labels.keys().find(|name| !is_label(name)) {
            return Err(format!("matchLabels: `{name}` is not the name of a label"));
        }
        let timeout = timeout.unwrap_or(TIMEOUT);
        Ok(Self { url: parse_url(&url)?, bearer_token_file, basic_auth_file, ca_file, timeout, match_labels })
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    // It is in logs and metrics.
    if text.contains('@') {
        return Err("the URL has a password in it: write it into a file, and name that in basicAuthFile".to_owned());
    }
    let not = |why: &str| format!("`{text}` {why}: write one such as http://prometheus.monitoring.svc:9090");
    let url: Uri = text.trim_end_matches('/').parse().map_err(|_| not("is not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(not("is not a URL of HTTP"));
    }
    if url.query().is_some() {
        return Err(not("has a query, which is Orlop's to add"));
    }
    Ok(url)
}

/// By the data model of Prometheus.
fn is_label(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_alone_is_enough() {
        let server: Server = "http://prometheus.monitoring.svc:9090/".parse().unwrap();
        assert_eq!(server.url, "http://prometheus.monitoring.svc:9090");
        assert_eq!((server.timeout, server.bearer_token_file), (Period::from_secs(10), None));
    }

    #[test]
    fn an_object_says_how_to_ask_and_for_what() {
        let text = r#"{"url": "https://thanos.example.com/querier", "bearerTokenFile": "/t", "caFile": "/ca.pem",
            "timeout": "1m", "matchLabels": {"cluster": "eu-1"}}"#;
        let server: Server = text.parse().unwrap();
        assert_eq!(server.url.path(), "/querier");
        assert_eq!(server.bearer_token_file, Some("/t".into()));
        assert_eq!((server.timeout, &*server.match_labels["cluster"]), (Period::from_secs(60), "eu-1"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (text, word) in [
            ("prometheus:9090", "http://"),
            ("ftp://prometheus", "http://"),
            ("http:///metrics", "http://"),
            ("http://prometheus?x=y", "query"),
            ("http://me:secret@prometheus", "basicAuthFile"),
            (r#"{"url": "http://p", "token": "secret"}"#, "token"),
            (r#"{"url": "http://p", "bearerTokenFile": "/a", "basicAuthFile": "/b"}"#, "both"),
            (r#"{"url": "http://p", "matchLabels": {"a-b": "c"}}"#, "a-b"),
            (r#"{"url": "http://p", "timeout": "soon"}"#, "soon"),
        ] {
            let error = text.parse::<Server>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret@"), "{error}");
        }
    }
}
