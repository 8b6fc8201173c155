//! One claim: what was decided about it, and the numbers that led to that.

use std::fmt::Write as _;

use jiff::Timestamp;
use orlop_api::{Bytes, Expansion};
use orlop_operator::inspect::{
    ClaimAccount, ClassAct, DecisionAccount, DriverAccount, ExceededLimit, ForecastAccount, Governed,
    MaintenanceAccount, ModificationAccount, PerformanceAccount, PressureAccount, ProfileOrigin, SizeAccount,
    ThresholdAccount, UsageAccount, WriteBackAccount, lasting,
};
use orlop_planner::GrowthRecord;

use super::{
    fill,
    words::{FAINT, TITLE, age, ago, ahead, count, second, source, style, thousands},
};

/// How wide the bar is.
const BAR: usize = 40;

/// Such as `full in 9d2h to 21d3h, most likely in 12d1h`.
fn forecast(account: &ForecastAccount) -> String {
    if let Some(at) = account.known_from {
        return format!("too little was measured; there is one from {} on", second(at));
    }
    let within = |seconds: Option<u64>| seconds.map_or_else(|| "never".to_owned(), lasting);
    let per_day = account.per_day.map_or_else(String::new, |per_day| {
        let rise = Bytes(per_day.median.unsigned_abs()).human();
        format!(", by {}{rise} a day", if per_day.median < 0 { "-" } else { "" })
    });
    if account.earliest_seconds.is_none() {
        return format!("it does not fill over days{per_day}");
    }
    format!(
        "full in {} at the earliest, most likely {}, at the latest {}{per_day}",
        within(account.earliest_seconds),
        within(account.median_seconds),
        within(account.latest_seconds)
    )
}

/// A claim's account for a terminal; `now` is by the clock of the operator that gave it.
pub fn render(account: &ClaimAccount, now: Timestamp) -> String {
    let mut page = Page(String::new());
    head(&mut page, account, now);
    if let Some(usage) = &account.usage {
        room(&mut page, usage, account.thresholds.as_ref(), now);
    } else if let Some(thresholds) = &account.thresholds {
        page.line("room", "not measured");
        page.more(&format!("it is to grow with less than {} free", thresholds.min_free));
    }
    if let Some(it) = &account.forecast {
        let horizon = account.thresholds.as_ref().and_then(|thresholds| thresholds.horizon);
        let horizon = horizon.map_or_else(String::new, |it| format!("; it is to grow when full within {it} (horizon)"));
        page.line("forecast", &format!("{}{horizon}", forecast(it)));
    }
    size(&mut page, &account.size, account.volume.as_deref());
    if let Some(thresholds) = &account.thresholds {
        let utilization = thresholds.target_utilization.map_or_else(String::new, |it| format!(", to {it} used"));
        let growth = format!("by {} at least{utilization}, up to {}", thresholds.increase, thresholds.maximum);
        page.line("growth", &growth);
        if let Some(key) = &thresholds.group_by {
            page.line("group", &format!("as large as the claims with the same {key}"));
        }
    }
    if let Some(record) = &account.growth {
        growth(&mut page, record, now);
    }
    if let Some(modifications) = &account.modifications {
        slots(&mut page, modifications, now);
    }
    policy(&mut page, &account.governed, &account.decision);
    if let Some(it) = &account.performance {
        performance(&mut page, it, now);
    }
    if let Some(class) = &account.class {
        let expands = match class.expandable {
            Some(true) => "allows expansion",
            Some(false) => "does not allow expansion",
            None => "there is no such StorageClass",
        };
        page.line("class", &format!("{}: {expands}", class.name));
    }
    if let Some(it) = &account.driver {
        page.line("driver", &driver(it));
    }
    if let Some(it) = &account.maintenance {
        page.line("window", &window(it, now));
    }
    if let Some(owner) = &account.owner {
        page.line("owner", &owner.sentence);
        if let Some(template) = &owner.template {
            page.more(&template.message);
            page.more(&format!("the change: {}", template.patch));
        }
        owner.write_back.iter().for_each(|written| write_back(&mut page, written));
    }
    let pods = if account.pods.is_empty() { "none uses it".to_owned() } else { account.pods.join(", ") };
    page.line("pods", &pods);
    for setback in &account.setbacks {
        let again = ahead(setback.again_at, now);
        let times = count(setback.failures.into(), "time", "times");
        page.line("setback", &format!("could not {}, {times}; tried again {again}", setback.action));
        setback.refusal.iter().for_each(|refusal| page.more(refusal));
    }
    turning_points(&mut page, &account.turning_points);
    page.0
}

