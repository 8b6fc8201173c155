//! Who an agent is, or a local CSI driver: the pod of a ServiceAccount, on a node.
//!
//! An agent authenticates with a token that the kubelet of its node has requested for its pod and for this audience
//! alone. That is stronger than a client certificate, and simpler: the API server vouches for the node and ends the
//! token with the pod, and there is no key to hand out, to keep on a node's disk, to renew or to revoke.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use orlop_api::names::OPERATOR_AUDIENCE;

/// The node that a pod's token is bound to, as the API server says (Kubernetes 1.30 and newer).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Says whose a token is.
pub trait Reviewer: Send + Sync + 'static {
    /// The node of the pod that the token is for.
    fn review(&self, token: &str) -> impl Future<Output = Result<String, ReviewError>> + Send;
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The token is not of the role's.
    #[error("{0}")]
    Refused(String),
    /// The API server did not say.
    #[error("the API server cannot review the token")]
    Unavailable(#[source] kube::Error),
}

/// Who is to show a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A node agent.
    Agent,
    /// A local CSI driver.
    Driver,
}

impl Role {
    /// What they are called, and the setting that says which ServiceAccount is theirs.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("agents", "--agent-service-account"),
            Self::Driver => ("drivers", "--driver-service-account"),
        }
    }
}

/// Asks the API server.
#[derive(Clone)]
pub struct ApiServer {
    api: Api<TokenReview>,
    role: Role,
    user: String,
}

impl ApiServer {
    /// Accepts the tokens of a role's ServiceAccount, which is given as its namespace and name.
    pub fn new(client: Client, role: Role, (namespace, name): &(String, String)) -> Self {
        Self { api: Api::all(client), role, user: format!("system:serviceaccount:{namespace}:{name}") }
    }
}

impl Reviewer for ApiServer {
    async fn review(&self, token: &str) -> Result<String, ReviewError> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![OPERATOR_AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..Default::default() };
        let answer = self.api.create(&PostParams::default(), &review).await.map_err(ReviewError::Unavailable)?;
        node(answer.status.unwrap_or_default(), self.role, &self.user).map_err(ReviewError::Refused)
    }
}

/// The node, where the API server vouches for the token, the audience, and the user.
fn node(status: TokenReviewStatus, role: Role, user: &str) -> Result<String, String> {
    if status.authenticated != Some(true) {
        return Err(format!(
            "the token is not valid: {}",
            status.error.unwrap_or_else(|| "no reason is given".to_owned())
        ));
    }
    // An API server that does not know audiences answers without any, and has then not checked them.
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == OPERATOR_AUDIENCE) {
        return Err(format!("the token is not for the audience {OPERATOR_AUDIENCE}"));
    }
    let found = status.user.unwrap_or_default();
    let name = found.username.unwrap_or_default();
    if name != user {
        let (role, setting) = role.words();
        return Err(format!("the token is of {name}, and {role} are {user}: set {setting}"));
    }
    match found.extra.unwrap_or_default().remove(NODE_NAME).unwrap_or_default().as_slice() {
        [node] => Ok(node.clone()),
        _ => Err("the token is not bound to a pod on a node: Kubernetes must be 1.30 or newer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    const AGENT: &str = "system:serviceaccount:orlop:orlop-agent";

    fn valid() -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![OPERATOR_AUDIENCE.to_owned()]),
            user: Some(UserInfo {
                username: Some(AGENT.to_owned()),
                extra: Some(BTreeMap::from([(NODE_NAME.to_owned(), vec!["node-1".to_owned()])])),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn an_agents_token_names_its_node() {
        assert_eq!(node(valid(), Role::Agent, AGENT), Ok("node-1".to_owned()));
    }

    #[test]
    fn a_token_that_lacks_any_one_thing_is_refused() {
        let user = |change: fn(&mut UserInfo)| {
            let mut status = valid();
            change(status.user.as_mut().unwrap());
            status
        };
        for (status, part) in [
            (TokenReviewStatus { authenticated: Some(false), error: Some("expired".to_owned()), ..valid() }, "expired"),
            (TokenReviewStatus { authenticated: None, ..valid() }, "not valid"),
            (TokenReviewStatus { audiences: None, ..valid() }, "audience"),
            (TokenReviewStatus { audiences: Some(vec!["api".to_owned()]), ..valid() }, "audience"),
            (user(|user| user.username = Some("system:serviceaccount:tenant:orlop-agent".to_owned())), "agents are"),
            (user(|user| user.extra = None), "not bound"),
            (TokenReviewStatus { user: None, ..valid() }, "agents are"),
        ] {
            let refused = node(status, Role::Agent, AGENT).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
