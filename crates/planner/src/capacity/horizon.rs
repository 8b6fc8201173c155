//! Does a claim have room for the days ahead, as its volume has risen from day to day? What a day needs is its peak: a volume
//! that is emptied each night must hold what is there before.

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, CapacitySpec, Days};

use crate::{
    forecast::{Forecast, Outlook},
    view::{Claim, Usage},
};

/// The horizon of the policy with the forecast for the claim; none where the policy has none, or too little was measured.
fn known<'a>(spec: &CapacitySpec, claim: &'a Claim) -> Option<(Days, &'a Forecast)> {
    Some((spec.horizon?, claim.outlook.as_ref()?.forecast()?))
}

/// So many bytes are to be free for what rises within the horizon; zero where nothing is forecast.
pub(super) fn rise(spec: &CapacitySpec, claim: &Claim) -> u64 {
    known(spec, claim).map_or(0, |(horizon, forecast)| forecast.per_day.rise_within(horizon.into()))
}

/// How many bytes more the claim's filesystem needs to last for the horizon. A volume may hold less than was used in the last
/// day, as one that was made anew from a backup; where nothing rises, that is no reason to grow.
pub(super) fn lacking(spec: &CapacitySpec, claim: &Claim, usage: &Usage) -> u64 {
    let Some((_, forecast)) = known(spec, claim) else { return 0 };
    let used = usage.total.0.saturating_sub(usage.available.0).max(forecast.peak.0);
    match rise(spec, claim) {
        0 => 0,
        rise => used.saturating_add(rise).saturating_sub(usage.total.0),
    }
}

/// What is free now, or was in the last day when least was.
fn free(forecast: &Forecast, usage: &Usage) -> Bytes {
    usage.available.min(Bytes(usage.total.0.saturating_sub(forecast.peak.0)))
}

/// Why growth is called for, in a sentence with the numbers.
pub(super) fn sentence(spec: &CapacitySpec, claim: &Claim, usage: &Usage) -> Option<String> {
    let (horizon, forecast) = known(spec, claim)?;
    let free = free(forecast, usage);
    let lasts = forecast.per_day.lasts(free).map_or_else(|| "for ever".to_owned(), in_days);
    let rise = |rise: i64| Bytes(rise.max(0).unsigned_abs()).human();
    Some(format!(
        "{} of {} are free at the fullest time of a day, and with {} more from day to day ({} on one day in ten) that lasts \
         {lasts}, less than horizon {horizon}",
        free.human(),
        usage.total.human(),
        rise(forecast.per_day.median),
        rise(forecast.per_day.high)
    ))
}

/// What is to be said about the horizon of a claim that has enough room. Nothing in it changes with each measurement.
pub(super) fn note(spec: &CapacitySpec, claim: &Claim) -> String {
    match (spec.horizon, claim.outlook.as_deref()) {
        (None, _) => String::new(),
        (Some(horizon), Some(Outlook::Known(_))) => format!(", and that lasts for horizon {horizon}"),
        (Some(horizon), Some(Outlook::From(at))) => {
            format!(
                "; horizon {horizon} counts from {} on, when enough was measured for a forecast",
                to_the_minute(*at)
            )
        }
        (Some(horizon), None) => format!("; horizon {horizon} counts when three days were measured"),
    }
}

fn to_the_minute(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}

