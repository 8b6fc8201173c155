//! The question for what is measured now.

use super::answer::{OF_TIME, PREFIX};
use crate::prometheus::Server;

/// The question: of each claim its newest numbers, and when they were read. Of a claim that several nodes have mounted, or of
/// several series for one, the largest numbers count, which never call for a growth that the true ones do not call for.
///
/// Where Prometheus has put its own label `namespace` in the place of the kubelet's (`honor_labels: false`), that is no
/// claim's, and nothing is found.
pub(super) fn question(server: &Server) -> String {
    let matchers = matchers(server);
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

/// The matchers of all series that are asked for.
pub(super) fn matchers(server: &Server) -> String {
    let own = server.matchers();
    let comma = if own.is_empty() { "" } else { "," };
    format!(r#"exported_namespace=""{comma}{own}"#)
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
