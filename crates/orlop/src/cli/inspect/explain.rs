//! `orlop explain pvc/NAME`: what was decided about a claim, and the numbers that led to it.

use std::{path::PathBuf, str::FromStr};

use orlop_api::{Bytes, Threshold};
use orlop_operator::{Moment, inspect::ClaimAccount};

use super::{
    Format,
    files::{self, Assumption},
    print, reach,
};
use crate::{cli::Outcome, ui};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The claim, as pvc/NAME
    #[arg(value_name = "pvc/NAME")]
    claim: ClaimName,
    /// The claim's namespace [default: that of the kubeconfig's context]
    #[arg(long, short)]
    namespace: Option<String>,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Ask no cluster, but say what would be decided by these manifests: the claim or its StatefulSet, its StorageClass,
    /// policies
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath, requires = "used")]
    file: Vec<PathBuf>,
    /// With --file: how full the volume is taken to be, such as 80% or 8Gi
    #[arg(long, requires = "file", value_name = "PART")]
    used: Option<Threshold<Bytes>>,
    /// With --file: by how much it fills each second, such as 1Mi
    #[arg(long, requires = "file", value_name = "SIZE")]
    rate: Option<Bytes>,
    #[command(flatten)]
    reach: reach::Reach,
}

/// A claim's name, which may have its kind before it as `kubectl` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClaimName(String);

impl FromStr for ClaimName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text.split_once('/') {
            None => text,
            Some(("pvc" | "persistentvolumeclaim" | "persistentvolumeclaims", name)) => name,
            Some((kind, _)) => return Err(format!("a {kind} cannot be explained: name a claim, as pvc/NAME")),
        };
        // Nothing but a name becomes part of a path.
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        if name.is_empty() || !name.chars().all(is_part) {
            return Err(format!("`{name}` is not the name of a claim: write pvc/NAME"));
        }
        Ok(Self(name.to_owned()))
    }
}

pub(in crate::cli) async fn run(args: Args) -> Outcome {
    if let Some(used) = args.used {
        let assumption = Assumption { used, rate: args.rate.unwrap_or_default() };
        let (namespace, now) = (args.namespace.as_deref().unwrap_or("default"), Moment::now());
        let account = files::explain(&args.file, namespace, &args.claim.0, assumption, now)?;
        return print(args.output, account, now.time, ui::claim::render);
    }
    let operator = reach::Operator::new(&args.reach).await?;
    let namespace = args.namespace.as_ref().unwrap_or(&operator.namespace);
    let path = format!("/v1/claims/{namespace}/{}", args.claim.0);
    let (account, at) = operator.get::<ClaimAccount>(&path, &[]).await?;
    print(args.output, account, at, ui::claim::render)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_named_with_or_without_its_kind() {
        for text in ["data-0", "pvc/data-0", "persistentvolumeclaim/data-0", "persistentvolumeclaims/data-0"] {
            assert_eq!(text.parse(), Ok(ClaimName("data-0".to_owned())));
        }
        assert!("pod/data-0".parse::<ClaimName>().unwrap_err().contains("a pod cannot be explained"));
        for text in ["pvc/", "pvc/../secrets", "Data", "a?b"] {
            assert!(text.parse::<ClaimName>().is_err(), "{text}");
        }
    }
}
