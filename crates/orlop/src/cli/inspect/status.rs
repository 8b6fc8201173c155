//! `orlop status`: the fleet on one screen.

use orlop_operator::inspect::Fleet;

use super::{Format, print, reach};
use crate::{
    cli::{Failure, Outcome},
    ui,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only the claims of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// How many of the claims that need a hand are listed, at most 1000
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    limit: u16,
    /// End with exit code 1 when anything needs a hand
    #[arg(long)]
    check: bool,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    reach: reach::Reach,
}

pub(in crate::cli) async fn run(args: Args) -> Outcome {
    let operator = reach::Operator::new(&args.reach).await?;
    let limit = args.limit.to_string();
    let mut query = vec![("problems", "true"), ("limit", &*limit)];
    if let Some(namespace) = &args.namespace {
        query.push(("namespace", namespace));
    }
    let (fleet, at) = operator.get::<Fleet>("/v1/fleet", &query).await?;
    let verdict = if args.check { verdict(&fleet) } else { Ok(()) };
    print(args.output, fleet, at, ui::fleet::render)?;
    verdict
}

fn verdict(fleet: &Fleet) -> Outcome {
    let what = match fleet.needs_a_hand() {
        0 => return Ok(()),
        1 => "one claim or policy needs a hand".to_owned(),
        many => format!("{many} claims and policies need a hand"),
    };
    Err(Failure::new(what).remedy("see what orlop status says of each, or orlop explain pvc/NAME"))
}

#[cfg(test)]
mod tests {
    use orlop_operator::inspect::PolicyRow;

    use super::*;

    #[test]
    fn a_check_fails_for_a_claim_with_a_problem_and_for_a_policy_that_cannot_be_read() {
        let mut fleet = Fleet::default();
        assert!(verdict(&fleet).is_ok());
        fleet.totals.problems = 1;
        assert!(verdict(&fleet).unwrap_err().to_string().contains("one claim or policy needs a hand"));
        fleet.policies.push(PolicyRow {
            policy: "StoragePolicy shop/odd".to_owned(),
            mode: None,
            claims: 0,
            growing: 0,
            problems: 0,
            invalid: Some("spec.capacity.maximum: is missing".to_owned()),
        });
        assert!(verdict(&fleet).unwrap_err().to_string().contains("2 claims and policies"));
    }
}
