//! From a scenario that breaks a promise to a shorter one that breaks the same: whatever can be left out is left out, as
//! long as the same checker still objects (delta debugging, Zeller and Hildebrandt 2002). The same scenario is always
//! shortened in the same way.

use std::{collections::BTreeSet, time::Duration};

use orlop_api::Period;

use crate::{
    run::until_broken,
    scenario::{Deed, Scenario, Trouble},
    simulation::{Tamper, sets},
};

/// What shrinking has come to.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The shortest scenario that was found.
    pub scenario: Scenario,
    /// How many runs that took.
    pub runs: u64,
}

/// Looks for a shorter scenario that breaks the promise of the checker of this name, by `runs_max` runs at most. It
/// stays as it is where it does not break it. `tamper` is the bug that each run is to have.
pub fn shrink(
    scenario: Scenario,
    checker: &str,
    runs_max: u64,
    tamper: impl Fn() -> Option<Box<dyn Tamper>>,
) -> Shrunk {
    let mut shrinking = Shrinking { best: scenario, checker, tamper, runs: 0, runs_max };
    loop {
        let before = shrinking.best.clone();
        shrinking.cut_end();
        shrinking.leave_out(|it| &mut it.faults);
        shrinking.make_certain();
        shrinking.leave_out(|it| &mut it.changes);
        shrinking.leave_out_claims();
        shrinking.leave_out_sets();
        shrinking.leave_out_unused();
        shrinking.leave_out_budgets();
        shrinking.reduce();
        if shrinking.best == before || shrinking.runs >= runs_max {
            return Shrunk { scenario: shrinking.best, runs: shrinking.runs };
        }
    }
}

struct Shrinking<'a, T> {
    best: Scenario,
    checker: &'a str,
    tamper: T,
    runs: u64,
    runs_max: u64,
}

