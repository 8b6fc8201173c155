//! Asking one server, by the query API of Prometheus. The HTTP client is the one that the API server is asked by: it knows of
//! authorities and credentials in files, and nothing in it is peculiar to Kubernetes.

use std::{io, path::PathBuf, time::Duration};

use http::{Request, StatusCode, uri::Scheme};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::AuthInfo,
};

use super::{
    answer::{self, Answer, OF_TIME, PREFIX},
    server::Server,
};

/// How large an answer may be. Of 100,000 claims it has about 60 MiB, and it must not fill the operator's memory.
const BYTES_MAX: usize = 128 << 20;

/// How much of a server's error text is repeated.
const TEXT_CHARS_MAX: usize = 300;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    #[error("{} cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not of the form user:password", .0.display())]
    NoPassword(PathBuf),
    #[error("the server cannot be spoken to as configured")]
    Client(#[source] kube::Error),
    #[error("the server cannot be asked")]
    Request(#[source] kube::Error),
    #[error("the server refuses the question with {code}: {text}")]
    Refused { code: StatusCode, text: String },
    #[error("the answer breaks off, or has more than {BYTES_MAX} bytes")]
    Read(#[source] axum::Error),
    #[error("the answer cannot be understood")]
    Parse(#[source] serde_json::Error),
    #[error("the server does not answer within {}s", .0.as_secs())]
    Silent(Duration),
}

/// A server, and how to reach it.
pub(super) struct Api {
    server: Server,
    /// The path and query of the question.
    question: String,
    /// None until it is first asked, and after it has failed: its credentials may have changed.
    client: Option<Client>,
}

impl Api {
    pub(super) fn new(server: Server) -> Self {
        let question = question(&server);
        Self { server, question, client: None }
    }

    /// Asks. All is asked for at once, so that the numbers of a claim are of the same moment.
    pub(super) async fn ask(&mut self) -> Result<Answer, QueryError> {
        let patience = Duration::from(self.server.timeout);
        let asking = tokio::time::timeout(patience, self.ask_for_ever());
        let answer = asking.await.unwrap_or(Err(QueryError::Silent(patience)));
        if answer.is_err() {
            self.client = None;
        }
        answer
    }

    async fn ask_for_ever(&mut self) -> Result<Answer, QueryError> {
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(connect(&self.server).await?),
        };
        let request = Request::get(&self.question).body(Body::empty());
        let request = request.map_err(|error| QueryError::Request(kube::Error::HttpError(error)))?;
        let response = client.send(request).await.map_err(QueryError::Request)?;
        let code = response.status();
        let body = axum::body::Body::new(response.into_body());
        let json = axum::body::to_bytes(body, BYTES_MAX).await.map_err(QueryError::Read)?;
        if !code.is_success() {
            let text = answer::error(&json).unwrap_or_else(|| "see its log".to_owned());
            return Err(QueryError::Refused { code, text: text.chars().take(TEXT_CHARS_MAX).collect() });
        }
        // It takes a moment to read what a large cluster has.
        let parsed = tokio::task::spawn_blocking(move || answer::parse(&json)).await;
        parsed.map_err(|panic| QueryError::Parse(serde::de::Error::custom(panic)))?.map_err(QueryError::Parse)
    }
}

async fn connect(server: &Server) -> Result<Client, QueryError> {
    let mut auth_info = AuthInfo::default();
    if let Some(path) = &server.bearer_token_file {
        auth_info.token = Some(read(path).await?.into());
    }
    if let Some(path) = &server.basic_auth_file {
        let text = read(path).await?;
        let (user, password) = text.split_once(':').ok_or_else(|| QueryError::NoPassword(path.clone()))?;
        auth_info.username = Some(user.to_owned());
        auth_info.password = Some(password.to_owned().into());
    }
    let mut config = Config::new(server.url.clone());
    config.connect_timeout = Some(server.timeout.into());
    config.root_cert_file.clone_from(&server.ca_file);
    if server.ca_file.is_some() || server.url.scheme() == Some(&Scheme::HTTP) {
        // The machine's authorities are of no use then, and a machine that has none, as Orlop's image, would be an error.
        config.root_cert = Some(Vec::new());
    }
    config.auth_info = auth_info;
    // A question that failed is asked anew in its time.
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config).map_err(QueryError::Client)?.build())
}

async fn read(path: &PathBuf) -> Result<String, QueryError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| QueryError::File { path: path.clone(), source })?;
    Ok(text.trim().to_owned())
}

/// The question: of each claim its newest numbers, and when they were read. Of a claim that several nodes have mounted, or of
/// several series for one, the largest numbers count, which never call for a growth that the true ones do not call for.
///
/// Where Prometheus has put its own label `namespace` in the place of the kubelet's (`honor_labels: false`), that is no
/// claim's, and nothing is found.
fn question(server: &Server) -> String {
    use std::fmt::Write as _;

    let mut matchers = r#"exported_namespace="""#.to_owned();
    for (name, value) in &server.match_labels {
        // JSON and PromQL write a text alike.
        let _ = write!(matchers, ",{name}={}", serde_json::Value::from(&**value));
    }
    let names = format!("{PREFIX}(available_bytes|capacity_bytes|inodes|inodes_free)");
    let (label, value) = OF_TIME;
    let query = format!(
        r#"max by (__name__, namespace, persistentvolumeclaim) ({{__name__=~"{names}",{matchers}}}) or label_replace(max by (namespace, persistentvolumeclaim) (timestamp({PREFIX}available_bytes{{{matchers}}})), "{label}", "{value}", "", "")"#
    );
    let timeout = format!("{}s", server.timeout.as_secs());
    let parameters = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &query)
        .append_pair("timeout", &timeout)
        .finish();
    format!("/api/v1/query?{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_for_the_series_with_the_labels_that_are_asked_for() {
        let server = r#"{"url": "http://p", "timeout": "7s", "matchLabels": {"cluster": "a\"b"}}"#.parse().unwrap();
        let question = question(&server);
        let (path, parameters) = question.split_once('?').unwrap();
        let parameters: Vec<_> = form_urlencoded::parse(parameters.as_bytes()).collect();
        assert_eq!(path, "/api/v1/query");
        assert_eq!(parameters[1], ("timeout".into(), "7s".into()));
        let matchers = r#"exported_namespace="",cluster="a\"b"}"#;
        assert_eq!(parameters[0].1.matches(matchers).count(), 2, "{}", parameters[0].1);
    }
}
