//! Lets in who shows a token of the right ServiceAccount, and says on which node it is.

use tokio::{sync::Semaphore, time::timeout};
use tonic::{Status, metadata::MetadataMap};

use super::{
    PATIENCE,
    review::{ReviewError, Reviewer},
};

/// How many tokens are reviewed at the same time: a crowd of strangers must not become one at the API server.
const REVIEWS: usize = 16;

/// The gate of one service.
pub(in crate::operator) struct Gate<R> {
    reviewer: R,
    reviews: Semaphore,
}

impl<R: Reviewer> Gate<R> {
    pub(in crate::operator) fn new(reviewer: R) -> Self {
        Self { reviewer, reviews: Semaphore::new(REVIEWS) }
    }

    /// The node of the one whose token the request carries.
    pub(in crate::operator) async fn admit(&self, metadata: &MetadataMap) -> Result<String, Status> {
        let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Status::unauthenticated("the request carries no bearer token"))?;
        let review = async {
            let _turn = self.reviews.acquire().await;
            self.reviewer.review(token).await
        };
        match timeout(PATIENCE, review).await {
            Ok(Ok(node)) => Ok(node),
            Ok(Err(ReviewError::Refused(reason))) => {
                tracing::warn!(reason, "a stream is refused");
                Err(Status::unauthenticated(reason))
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a stream cannot be accepted");
                Err(Status::unavailable(error.to_string()))
            }
            Err(_) => Err(Status::unavailable("the API server has not reviewed the token in time")),
        }
    }
}
