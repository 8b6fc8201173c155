//! Which measurements lead to a decision while a claim grows, and after it has.

use orlop_api::{Bytes, names::Reason};

use super::low_with;
use crate::{
    Outgrown, Source, Usage,
    fixture::{at, decide_at, grown, mib, record, the_claim, the_usage},
};

#[test]
fn no_measurement_from_before_a_growth_leads_to_another() {
    let mut view = grown();
    *the_usage(&mut view) = Usage { available: mib(1), at: at(4), ..the_usage(&mut view).clone() };
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMeasurement));
    assert_eq!(decide_at(&view, 6000).1.reason, Reason::GrowthOverdue);
    the_usage(&mut view).total = mib(6000);
    assert_eq!(decide_at(&view, 5).0, [], "nor does one that is not of this volume end the waiting");
}

#[test]
fn a_measurement_is_overdue_when_the_claim_has_long_grown_and_not_when_it_was_long_asked_for() {
    let mut view = grown();
    the_claim(&mut view).outgrown = Some(Outgrown { total: mib(480), until: at(5000) });
    assert_eq!(decide_at(&view, 5599).1.reason, Reason::AwaitingMeasurement);
    assert_eq!(decide_at(&view, 5600).1.reason, Reason::GrowthOverdue);
}

/// Whoever asked for it.
#[test]
fn what_was_measured_before_a_growth_is_no_reason_for_another() {
    let since_growth = |source: Source, total: u64, measured: i64| {
        let view = low_with(|view| {
            let (total_before, until) = (the_usage(view).total, at(10));
            the_claim(view).outgrown = Some(Outgrown { total: total_before, until });
            let usage = the_usage(view);
            usage.total = Bytes(total_before.0 + total);
            (usage.source, usage.at) = (source, at(measured));
        });
        decide_at(&view, measured + 2).1.reason
    };
    assert_eq!(since_growth(Source::Agent, 0, 9), Reason::AwaitingMeasurement);
    assert_eq!(since_growth(Source::Agent, 1, 9), Reason::BelowMinFree, "it has been measured since");
    assert_eq!(since_growth(Source::Agent, 0, 10), Reason::BelowMinFree, "it has not become larger");
    assert_eq!(since_growth(Source::Prometheus, 0, 69), Reason::AwaitingMeasurement, "it was measured a minute before");
    assert_eq!(since_growth(Source::Prometheus, 0, 70), Reason::BelowMinFree);
}

/// An agent has shown it, and is gone; Prometheus has read what a kubelet measured up to a minute before.
#[test]
fn what_was_measured_before_a_growth_was_shown_does_not_lead_to_it_again() {
    let since_shown = |source: Source, total: u64, measured: i64| {
        let mut view = grown();
        the_claim(&mut view).growth.as_mut().unwrap().usable = Some(at(4));
        let usage = the_usage(&mut view);
        (usage.source, usage.at, usage.available) = (source, at(measured), mib(1));
        usage.total = Bytes(record().filesystem.0 + total);
        decide_at(&view, measured + 2).1.reason
    };
    assert_eq!(since_shown(Source::Prometheus, 0, 63), Reason::AwaitingMeasurement);
    assert_eq!(since_shown(Source::Prometheus, 1, 63), Reason::BelowMinFree, "it shows the growth");
    assert_eq!(since_shown(Source::Prometheus, 0, 64), Reason::BelowMinFree, "the record is another's");
    assert_eq!(since_shown(Source::Kubelet, 0, 3), Reason::AwaitingMeasurement);
    assert_eq!(since_shown(Source::Kubelet, 0, 4), Reason::BelowMinFree);
}

/// A small filesystem that takes much for itself can be no larger, grown, than the claim was before.
#[test]
fn a_growth_of_ours_that_was_measured_before_the_claim_said_so_holds_up_nothing() {
    let mut view = grown();
    let shown = mib(600);
    the_usage(&mut view).total = shown;
    the_usage(&mut view).available = mib(1);
    let usable = the_usage(&mut view).at;
    let claim = the_claim(&mut view);
    claim.growth.as_mut().unwrap().usable = Some(usable);
    claim.outgrown = Some(Outgrown { total: shown, until: at(100) });
    assert_eq!(decide_at(&view, 8).1.reason, Reason::BelowMinFree);
    the_claim(&mut view).growth = None;
    let (_, decision) = decide_at(&view, 8);
    assert_eq!((decision.reason, decision.again_at), (Reason::AwaitingMeasurement, Some(at(100))));
}

/// A kubelet, asked by an operator that has just been started, has measured last before the growth.
#[test]
fn no_measurement_from_before_a_growth_that_was_seen_leads_to_another() {
    let mut view = grown();
    the_claim(&mut view).growth.as_mut().unwrap().usable = Some(at(4));
    *the_usage(&mut view) = Usage { available: mib(1), at: at(3), ..the_usage(&mut view).clone() };
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMeasurement));
    the_usage(&mut view).at = at(4);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::BelowMinFree, "it was measured since");
}