/// Lines with a label before the first of each kind.
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        // Writing into a String does not fail.
        let _ = writeln!(self.0, "{FAINT}{label:<9}{FAINT:#} {text}");
    }

    fn more(&mut self, text: &str) {
        let _ = writeln!(self.0, "{:<9} {text}", "");
    }
}

fn head(page: &mut Page, account: &ClaimAccount, now: Timestamp) {
    let DecisionAccount { act, target, reason, message, since, next_look, acting, .. } = &account.decision;
    let colour = style(Some(&account.decision));
    let to = target.map_or_else(String::new, |target| format!(" to {target}"));
    let _ = writeln!(
        page.0,
        "{TITLE}pvc/{} in {}{TITLE:#}  {colour}{act:?}{to} ({reason}){colour:#}\n  {message}",
        account.name, account.namespace
    );
    let since = since.map(|at| format!("unchanged for {}", age(at, now)));
    let next = next_look.map(|at| format!("looked at again {} at the latest", ahead(at, now)));
    let acting = acting.then(|| "a request for it is under way".to_owned());
    let times: Vec<String> = [since, next, acting].into_iter().flatten().collect();
    if !times.is_empty() {
        let _ = writeln!(page.0, "  {FAINT}{}{FAINT:#}", times.join("; "));
    }
    page.0.push('\n');
}

fn room(page: &mut Page, usage: &UsageAccount, thresholds: Option<&ThresholdAccount>, now: Timestamp) {
    let used = Bytes(usage.total.0.saturating_sub(usage.available.0));
    page.line(
        "room",
        &format!(
            "{}  {}% of {} used",
            fill::bar(used, usage.total, BAR),
            fill::percent(used, usage.total),
            usage.total.human()
        ),
    );
    let limit = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!("; it is to grow {limit}"));
    let bytes = thresholds.map(|it| format!("below {} ({})", it.available_below.human(), it.which(usage.total)));
    page.line(
        "bytes",
        &format!("{} ({}%) free{}", usage.available.human(), fill::percent(usage.available, usage.total), limit(bytes)),
    );
    if let Some(inodes) = usage.inodes {
        let below = thresholds
            .map(|it| format!("below {} (minFreeInodes {})", thousands(it.free_inodes_below.0), it.min_free_inodes));
        let (free, total) = (thousands(inodes.free.0), thousands(inodes.total.0));
        page.line("inodes", &format!("{free} of {total} free{}", limit(below)));
    }
    let within = limit(thresholds.map(|it| format!("when full within {} (timeToFull)", it.time_to_full)));
    let rate = match usage.seconds_to_full {
        Some(seconds) => {
            format!("{}/s, full in {}", Bytes(usage.fill_bytes_per_second).human(), lasting(seconds))
        }
        None => "it does not fill now".to_owned(),
    };
    page.line("rate", &format!("{rate}{within}"));
    let on = usage.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    let stale = if now >= usage.stale_at { ", too long ago to decide by" } else { "" };
    page.line("measured", &format!("{} by {}{on}{stale}", ago(usage.at, now), source(usage.source)));
}

/// The field of an owner that says how large the claim is.
fn write_back(page: &mut Page, written: &WriteBackAccount) {
    let WriteBackAccount { owner, field, size, obstacle, command } = written;
    if let Some((field, size)) = field.as_ref().zip(*size) {
        page.more(&format!("{field} of {owner} has its size, {size}"));
    }
    if let Some(why) = obstacle {
        page.more(&format!("Orlop does not write it, because {why}"));
    }
    if let Some(command) = command {
        page.more(command);
    }
}

fn size(page: &mut Page, size: &SizeAccount, volume: Option<&str>) {
    let capacity = size.capacity.map_or_else(|| "nothing yet".to_owned(), |capacity| capacity.to_string());
    page.line("size", &format!("{} requested, {capacity} there", size.requested));
    if let Some((volume, made)) = volume.zip(size.volume) {
        page.more(&format!("the volume {volume} has {made}"));
    }
    size.resize.iter().for_each(|resize| page.more(&format!("resize: {resize}")));
}

