//! A run as a text that reads like a story: what is worth telling, a line each, and at the end what came of it. The same
//! scenario always has the same story, to the byte, so that it can be kept beside the scenario and compared.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use orlop_api::{
    Mode,
    names::{PerformanceReason, Reason},
};
use orlop_planner::Action;

use crate::{
    fact::{Entry, Fact, is_budget, is_unknown},
    run::{Outcome, Witness},
    scenario::{Policy, Scenario},
    simulation::Simulation,
    volume::Volume,
};

/// What one of so many lines before says already is counted there, and not said again…
const FOLDED_INTO: usize = 4;

/// …where it was so within this.
const FOLDED_WITHIN: Duration = Duration::from_mins(10);

/// The story of a run, to be its [`Witness`].
#[derive(Debug)]
pub struct Story {
    head: String,
    lines: Vec<Line>,
    /// The reason that was last told of each claim.
    reasons: BTreeMap<String, Reason>,
    /// The same of their classes.
    class_reasons: BTreeMap<String, PerformanceReason>,
    /// What was last told of each policy and, with true, of each budget.
    statuses: BTreeMap<(bool, String), String>,
    /// Since when each claim has needed growth, by the truth.
    low: BTreeMap<String, Duration>,
    slowest: Option<(Duration, String)>,
    full_since: BTreeMap<String, Duration>,
    full_for: Duration,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    text: String,
    times: u64,
    until: Duration,
}

/// How a fact is told.
enum Telling {
    /// Not at all.
    Not,
    /// On a line of its own.
    Alone,
    /// Once for all the times that it happens before much else does.
    Folded,
}

