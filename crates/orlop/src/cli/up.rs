use super::Outcome;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[expect(clippy::unused_async, reason = "not there yet")]
pub(super) async fn run(_args: Args) -> Outcome {
    Ok(())
}
