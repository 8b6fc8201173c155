//! The labels of an object.

use std::collections::BTreeMap;

/// An object's labels. They are few, never changed in place, and kept for every claim of a large cluster: so in no
/// more room than their texts need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of the label, where it is there.
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[index].1)
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Labels {
    /// Of several values for one key, the last counts.
    fn from(labels: [(&str, &str); N]) -> Self {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>().into()
    }
}