impl Story {
    /// The story of a scenario, before anything has happened.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            head: scenario.story.trim_end().to_owned(),
            lines: Vec::new(),
            reasons: BTreeMap::new(),
            class_reasons: BTreeMap::new(),
            statuses: BTreeMap::new(),
            low: BTreeMap::new(),
            slowest: None,
            full_since: BTreeMap::new(),
            full_for: Duration::ZERO,
        }
    }

    /// The whole story, when it is over.
    pub fn conclude(mut self, outcome: &Outcome) -> String {
        for since in std::mem::take(&mut self.full_since).into_values() {
            self.full_for += outcome.lasted.saturating_sub(since);
        }
        let mut text = format!("{}\n\n", self.head);
        for Line { at, text: line, times, until } in &self.lines {
            let again = match times {
                1 => String::new(),
                _ => format!(" ({times} times until {})", clock(*until)),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}  {line}{again}", clock(*at));
        }
        text.push('\n');
        for (what, came) in self.summary(outcome) {
            let _ = writeln!(text, "{what:<15}{came}");
        }
        text
    }

    fn summary(&self, outcome: &Outcome) -> Vec<(&'static str, String)> {
        let growths = match &self.slowest {
            Some((took, claim)) => {
                format!("{}, the slowest usable {} after it was needed ({claim})", outcome.growths, span(*took))
            }
            None => outcome.growths.to_string(),
        };
        let full = match outcome.full {
            0 => "never".to_owned(),
            1 => format!("once, for {}", span(self.full_for)),
            times => format!("{times} times, for {} in all", span(self.full_for)),
        };
        let wrong: Vec<_> = outcome.faults.iter().map(|(what, times)| format!("{what} {times}")).collect();
        let wrong = if wrong.is_empty() { "nothing".to_owned() } else { wrong.join(", ") };
        let mut summary =
            vec![("lasted", span(outcome.lasted)), ("growths", growths), ("full", full), ("went wrong", wrong)];
        if outcome.violations.is_empty() {
            summary.push(("violations", "none".to_owned()));
        }
        for violation in &outcome.violations {
            summary
                .push(("VIOLATION", format!("{} at {}: {}", violation.checker, clock(violation.at), violation.what)));
        }
        summary
    }

    fn telling(&mut self, fact: &Fact) -> Telling {
        match fact {
            Fact::Changed(_)
            | Fact::Expands { .. }
            | Fact::Expanded { .. }
            | Fact::Usable { .. }
            | Fact::Modifies { .. }
            | Fact::ReplicaStarts { .. }
            | Fact::ReplicaStops { .. }
            | Fact::SetGone { .. }
            | Fact::Stepped { code: 0, .. }
            | Fact::Modified { .. }
            | Fact::Ended { .. }
            | Fact::Started { .. }
            | Fact::Applied {
                action:
                    Some(
                        Action::Grow { .. }
                        | Action::WriteOwner { .. }
                        | Action::TakeBack { .. }
                        | Action::SetClass { .. }
                        | Action::ScaleToZero { .. }
                        | Action::ScaleBack { .. },
                    ),
                ..
            }
            | Fact::TroubleBegins(_)
            | Fact::TroubleEnds(_) => Telling::Alone,
            Fact::Leads { .. }
            | Fact::Full { .. }
            | Fact::Room { .. }
            | Fact::ExpansionFails { .. }
            | Fact::ModificationFails { .. }
            | Fact::Stepped { .. }
            | Fact::HeldBack { .. }
            | Fact::Unhindered { .. }
            | Fact::Refused { .. }
            | Fact::Applied { action: Some(Action::SyncPod { .. }), .. } => Telling::Folded,
            // The record is the operator's own.
            Fact::Applied { action: Some(Action::RecordGrowth { .. } | Action::RecordUsable { .. }), .. } => {
                Telling::Not
            }
            Fact::Applied { action: None, after, .. } => {
                let (of, line) = ((is_budget(after), after["metadata"]["name"].to_string()), fact.to_string());
                let before = self.statuses.insert(of, line.clone());
                // That a policy has nothing to say yet is no news.
                let is_news = before.map_or(!is_unknown(after), |before| before != line);
                if is_news { Telling::Folded } else { Telling::Not }
            }
            Fact::Decided { claim, reason, .. } => {
                let before = self.reasons.insert(claim.clone(), *reason);
                match reason {
                    _ if before == Some(*reason) => Telling::Not,
                    // What is under way is told by those who do it, and that all is well once it has not been.
                    Reason::Growing | Reason::GrowthReduced | Reason::AwaitingMeasurement => Telling::Not,
                    Reason::EnoughRoom if before.is_none_or(|before| !before.is_problem()) => Telling::Not,
                    _ => Telling::Folded,
                }
            }
            Fact::DecidedClass { claim, reason, .. } => {
                use PerformanceReason::{Adequate, AwaitingGrowth, AwaitingLoad, ClassTakenBack, Modifying};
                // What is under way is told by those who do it, and what comes after it may be as before.
                if matches!(reason, Modifying | AwaitingGrowth | AwaitingLoad | ClassTakenBack) {
                    return Telling::Not;
                }
                let before = self.class_reasons.insert(claim.clone(), *reason);
                match reason {
                    _ if before == Some(*reason) => Telling::Not,
                    Adequate if before.is_none_or(|before| !before.is_problem()) => Telling::Not,
                    _ => Telling::Folded,
                }
            }
        }
    }

    fn measure(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::Usable { claim, .. } => {
                if let Some(since) = self.low.get(claim) {
                    let took = entry.at.saturating_sub(*since);
                    if self.slowest.as_ref().is_none_or(|(slowest, _)| took > *slowest) {
                        self.slowest = Some((took, claim.clone()));
                    }
                }
            }
            Fact::Full { claim, .. } => {
                self.full_since.insert(claim.clone(), entry.at);
            }
            Fact::Room { claim } => {
                if let Some(since) = self.full_since.remove(claim) {
                    self.full_for += entry.at.saturating_sub(since);
                }
            }
            _ => {}
        }
    }
}

impl Witness for Story {
    fn see(&mut self, entry: &Entry, _: &Simulation) {
        self.measure(entry);
        let telling = self.telling(&entry.fact);
        if matches!(telling, Telling::Not) {
            return;
        }
        let text = entry.fact.to_string();
        let is_same = |line: &&mut Line| line.text == text && entry.at.saturating_sub(line.until) <= FOLDED_WITHIN;
        let before = self.lines.iter_mut().rev().take(FOLDED_INTO).find(is_same);
        if let Some(line) = before.filter(|_| matches!(telling, Telling::Folded)) {
            line.times += 1;
            line.until = entry.at;
            return;
        }
        self.lines.push(Line { at: entry.at, text, times: 1, until: entry.at });
    }

