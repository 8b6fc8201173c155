//! How large a claim is to become.

use orlop_api::{Bytes, CapacitySpec, Count, DriverProfileSpec, Period, Threshold, names::Reason};

use super::{low, with};
use crate::{
    Action, Capacity, Outcome, View,
    fixture::{decide_at, mib, override_driver, the_claim, the_spec, the_usage, view},
};

#[test]
fn a_step_is_as_large_as_minfree_asks_and_in_the_drivers_increments() {
    // 480 MiB with nothing free: 96 MiB are 20%, and with the 20% of what is added 120 MiB, 128 MiB of the claim.
    let size_with = |change: fn(&mut View)| {
        let mut view = with(|view| the_usage(view).available = Bytes(0));
        change(&mut view);
        decide_at(&view, 5).1.target()
    };
    assert_eq!(size_with(|view| the_spec(view).increase = Threshold::Percent(1)), Some(mib(640)));
    assert_eq!(size_with(|view| the_spec(view).increase = Threshold::Absolute(mib(200))), Some(mib(712)));
    assert_eq!(size_with(|view| override_driver(view, DriverProfileSpec::default())), Some(mib(1024)));
    assert_eq!(size_with(|view| the_spec(view).maximum = mib(600)), Some(mib(600)), "as far as the maximum");
}

#[test]
fn a_growth_leaves_no_more_used_than_the_target_utilization() {
    // 400 MiB of 480 are used. To be 60%, they must be of 666.7 MiB: 186.7 MiB more of the filesystem, 200 MiB of the claim.
    let size_at = |target: &str, available| {
        let mut view = with(|view| the_usage(view).available = available);
        the_spec(&mut view).target_utilization = Some(target.parse().unwrap());
        decide_at(&view, 5).1.target()
    };
    assert_eq!(size_at("60%", mib(80)), Some(mib(512 + 200)));
    assert_eq!(size_at("79%", mib(80)), Some(mib(640)), "the larger of it and increase");
    assert_eq!(size_at("60%", mib(240)), None, "it calls for no growth by itself");
    assert_eq!(size_at("1%", mib(80)), Some(mib(4096)), "as far as the maximum");
}

#[test]
fn a_fast_writer_gets_the_bytes_that_it_fills_within_time_to_full() {
    let view = with(|view| the_usage(view).fill_bytes_per_second = 32 << 20);
    // 32 MiB/s for 60 s are 1920 MiB, of which 240 MiB are free: 1680 MiB of the filesystem, 1792 MiB of the claim.
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(512 + 1792)));
}

#[test]
fn numbers_beyond_measure_end_at_the_maximum() {
    let view = with(|view| {
        *the_spec(view) = CapacitySpec {
            min_free: Threshold::Absolute(Bytes(u64::MAX)),
            min_free_inodes: Threshold::Absolute(Count(u64::MAX)),
            increase: Threshold::Absolute(Bytes(u64::MAX)),
            time_to_full: Period::from_secs(u64::MAX),
            ..CapacitySpec::up_to(Bytes(u64::MAX >> 1))
        };
        let claim = the_claim(view);
        (claim.requested, claim.capacity) = (Bytes(1 << 62), Bytes(1 << 62));
        let usage = the_usage(view);
        (usage.total, usage.available) = (Bytes(1), Bytes(0));
        usage.inodes = Some(Capacity { total: Count(1), free: Count(0) });
        usage.fill_bytes_per_second = u64::MAX;
        override_driver(view, DriverProfileSpec::default());
    });
    assert_eq!(decide_at(&view, 5).1.target(), Some(Bytes((1 << 63) - (1 << 30))));
}

#[test]
fn a_volume_larger_than_its_request_grows_from_what_it_has() {
    let mut view = low();
    the_claim(&mut view).requested = mib(100);
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!(decision.outcome, Outcome::Grow(mib(640)));
    assert!(matches!(&actions[..], [Action::Grow { record, .. }] if record.from == mib(100)));
}

#[test]
fn a_filesystem_that_says_it_has_no_inodes_lacks_none() {
    let mut view = view();
    the_spec(&mut view).min_free_inodes = Threshold::Absolute(Count(1000));
    the_usage(&mut view).inodes = Some(Capacity { total: Count(0), free: Count(0) });
    assert_eq!(decide_at(&view, 5).1.reason, Reason::EnoughRoom);
}
