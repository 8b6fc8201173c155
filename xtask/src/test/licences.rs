//! Every dependency is under a licence that agrees with Apache-2.0, Orlop's own.

use anyhow::{Result, ensure};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::{program, run};

/// Licences that ask for no more than their own text to be passed on. Where a dependency offers a choice, one of these
/// must be in it.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None for a crate of this workspace.
    source: Option<String>,
}

pub fn check() -> Result<()> {
    let json = run::output(program::cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let refused: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some() && !allowed(package.license.as_deref()))
        .map(|package| format!("{} {} ({:?})", package.name, package.version, package.license))
        .collect();
    ensure!(refused.is_empty(), "licences that are not allowed (see licences.rs): {}", refused.join(", "));
    Ok(())
}

fn allowed(licence: Option<&str>) -> bool {
    // Lax: older crates write MIT/Apache-2.0 for MIT OR Apache-2.0.
    let Some(Ok(expression)) = licence.map(|licence| Expression::parse_mode(licence, ParseMode::LAX)) else {
        return false;
    };
    expression.evaluate(is_allowed)
}

fn is_allowed(required: &LicenseReq) -> bool {
    // An exception only ever permits more.
    required.license.id().is_some_and(|id| ALLOWED.contains(&id.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_allowed_when_one_of_it_is_and_a_combination_when_all_of_it_are() {
        for licence in
            ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "MIT AND BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(allowed(Some(licence)), "{licence}");
        }
        for licence in [Some("GPL-3.0-only"), Some("MIT AND GPL-3.0-only"), Some("my own"), Some(""), None] {
            assert!(!allowed(licence), "{licence:?}");
        }
    }
}
