//! A run as a picture: for each claim how full it is and how large, and what all of them cost, over time, with what went
//! wrong behind it. One page for a browser, which needs no script and nothing from elsewhere.

mod cost;
mod page;
mod scale;

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{Bytes, driver::Price};
use orlop_planner::Action;

use crate::{
    fact::{Entry, Fact},
    run::{Outcome, Witness},
    scenario::{Claim, Scenario, Trouble},
    server::{self, Kind},
    simulation::Simulation,
    volume::Volume,
};

/// Into so many parts the time is divided, in each of which a volume's fill is drawn at one point: about as many as the
/// picture is wide.
const PARTS: u32 = 900;

/// The picture of a run, to be its [`Witness`].
#[derive(Debug)]
pub struct Plot {
    story: String,
    lasts: Duration,
    claims: BTreeMap<String, Track>,
    /// What all claims cost a month at each change, in millionths, by currency.
    costs: BTreeMap<String, Vec<(Duration, u64)>>,
    troubles: Vec<(Trouble, Band)>,
    changes: Vec<Mark>,
    next: Duration,
}

/// What became of a claim.
#[derive(Debug, Default)]
struct Track {
    /// Where it is known.
    price: Option<Price>,
    used: Vec<(Duration, Bytes)>,
    /// The inodes in use, as a part of the filesystem's size; empty where it does not count them.
    inodes: Vec<(Duration, Bytes)>,
    /// The filesystem's size, at each change.
    filesystem: Vec<(Duration, Bytes)>,
    /// The size that is requested, at each change.
    requested: Vec<(Duration, Bytes)>,
    growths: Vec<Mark>,
    full: Vec<Band>,
}

/// A span of time, with what it was; without end it lasts until everything is over.
#[derive(Debug)]
struct Band {
    what: String,
    from: Duration,
    to: Option<Duration>,
}

/// A moment, with what happened in it.
#[derive(Debug)]
struct Mark {
    at: Duration,
    what: String,
}

impl Plot {
    /// The picture of a scenario, before anything has happened.
    pub fn new(scenario: &Scenario) -> Self {
        let track = |claim: &Claim| {
            let price = scenario.classes.get(&claim.class).and_then(|class| class.driver.price.clone());
            Track { price, ..Track::default() }
        };
        Self {
            story: scenario.story.trim().to_owned(),
            lasts: scenario.lasts.into(),
            claims: scenario.claims.iter().map(|(name, claim)| (name.clone(), track(claim))).collect(),
            costs: BTreeMap::new(),
            troubles: Vec::new(),
            changes: Vec::new(),
            next: Duration::ZERO,
        }
    }

    /// The page, when all is over.
    pub fn conclude(&self, outcome: &Outcome) -> String {
        self.page(outcome).into_string()
    }

    fn sample(&mut self, claim: &str, volume: &Volume, world: &Simulation) {
        let now = world.now();
        let track = self.claims.entry(claim.to_owned()).or_default();
        track.used.push((now, volume.used(now)));
        if let Some(inodes) = volume.inodes(now) {
            let used = u128::from(inodes.total.0.saturating_sub(inodes.free.0)) * u128::from(volume.filesystem.0);
            let part = u64::try_from(used / u128::from(inodes.total.0).max(1)).unwrap_or(u64::MAX);
            track.inodes.push((now, Bytes(part)));
        }
        change(&mut track.filesystem, now, volume.filesystem);
        if let Some(object) = world.server.get(Kind::Claim, claim) {
            change(&mut track.requested, now, Bytes(server::requested(object)));
        }
    }

    fn reckon(&mut self, world: &Simulation) {
        let mut costs: BTreeMap<&str, u128> = BTreeMap::new();
        for (claim, volume) in world.volumes() {
            if let Some(price) = self.claims.get(claim).and_then(|track| track.price.as_ref()) {
                *costs.entry(&price.currency).or_default() += price.monthly_millionths(volume.size());
            }
        }
        for (currency, cost) in costs {
            let cost = u64::try_from(cost).unwrap_or(u64::MAX);
            change(self.costs.entry(currency.to_owned()).or_default(), world.now(), cost);
        }
    }

    fn track(&mut self, claim: &str) -> &mut Track {
        self.claims.entry(claim.to_owned()).or_default()
    }
}

impl Witness for Plot {
    fn see(&mut self, entry: &Entry, world: &Simulation) {
        let at = entry.at;
        match &entry.fact {
            Fact::TroubleBegins(trouble) => {
                let band = Band { what: trouble.to_string(), from: at, to: None };
                self.troubles.push((trouble.clone(), band));
            }
            Fact::TroubleEnds(trouble) => {
                let ended = self.troubles.iter_mut().find(|(it, band)| it == trouble && band.to.is_none());
                if let Some((_, band)) = ended {
                    band.to = Some(at);
                }
            }
            Fact::Changed(_) => self.changes.push(Mark { at, what: entry.fact.to_string() }),
            Fact::Full { claim, .. } => {
                let band = Band { what: entry.fact.to_string(), from: at, to: None };
                self.track(claim).full.push(band);
            }
            Fact::Room { claim } => {
                if let Some(full) = self.track(claim).full.last_mut() {
                    full.to = Some(at);
                }
            }
            Fact::Applied { action: Some(Action::Grow { claim, record, .. }), .. } => {
                let what = format!("grown from {} to {}: {}", record.from, record.to, record.reason);
                self.track(&claim.name).growths.push(Mark { at, what });
            }
            Fact::Applied { action: Some(Action::TakeBack { claim, previous, record, .. }), .. } => {
                let what = format!("taken back from {} to {}, for the driver refused it", previous.to, record.to);
                self.track(&claim.name).growths.push(Mark { at, what });
            }
            _ => {}
        }
        if let Fact::Expanded { .. } | Fact::Changed(_) = &entry.fact {
            self.reckon(world);
        }
        // What is drawn as a step is drawn where it is one.
        if let Fact::Usable { claim, .. } | Fact::Full { claim, .. } | Fact::Room { claim } = &entry.fact
            && let Some(volume) = world.volumes().get(claim)
        {
            self.sample(claim, volume, world);
        }
    }

    fn look(&mut self, world: &Simulation) {
        if world.now() < self.next {
            return;
        }
        self.reckon(world);
        for (claim, volume) in world.volumes() {
            self.sample(claim, volume, world);
        }
        self.next = world.now() + self.lasts / PARTS;
    }
}

/// Adds a value where it is another than the last.
fn change<T: Copy + PartialEq>(values: &mut Vec<(Duration, T)>, now: Duration, value: T) {
    if values.last().is_none_or(|(_, last)| *last != value) {
        values.push((now, value));
    }
}