impl<T: Fn() -> Option<Box<dyn Tamper>>> Shrinking<'_, T> {
    /// Takes what a change makes of the best for the best, where that still breaks the promise.
    fn try_change(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut scenario = self.best.clone();
        change(&mut scenario);
        if scenario == self.best {
            return false;
        }
        // What is left out moves all chance after it, so that one seed says little.
        let seeds = [scenario.seed, scenario.seed.wrapping_add(1), scenario.seed.wrapping_add(2)];
        let breaks = seeds.into_iter().any(|seed| {
            scenario.seed = seed;
            self.run(&scenario).is_some()
        });
        if breaks {
            self.best = scenario;
        }
        breaks
    }

    /// When the scenario breaks the promise; none where it does not, and when there have been runs enough.
    fn run(&mut self, scenario: &Scenario) -> Option<Duration> {
        if self.runs >= self.runs_max {
            return None;
        }
        self.runs += 1;
        until_broken(scenario.clone(), (self.tamper)(), self.checker).map(|violation| violation.at)
    }

    /// Ends it just after the promise is broken; or, where that shows only at the end, after half the time.
    fn cut_end(&mut self) {
        let Some(broken) = self.run(&self.best.clone()) else { return };
        let just_after = Period::from_secs(broken.as_secs() + 1);
        if self.best.lasts > just_after && !self.try_change(|it| it.lasts = just_after) {
            while self.try_change(|it| it.lasts = half(it.lasts)) {}
        }
        let end = self.best.lasts;
        self.try_change(|it| {
            it.faults.retain(|fault| fault.at <= end);
            it.changes.retain(|change| change.at <= end);
        });
    }

    /// Has what hits some hit all, which leaves less to chance.
    fn make_certain(&mut self) {
        for index in 0..self.best.faults.len() {
            self.try_change(|it| match &mut it.faults[index].what {
                Trouble::Requests { share, .. }
                | Trouble::Watches { share, .. }
                | Trouble::Measurements { share, .. } => *share = 100,
                _ => {}
            });
        }
    }

    /// Leaves out as many parts of a list as can be: first half of it at a time, in the end single ones.
    fn leave_out<P>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<P>) {
        let mut chunk = list(&mut self.best).len();
        while chunk > 0 {
            let mut from = 0;
            while from < list(&mut self.best).len() {
                let left_out = self.try_change(|it| {
                    let list = list(it);
                    let to = (from + chunk).min(list.len());
                    list.drain(from..to);
                });
                // What follows has moved here.
                if !left_out {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    fn leave_out_claims(&mut self) {
        for claim in self.best.claims.keys().cloned().collect::<Vec<_>>() {
            self.try_change(|it| {
                it.claims.remove(&claim);
                it.faults.retain(|fault| !matches!(&fault.what, Trouble::CrashLoop { claim: of } if *of == claim));
                it.changes.retain(|change| change.what.claim() != Some(&claim));
            });
        }
    }

    fn leave_out_sets(&mut self) {
        for set in self.best.sets.keys().cloned().collect::<Vec<_>>() {
            self.try_change(|it| {
                it.sets.remove(&set);
                let is_of_it = |claim: &String| sets::replica(claim).is_some_and(|(of, _)| *of == set);
                it.changes.retain(|change| match &change.what {
                    Deed::Scale { set: of, .. } => *of != set,
                    deed => !deed.claim().is_some_and(is_of_it),
                });
            });
            self.try_change(|it| {
                if let Some(set) = it.sets.get_mut(&set) {
                    set.replicas = 1;
                }
            });
        }
    }

    fn leave_out_unused(&mut self) {
        self.try_change(|it| it.agentless.clear());
        self.try_change(|it| it.kubelet_interval = None);
        for claim in self.best.claims.keys().cloned().collect::<Vec<_>>() {
            self.try_change(|it| {
                if let Some(claim) = it.claims.get_mut(&claim) {
                    claim.inodes = None;
                }
            });
            self.try_change(|it| {
                if let Some(claim) = it.claims.get_mut(&claim) {
                    claim.demand = None;
                }
            });
        }
        self.try_change(|it| {
            it.attributes_classes.clear();
            it.policies.values_mut().for_each(|policy| policy.performance = None);
            it.claims.values_mut().for_each(|claim| (claim.attributes_class, claim.demand) = (None, None));
            it.faults.retain(|fault| !matches!(fault.what, Trouble::ModificationRefused { .. }));
        });
        self.try_change(|it| {
            let claims = &it.claims;
            let claims = claims.values().chain(it.sets.values().map(|set| &set.template));
            let used: BTreeSet<_> = claims.map(|claim| claim.class.clone()).collect();
            it.classes.retain(|name, _| used.contains(name));
        });
        for policy in self.best.policies.keys().cloned().collect::<Vec<_>>() {
            self.try_change(|it| {
                it.policies.remove(&policy);
                it.changes.retain(|change| !matches!(&change.what, Deed::Policy { name, .. } if *name == policy));
            });
        }
    }

    fn leave_out_budgets(&mut self) {
        for budget in self.best.budgets.keys().cloned().collect::<Vec<_>>() {
            self.try_change(|it| {
                it.budgets.remove(&budget);
                it.changes.retain(|change| !matches!(&change.what, Deed::Budget { name, .. } if *name == budget));
            });
        }
    }

    /// One operator, one node, shorter troubles.
    fn reduce(&mut self) {
        self.try_change(|it| {
            it.operators = 1;
            it.faults.retain(|fault| fault.what.operator().is_none_or(|operator| operator == 0));
        });
        self.try_change(|it| {
            it.nodes = 1;
            it.faults.retain(|fault| fault.what.node().is_none_or(|node| node == 0));
            it.agentless.retain(|node| *node == 0);
            it.claims.values_mut().for_each(|claim| claim.node = 0);
            it.sets.values_mut().for_each(|set| set.template.node = 0);
            for change in &mut it.changes {
                if let Deed::Start { node, .. } = &mut change.what {
                    *node = 0;
                }
            }
        });
        for index in 0..self.best.faults.len() {
            while self.try_change(|it| it.faults[index].lasting = half(it.faults[index].lasting)) {}
        }
    }
}

fn half(period: Period) -> Period {
    Period::from_secs(period.as_secs() / 2)
}