    fn look(&mut self, world: &Simulation) {
        let policies: Vec<_> = world.current_policies().filter(|policy| policy.mode == Mode::Auto).collect();
        for (claim, volume) in world.volumes() {
            if !needs_growth(&policies, volume, world.now()) {
                self.low.remove(claim);
            } else if !self.low.contains_key(claim) {
                self.low.insert(claim.clone(), world.now());
            }
        }
    }
}

/// Does one of the policies, all in mode Auto, call for growth of a volume that is in use, by the truth?
fn needs_growth(policies: &[&Policy], volume: &Volume, now: Duration) -> bool {
    let available = u128::from(volume.available(now).0);
    let inodes = volume.inodes(now);
    let calls = |policy: &&Policy| {
        let Policy { labels, capacity, .. } = policy;
        let soon = u128::from(volume.rate().0) * u128::from(capacity.time_to_full.as_secs());
        let few_inodes = inodes.is_some_and(|it| it.free.0 < capacity.min_free_inodes.of(it.total.0));
        labels.iter().all(|(key, value)| volume.spec.labels.get(key) == Some(value))
            && (available < u128::from(capacity.min_free.of(volume.filesystem.0)) || available < soon || few_inodes)
    };
    volume.node.is_some() && policies.iter().any(calls)
}

/// A time of the story, such as `00:14:23.7`.
pub(crate) fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}:{:02}.{}", seconds / 3600, seconds / 60 % 60, seconds % 60, at.subsec_millis() / 100)
}

/// A span of time, such as `1h 2m 3.4 s`.
pub(crate) fn span(long: Duration) -> String {
    let seconds = long.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let tenths = long.subsec_millis() / 100;
    match (seconds % 60, tenths) {
        (0, 0) if !text.is_empty() => {}
        (seconds, 0) => {
            let _ = write!(text, "{seconds}s");
        }
        (seconds, tenths) => {
            let _ = write!(text, "{seconds}.{tenths}s");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Resource;

    const SCENARIO: &str = "
        story: A claim without any luck.
        lasts: 1h
        classes: {}
        policies: {}
        claims: {}
    ";

    fn story_of(facts: impl IntoIterator<Item = (u64, Fact)>) -> String {
        let full = 1;
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let (mut story, world) = (Story::new(&scenario), Simulation::new(scenario));
        for (second, fact) in facts {
            story.see(&Entry { at: Duration::from_secs(second), fact }, &world);
        }
        story.conclude(&Outcome { lasted: Duration::from_hours(1), full, ..Outcome::default() })
    }

    fn full(second: u64) -> (u64, Fact) {
        (second, Fact::Full { claim: "data".to_owned(), lacks: Resource::Bytes })
    }

    #[test]
    fn what_happens_again_and_again_is_one_line() {
        let refused = |second| {
            let before = serde_json::Value::Null;
            (second, Fact::Refused { operator: 0, action: None, code: 409, before, asks: None })
        };
        let story = story_of((0..300).map(refused));
        let lines: Vec<_> = story.lines().filter(|line| line.contains("409")).collect();
        assert_eq!(
            lines,
            [
                "00:00:00.0  operator a may not write a status: the API server refuses it with 409 (300 times until 00:04:59.0)"
            ]
        );
    }

    #[test]
    fn what_happens_again_after_much_else_is_told_again() {
        let else_ = (1..6).map(|operator| (operator as u64, Fact::Started { operator }));
        let story = story_of([full(0)].into_iter().chain(else_).chain([full(9)]));
        assert_eq!(story.matches("data is FULL").count(), 2, "{story}");
    }

    #[test]
    fn a_volume_that_is_full_to_the_end_is_full_until_then() {
        let story = story_of([full(3500)]);
        assert!(story.contains("for 1m40s"), "{story}");
    }

    #[test]
    fn a_reason_is_told_when_it_is_another() {
        let decided = |second, reason| {
            let message = "so".to_owned();
            (second, Fact::Decided { operator: 0, claim: "data".to_owned(), reason, message })
        };
        let story = story_of([
            decided(1, Reason::EnoughRoom),
            decided(2, Reason::AtMaximum),
            decided(3, Reason::AtMaximum),
            decided(4, Reason::Growing),
            decided(5, Reason::EnoughRoom),
        ]);
        let told: Vec<_> = story.lines().filter(|line| line.contains(" on data")).collect();
        assert_eq!(told, ["00:00:02.0  operator a on data: AtMaximum, so"], "{story}");
    }
}
