//! `orlop crd`: the custom resource definitions, for whoever installs without the chart.

use super::{Failure, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to print them
    #[arg(long, short, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub(super) fn run(args: &Args) -> Outcome {
    for definition in orlop_api::definitions() {
        match args.output {
            Format::Yaml => {
                let text = orlop_api::to_yaml(&definition)
                    .map_err(|error| Failure::because("cannot print a definition as YAML", error))?;
                print!("---\n{text}");
            }
            Format::Json => println!("{:#}", serde_json::json!(definition)),
        }
    }
    Ok(())
}
