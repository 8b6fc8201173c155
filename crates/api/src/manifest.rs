//! Manifests as text.

use std::collections::BTreeMap;

use kube::{Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};

/// The words that YAML 1.1 reads as booleans and YAML 1.2 does not. `kubectl` and Helm read YAML 1.1, and would see
/// `false` in place of the mode `Off`.
const BOOLEANS_OF_YAML_1_1: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];

/// A definition as YAML that readers of YAML 1.1 and 1.2 understand alike.
pub fn to_yaml(definition: &impl Serialize) -> Result<String, serde_yaml_ng::Error> {
    let text = serde_yaml_ng::to_string(definition)?;
    Ok(text.lines().map(|line| quoted(line) + "\n").collect())
}

/// The objects in files that are built in, by name. The tests read each file, so that no program ever meets one that it cannot
/// read.
pub(crate) fn built_in<K: Resource + DeserializeOwned>(files: &[&str]) -> BTreeMap<String, K> {
    let read = |text: &&str| serde_yaml_ng::from_str::<K>(text).expect("a built-in object can be read");
    files.iter().map(read).map(|object| (object.name_any(), object)).collect()
}

/// The line with quotes around an item of a list, such as an enum's value, that would be read as a boolean.
fn quoted(line: &str) -> String {
    match line.split_once("- ") {
        Some((indent, word))
            if indent.trim().is_empty() && BOOLEANS_OF_YAML_1_1.contains(&word.to_lowercase().as_str()) =>
        {
            format!("{indent}- \"{word}\"")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_read_as_a_boolean_is_quoted() {
        assert_eq!(
            to_yaml(&["Off", "no", "offline", "a - Off"]).unwrap(),
            "- \"Off\"\n- \"no\"\n- offline\n- a - Off\n"
        );
    }

    #[test]
    fn the_definitions_read_back_as_they_were() {
        for definition in crate::definitions() {
            let text = to_yaml(&definition).unwrap();
            assert_eq!(serde_yaml_ng::from_str::<serde_json::Value>(&text).unwrap(), serde_json::json!(definition));
        }
    }
}
