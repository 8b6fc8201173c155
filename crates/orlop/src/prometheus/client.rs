//! Asking one server. The HTTP client is the one that the API server is asked by: it knows of authorities and credentials in
//! files, and nothing in it is peculiar to Kubernetes.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use http::{Request, StatusCode, uri::Scheme};
use kube::{
    Config,
    client::{Body, ClientBuilder},
    config::AuthInfo,
};
use serde::Deserialize;

use super::Server;

/// How much of a server's error text is repeated.
const TEXT_CHARS_MAX: usize = 300;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A file of credentials cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of credentials is not what it should be.
    #[error("{} is not of the form user:password", .0.display())]
    NoPassword(PathBuf),
    /// By its address, credentials or authorities.
    #[error("the server cannot be spoken to as configured")]
    Client(#[source] kube::Error),
    /// It is not reached.
    #[error("the server cannot be asked")]
    Request(#[source] kube::Error),
    /// It answers with an error.
    #[error("the server refuses the question with {code}: {text}")]
    Refused {
        /// The status of HTTP.
        code: StatusCode,
        /// Its own words.
        text: String,
    },
    /// Its answer does not end well.
    #[error("the answer breaks off, or has more than {max} bytes")]
    Read {
        /// How many it may have.
        max: usize,
        /// Why.
        #[source]
        source: axum::Error,
    },
    /// Its answer is none.
    #[error("the answer cannot be understood")]
    Parse(#[source] serde_json::Error),
    /// It is too slow.
    #[error("the server does not answer within {}s", .0.as_secs())]
    Silent(Duration),
}

/// A server, and how to reach it.
#[derive(Debug)]
pub struct Client {
    server: Server,
    /// None until it is first asked, and after it has failed: its credentials may have changed.
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection(kube::Client);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Client {
    /// A client that reads its files of credentials when it first asks.
    pub const fn new(server: Server) -> Self {
        Self { server, connection: Mutex::new(None) }
    }

    /// The same, and reads them now: an error in them is one of the user's.
    pub async fn connect(server: Server) -> Result<Self, QueryError> {
        let client = Self::new(server);
        client.connection().await?;
        Ok(client)
    }

    /// The server.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// Asks for this path and query, below the server's URL; the answer is JSON of at most so many bytes.
    pub async fn ask(&self, question: &str, bytes_max: usize) -> Result<Bytes, QueryError> {
        let patience = Duration::from(self.server.timeout);
        let asking = tokio::time::timeout(patience, self.ask_for_ever(question, bytes_max));
        let answer = asking.await.unwrap_or(Err(QueryError::Silent(patience)));
        if answer.is_err() {
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }

    async fn ask_for_ever(&self, question: &str, bytes_max: usize) -> Result<Bytes, QueryError> {
        let Connection(client) = self.connection().await?;
        let request = Request::get(question).body(Body::empty());
        let request = request.map_err(|error| QueryError::Request(kube::Error::HttpError(error)))?;
        let response = client.send(request).await.map_err(QueryError::Request)?;
        let code = response.status();
        let body = axum::body::Body::new(response.into_body());
        let json = axum::body::to_bytes(body, bytes_max).await;
        let json = json.map_err(|source| QueryError::Read { max: bytes_max, source })?;
        if code.is_success() {
            return Ok(json);
        }
        let text = told(&json).unwrap_or_else(|| "see its log".to_owned());
        Err(QueryError::Refused { code, text: text.chars().take(TEXT_CHARS_MAX).collect() })
    }

    async fn connection(&self) -> Result<Connection, QueryError> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let connection = Connection(connect(&self.server).await?);
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }
}

/// What is wrong, in the server's own words.
fn told(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    serde_json::from_slice(json).ok().map(|Failure { error }| error)
}

async fn connect(server: &Server) -> Result<kube::Client, QueryError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_words_of_the_server() {
        let error = br#"{"status": "error", "errorType": "bad_data", "error": "unknown function"}"#;
        assert_eq!(told(error).unwrap(), "unknown function");
        assert_eq!(told(b"<html>"), None);
    }
}
