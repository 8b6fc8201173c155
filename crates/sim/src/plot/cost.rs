//! What the fleet costs a month, over time: a picture for each currency in which its volumes have a price.

use std::time::Duration;

use maud::{Markup, html};

use super::{
    Plot, Track,
    page::{line_at, triangle},
    scale::{RIGHT, Scale, TOP, WIDTH},
};

/// Where nothing is spent.
const BOTTOM: f64 = 136.0;

/// A currency's unit, in what [`orlop_api::Price`] counts in.
const UNIT: u64 = 1_000_000;

impl Plot {
    pub(super) fn costs(&self) -> Markup {
        let of_all = self.claims.len();
        html! {
            @for (currency, costs) in &self.costs {
                @let most = costs.iter().map(|(_, cost)| *cost).max().unwrap_or(0);
                @let scale = Scale::new(self.lasts, most, BOTTOM);
                @let (first, last) = (costs.first().map_or(0, |it| it.1), costs.last().map_or(0, |it| it.1));
                @let priced = self.priced(currency).count();
                h2 {
                    "What the volumes cost " small {
                        @if first == last { (amount(last)) } @else { "from " (amount(first)) " to " (amount(last)) }
                        " " (currency) " a month by list price"
                        @if priced < of_all { ", of " (priced) " of the " (of_all) " claims" }
                    }
                }
                svg viewBox=(format!("0 0 {WIDTH} {}", scale.height())) role="img" aria-label="the monthly cost of the volumes, over time" {
                    @for (_, band) in &self.troubles { (self.band(band, "shade", TOP, BOTTOM - TOP)) }
                    @let step = step(scale.most);
                    (scale.axes(step, |value| format!("{} {currency}", tick(value, step))))
                    path.cost-area d=(under_steps(&scale, costs)) {}
                    path.cost d=(scale.steps(costs)) {}
                    @for change in &self.changes { (line_at(&scale, change, "change")) }
                    @for growth in self.priced(currency).flat_map(|track| &track.growths) { (triangle(&scale, growth)) }
                    text.label.cost x=(RIGHT + 8.0) y=(scale.y(last) + 4.0) { (amount(last)) " " (currency) " a month" }
                }
            }
        }
    }

    fn priced<'a>(&'a self, currency: &'a str) -> impl Iterator<Item = &'a Track> {
        self.claims.values().filter(move |track| track.price.as_ref().is_some_and(|price| price.currency == currency))
    }
}

fn under_steps(scale: &Scale, costs: &[(Duration, u64)]) -> String {
    let line = scale.steps(costs);
    let first = costs.first().map_or(0.0, |(at, _)| scale.x(*at));
    if line.is_empty() { line } else { format!("{line}V{BOTTOM}H{first:.1}Z") }
}

/// With two digits after the point.
fn amount(millionths: u64) -> String {
    let hundredths = millionths.saturating_add(UNIT / 200) / (UNIT / 100);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A multiple of a round step: without what is after the point where no multiple has anything there.
fn tick(millionths: u64, step: u64) -> String {
    if step.is_multiple_of(UNIT) { (millionths / UNIT).to_string() } else { amount(millionths) }
}

/// A round step of which two to five are within `most`: 1, 2 or 5 with as many zeros as it takes, and no less than a
/// hundredth of the unit.
fn step(most: u64) -> u64 {
    let decades = std::iter::successors(Some(UNIT / 100), |decade| decade.checked_mul(10));
    let mut steps = decades.flat_map(|decade| [1, 2, 5].map(|times| decade.saturating_mul(times)));
    steps.find(|step| most / step <= 5).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_an_axis_are_round_and_few() {
        let steps =
            [40_000, 300_000, 1_800_000, 7_500_000, 26_000_000, 1_234_000_000].map(|most| tick(step(most), step(most)));
        assert_eq!(steps, ["0.01", "0.10", "0.50", "2", "5", "500"]);
    }

    #[test]
    fn an_amount_is_rounded_to_the_nearest_hundredth() {
        assert_eq!([0, 4_999, 5_000, 1_600_000].map(amount), ["0.00", "0.00", "0.01", "1.60"]);
    }
}