fn growth(page: &mut Page, record: &GrowthRecord, now: Timestamp) {
    page.line(
        "last",
        &format!("from {} to {} ({}), {}", record.from, record.to, record.reason, ago(record.decided, now)),
    );
    let usable = record.usable.map_or_else(
        || "no measurement shows it yet".to_owned(),
        |usable| {
            let seconds = usable.duration_since(record.crossed).as_secs_f64();
            format!("usable {}, {seconds:.1} s after the threshold was crossed", second(usable))
        },
    );
    page.more(&format!("threshold crossed {}, decided {}, {usable}", second(record.crossed), second(record.decided)));
    if !record.earlier.is_empty() {
        let times: Vec<_> = record.earlier.iter().map(|at| second(*at).to_string()).collect();
        page.more(&format!("before it: {}", times.join(", ")));
    }
}

fn slots(page: &mut Page, slots: &ModificationAccount, now: Timestamp) {
    let next = slots.next.map_or_else(
        || "the next growth can be asked for now".to_owned(),
        |at| format!("the next growth can be asked for at {} ({})", second(at), ahead(at, now)),
    );
    page.line("slots", &format!("{} of {} taken within {}; {next}", slots.taken.len(), slots.count, slots.window));
    for taken in &slots.taken {
        page.more(&format!("taken {} ({})", second(*taken), ago(*taken, now)));
    }
    slots.cooldown.iter().for_each(|cooldown| page.more(&format!("one in {cooldown} at most")));
    if slots.next_when_completed {
        page.more("the driver begins the next only when the last one is completed");
    }
}

fn performance(page: &mut Page, account: &PerformanceAccount, now: Timestamp) {
    let PerformanceAccount { act, class, current, target, reason, message, thresholds, .. } = account;
    let class = class.as_deref().unwrap_or("none");
    let to = target.as_ref().map_or_else(String::new, |target| format!(" to {target}"));
    let act = match act {
        ClassAct::Keep => "Keep",
        ClassAct::Set => "Change",
        ClassAct::Recommend => "Recommend",
        ClassAct::Modifying => "Modifying",
        ClassAct::Wait => "Wait",
    };
    page.line("i/o", &format!("{act}{to} ({reason}): {message}"));
    let since = account.since.map_or_else(String::new, |at| format!(", unchanged for {}", age(at, now)));
    let has = current.as_ref().map_or_else(String::new, |current| format!(", the volume still has {current}"));
    page.more(&format!("VolumeAttributesClass {class}{has}{since}"));
    if let Some(load) = &account.load {
        let bytes = |bytes: u64| Bytes(bytes).human();
        page.more(&format!(
            "{} reads/s of {}/s and {} writes/s of {}/s, measured {}",
            thousands(load.reads),
            bytes(load.read_bytes),
            thousands(load.writes),
            bytes(load.written_bytes),
            ago(load.at, now)
        ));
        if let Some(PressureAccount { some, full }) = load.pressure {
            page.more(&format!("its pod waited for I/O for {some}% of the time, all of it for {full}%"));
        }
        if let Some(at) = &load.strained_since {
            page.more(&format!("its pod waits for it, for {}", age(*at, now)));
        }
        if let Some(at) = &load.busy_since {
            page.more(&format!("nearly all that the class gives, for {}", age(*at, now)));
        }
        if let Some(at) = &load.quiet_since {
            page.more(&format!("little for the next slower class, for {}", age(*at, now)));
        }
    }
    if let Some(exceeded) = &account.exceeded {
        let limit = |it: &ExceededLimit| format!("{} for {}% of the time", it.limit, it.percent);
        let limits: Vec<_> = exceeded.limits.iter().map(limit).collect();
        page.more(&format!("beyond its limits by its driver: {}, read {}", limits.join(", "), ago(exceeded.at, now)));
        exceeded.since.iter().for_each(|at| page.more(&format!("in each reading since {}", second(*at))));
    }
    page.more(&format!(
        "a faster class after {} at {} of what its class gives; a slower one after {} below {} of what that one gives",
        thresholds.raise_after, thresholds.raise_above, thresholds.lower_after, thresholds.lower_below
    ));
    page.more("the policy's classes, from the slowest to the fastest:");
    for class in &account.classes {
        page.more(&format!("  {}: {}", class.name, class.gives));
    }
    if let Some(change) = &account.change {
        let named = |class: &Option<String>| class.clone().unwrap_or_else(|| "none".to_owned());
        let (from, to) = (named(&change.from), named(&change.to));
        page.more(&format!("last changed from {from} to {to} ({}), {}", change.reason, ago(change.decided, now)));
    }
}

