//! `orlop explain`, `orlop status` and `orlop top`: what the operator knows and has decided. The truth is in the operator
//! that leads, so they ask it; `reach` finds it. `files` needs no operator: it explains what manifests would come to.

pub(super) mod explain;
mod files;
mod owners;
mod reach;
pub(super) mod status;
pub(super) mod top;

use jiff::Timestamp;
use orlop_operator::inspect::{Content, Document};
use serde::Serialize;

use super::{Failure, Outcome};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Yaml,
}

/// Prints an answer: as text by `text`, or the document as it is.
fn print<T: Content + Serialize>(
    format: Format,
    content: T,
    at: Timestamp,
    text: impl FnOnce(&T, Timestamp) -> String,
) -> Outcome {
    let unprintable =
        |error: Box<dyn std::error::Error + Send + Sync>| Failure::because("cannot print the answer", error);
    match format {
        Format::Text => anstream::print!("{}", text(&content, at)),
        Format::Json => {
            let document = Document::new(content, at);
            println!("{}", serde_json::to_string_pretty(&document).map_err(|error| unprintable(error.into()))?);
        }
        Format::Yaml => {
            let document = Document::new(content, at);
            print!("{}", orlop_api::to_yaml(&document).map_err(|error| unprintable(error.into()))?);
        }
    }
    Ok(())
}
