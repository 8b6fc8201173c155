//! Which objects of a kind a list has named, so that those that it has not are known to be gone.

use std::collections::BTreeSet;

use super::Change;

/// The lists of one kind: the first, and those after a watch has lost its place.
#[derive(Debug)]
pub(super) struct Census<K> {
    complete: bool,
    named: Option<BTreeSet<K>>,
}

impl<K> Default for Census<K> {
    fn default() -> Self {
        Self { complete: false, named: None }
    }
}

impl<K: Ord + Clone> Census<K> {
    /// What a change comes to: the objects that are as said, and those that are gone. `known` are the objects of the
    /// kind that are known; they are only asked for when a list is complete.
    pub(super) fn resolve<'a, T>(
        &mut self,
        change: Change<K, T>,
        known: impl Iterator<Item = &'a K>,
    ) -> Vec<(K, Option<T>)>
    where
        K: 'a,
    {
        match change {
            Change::ListBegins => {
                // A list that had begun before was broken off and counts for nothing.
                self.named = Some(BTreeSet::new());
                Vec::new()
            }
            Change::Is(key, object) => {
                if let Some(named) = &mut self.named {
                    named.insert(key.clone());
                }
                vec![(key, Some(object))]
            }
            Change::Gone(key) => vec![(key, None)],
            Change::ListComplete => {
                self.complete = true;
                let named = self.named.take().unwrap_or_default();
                known.filter(|key| !named.contains(key)).map(|key| (key.clone(), None)).collect()
            }
        }
    }

    /// Is a list under way?
    pub(super) const fn is_listing(&self) -> bool {
        self.named.is_some()
    }

    /// Has there been a complete list?
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }
}