/// Days and hours, such as `5d3h`.
fn in_days(span: SignedDuration) -> String {
    format!("{}d{}h", span.as_hours() / 24, span.as_hours() % 24)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use orlop_api::{Bytes, Days, names::Reason};

    use crate::{
        Action, Outcome, View,
        fixture::{at, decide_at, grown_at, mib, override_driver, the_claim, the_spec, the_usage, view, with_slots},
        forecast::{Forecast, Outlook, PerDay},
        watch,
    };

    fn per_day(low: u64, median: u64, high: u64) -> PerDay {
        let rise = |rise: u64| i64::try_from(mib(rise).0).unwrap();
        PerDay { low: rise(low), median: rise(median), high: rise(high) }
    }

    /// A world with half of 480 MiB free, which rises from day to day, and was fullest with so many MiB used.
    fn rising(per_day: PerDay, peak: u64, change: impl FnOnce(&mut View)) -> View {
        let mut view = view();
        the_spec(&mut view).horizon = Some(Days::new(7));
        the_claim(&mut view).outlook = Some(Box::new(Outlook::Known(Forecast { per_day, peak: mib(peak) })));
        change(&mut view);
        view
    }

    #[test]
    fn a_claim_grows_before_it_is_full_within_the_horizon_and_lasts_for_it_then() {
        let decided = |daily: u64, peak: u64| decide_at(&rising(per_day(daily, daily, daily), peak, |_| ()), 5).1;
        assert_eq!(decided(34, 240).reason, Reason::EnoughRoom, "238 of 240 MiB rise");
        let decision = decided(35, 240);
        assert_eq!((decision.reason, decision.outcome), (Reason::FullWithinHorizon, Outcome::Grow(mib(640))));
        insta::assert_snapshot!(decision.message, @"240 MiB of 480 MiB are free at the fullest time of a day, and with 35.0 MiB more from day to day (35.0 MiB on one day in ten) that lasts 6d20h, less than horizon 7d; grow from 512Mi to 640Mi");
        assert_eq!(decided(34, 250).reason, Reason::FullWithinHorizon, "at its fullest only 230 MiB were free");
        // 7 × 60 - 240 = 180 MiB of the filesystem, and of the volume 512/480 as much.
        assert_eq!(decided(60, 240).target(), Some(mib(512 + 192)));
    }

    #[test]
    fn whichever_asks_for_more_counts() {
        let target = |view: View| decide_at(&view, 5).1.target();
        let scarce = |view: &mut View| the_usage(view).available = mib(40);
        assert_eq!(target(rising(per_day(1, 1, 1), 440, scarce)), Some(mib(640)), "minFree and increase");
        assert_eq!(target(rising(per_day(40, 40, 40), 440, scarce)), Some(mib(512 + 256)), "280 - 40 MiB, scaled up");
        let (_, decision) = decide_at(&rising(per_day(40, 40, 40), 440, scarce), 5);
        assert_eq!(decision.reason, Reason::BelowMinFree);
        let bounded = |view: &mut View| the_spec(view).maximum = mib(600);
        assert_eq!(target(rising(per_day(99, 99, 99), 240, bounded)), Some(mib(600)));
    }

    #[test]
    fn without_a_horizon_or_a_forecast_nothing_is_done_for_the_days_ahead() {
        let reason = |change: fn(&mut View)| decide_at(&rising(per_day(99, 99, 99), 240, change), 5).1;
        assert_eq!(reason(|_| ()).reason, Reason::FullWithinHorizon);
        assert_eq!(reason(|view| the_spec(view).horizon = None).message, "at least minFree 20% is free");
        let from = reason(|view| {
            the_claim(view).outlook = Some(Box::new(Outlook::From(at(0) + SignedDuration::from_hours(27))));
        });
        assert_eq!(from.reason, Reason::EnoughRoom);
        insta::assert_snapshot!(from.message, @"at least minFree 20% is free; horizon 7d counts from 2026-01-02T03:00:00Z on, when enough was measured for a forecast");
    }

    #[test]
    fn a_source_is_to_report_at_once_what_leaves_too_little_for_the_horizon() {
        let view = rising(per_day(30, 30, 30), 240, |_| ());
        let (id, claim) = view.claims.iter().next().unwrap();
        assert_eq!(watch(&view, id, claim).unwrap().available_below, mib(210));
    }

    #[test]
    fn a_growth_for_the_days_ahead_leaves_the_last_modification_for_when_room_runs_short() {
        let decided = |slots: u32, change: fn(&mut View)| {
            let view = rising(per_day(99, 99, 99), 240, |view| {
                override_driver(view, with_slots(slots));
                the_claim(view).growth = Some(grown_at(&[-1800]).into());
                change(view);
            });
            let (actions, decision) = decide_at(&view, 5);
            (actions.iter().find_map(Action::requests).is_some(), decision.reason, decision.again_at)
        };
        assert!(decided(3, |_| ()).0);
        assert_eq!(
            decided(2, |_| ()),
            (false, Reason::NoModificationSlot, Some(at(30))),
            "the measurement is stale then"
        );
        assert!(decided(2, |view| the_usage(view).available = Bytes(1)).0, "it is nearly full");
        assert!(decided(1, |view| the_claim(view).growth = None).0, "of one slot, none could ever be left");
    }
}