fn policy(page: &mut Page, governed: &Governed, decision: &DecisionAccount) {
    match &governed.policy {
        Some(policy) => page.line("policy", &format!("{policy}, mode {:?}: {}", decision.mode, governed.why)),
        None => page.line("policy", &format!("none: {}", governed.why)),
    }
    if !governed.others.is_empty() {
        let label = if governed.policy.is_some() { "also selected by" } else { "selected by" };
        page.more(&format!("{label} {}", governed.others.join(", ")));
    }
}

fn driver(driver: &DriverAccount) -> String {
    let origin = match driver.profile {
        ProfileOrigin::DriverProfile => "by its DriverProfile",
        ProfileOrigin::BuiltIn => "by the built-in profile",
        ProfileOrigin::Assumed => "of which nothing is known, so assumed",
    };
    let kind = driver.volume_type.as_ref().map_or_else(String::new, |kind| format!(", {kind}"));
    let expands = match driver.expansion {
        Expansion::Online => "expands online",
        Expansion::Offline => "expands only what no pod uses",
        Expansion::None => "cannot expand",
    };
    let from = driver.minimum_size.map(|size| format!("from {size}"));
    let to = driver.maximum_size.map(|size| format!("up to {size}"));
    let steps = (driver.size_increment > Bytes(1)).then(|| format!("in steps of {}", driver.size_increment));
    let cost = driver.monthly.as_ref().map(|cost| format!("{cost} a month by its list price"));
    let figures: Vec<String> = [Some(expands.to_owned()), steps, from, to, cost].into_iter().flatten().collect();
    format!("{}{kind} ({origin}): {}", driver.name, figures.join(", "))
}

/// When the pods of the claim may be stopped.
fn window(account: &MaintenanceAccount, now: Timestamp) -> String {
    let next = account.next.map_or_else(
        || "none opens any more".to_owned(),
        |at| format!("the next one opens at {} ({})", second(at), ahead(at, now)),
    );
    match account.open_until {
        Some(until) => format!("open until {} (ends {}); {next}", second(until), ahead(until, now)),
        None => format!("none is open; {next}"),
    }
}

fn turning_points(page: &mut Page, points: &[String]) {
    if points.is_empty() {
        return;
    }
    let _ = writeln!(page.0, "\n{TITLE}Another decision follows when{TITLE:#}");
    for point in points {
        let _ = writeln!(page.0, "  - {point}");
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use orlop_operator::inspect::Document;

    use super::*;

    fn rendered(document: &str) -> String {
        let document: Document<ClaimAccount> = serde_json::from_str(document).unwrap();
        let (account, now) = document.open().unwrap();
        strip_str(&render(&account, now)).to_string()
    }

    #[test]
    fn a_claim_with_enough_room_says_when_that_ends() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/room.json")));
    }

    #[test]
    fn a_forecast_says_how_sure_it_is_or_from_when_on_there_is_one() {
        let told = |json: &str| forecast(&serde_json::from_str(json).unwrap());
        assert_eq!(
            told(
                r#"{"peak": "10Gi", "perDay": {"low": 0, "median": 1073741824, "high": 2147483648}, "earliestSeconds": 432000,
                "medianSeconds": 864000}"#
            ),
            "full in 5d0h at the earliest, most likely 10d0h, at the latest never, by 1.00 GiB a day"
        );
        assert_eq!(
            told(r#"{"peak": "10Gi", "perDay": {"low": -3072, "median": -1024, "high": 0}}"#),
            "it does not fill over days, by -1.00 KiB a day"
        );
        assert_eq!(
            told(r#"{"knownFrom": "2026-01-04T06:00:00Z"}"#),
            "too little was measured; there is one from 2026-01-04T06:00:00Z on"
        );
    }

    #[test]
    fn a_claim_without_a_slot_says_when_the_next_is_free() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/no-slot.json")));
    }

    #[test]
    fn a_claim_that_is_too_slow_says_what_it_does_and_what_each_class_gives() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/slow.json")));
    }

    #[test]
    fn a_claim_that_waits_for_a_maintenance_window_says_when_that_is() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/window.json")));
    }

    #[test]
    fn a_claim_of_an_owner_has_the_command_that_writes_its_field() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/owned.json")));
    }

    #[test]
    fn a_claim_that_no_policy_governs_says_so() {
        insta::assert_snapshot!(rendered(include_str!("../../tests/inspect/ungoverned.json")));
    }
}
