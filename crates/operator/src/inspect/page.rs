//! A part of the claims, in the order of their names.

use std::ops::Bound::{Excluded, Included, Unbounded};

use orlop_planner::{ClaimId, NamespaceName};

use super::{document::ClaimPage, row::row};
use crate::Core;

/// How many claims a page has at most.
pub const PAGE_MAX: usize = 500;

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The claims of this namespace; none for those of all.
    pub namespace: Option<NamespaceName>,
    /// Those after this one, whether it is still there or not.
    pub after: Option<ClaimId>,
    /// So many at most; more than [`PAGE_MAX`] are not given.
    pub limit: usize,
}

/// A page of the claims. Costs what it lists.
pub fn page(core: &Core, query: &PageQuery) -> ClaimPage {
    let limit = query.limit.clamp(1, PAGE_MAX);
    let first = query.namespace.clone().map(|namespace| ClaimId { namespace, name: "".into() });
    let from = match (&query.after, &first) {
        // What is after a claim of an earlier namespace begins with the namespace that was asked for.
        (Some(after), Some(first)) if after < first => Included(first),
        (Some(after), _) => Excluded(after),
        (None, Some(first)) => Included(first),
        (None, None) => Unbounded,
    };
    let in_namespace = |id: &ClaimId| query.namespace.as_ref().is_none_or(|namespace| id.namespace == *namespace);
    let mut claims =
        core.observer().view().claims.range((from, Unbounded)).take_while(|(id, _)| in_namespace(id)).peekable();
    let mut rows = Vec::new();
    let mut last = None;
    while let Some((id, claim)) = claims.next_if(|_| rows.len() < limit) {
        rows.push(row(core, id, claim));
        last = Some(id);
    }
    let next = claims.peek().and(last).map(ToString::to_string);
    ClaimPage { claims: rows, next }
}
