//! Many claims through their histories, each for itself: samples are fed in the order of their times, one claim after the
//! other or all mixed, and nothing is kept of a sample but what is counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_planner::ClaimId;

use crate::{
    history::{Sample, time},
    life::Life,
    report::Report,
    world::{Terms, World},
};

/// A claim of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimIndex(usize);

/// Why a sample is not taken. The message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It cannot be a sample of a filesystem.
    #[error("{0}")]
    Contradiction(&'static str),
    /// It is older than the one before it.
    #[error("the sample is of {at}, and the one before it of the same claim of {last}: sort the history by time")]
    OutOfOrder {
        /// When it is of.
        at: Timestamp,
        /// When the one before it is of.
        last: Timestamp,
    },
    /// It is of the same time as the one before it, and says something else.
    #[error("two samples of the same claim are of {at} and differ: keep one of them")]
    Twice {
        /// When both are of.
        at: Timestamp,
    },
}

/// A replay, as far as it has been fed.
#[derive(Debug, Clone)]
pub struct Replay {
    world: World,
    terms: Terms,
    outlines: bool,
    lives: Vec<(ClaimId, Option<Life>)>,
    index: BTreeMap<ClaimId, ClaimIndex>,
}

impl Replay {
    /// A replay of nothing yet.
    pub fn new(world: World, terms: Terms) -> Self {
        Self { world, terms, outlines: false, lives: Vec::new(), index: BTreeMap::new() }
    }

    /// Keeps of each claim what its picture needs, some 20 KiB.
    #[must_use]
    pub fn with_outlines(mut self) -> Self {
        self.outlines = true;
        self
    }

    /// The claim of that name. Look it up once and not for each sample.
    pub fn claim(&mut self, id: &ClaimId) -> ClaimIndex {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let index = ClaimIndex(self.lives.len());
        self.lives.push((id.clone(), None));
        self.index.insert(id.clone(), index);
        index
    }

    /// Takes the next sample of a claim. One that says again what the last one said is passed over.
    pub fn feed(&mut self, claim: ClaimIndex, sample: &Sample) -> Result<(), Rejected> {
        if let Some(contradiction) = sample.contradiction() {
            return Err(Rejected::Contradiction(contradiction));
        }
        let Some((id, life)) = self.lives.get_mut(claim.0) else { return Ok(()) };
        let Some(life) = life else {
            *life = Some(Life::new(id.clone(), sample, &mut self.world, &self.terms, self.outlines));
            return Ok(());
        };
        if sample.at_ms <= life.last.at_ms {
            let [at, last] = [sample.at_ms, life.last.at_ms].map(|at_ms| time(at_ms).unwrap_or_default());
            return match sample {
                _ if at < last => Err(Rejected::OutOfOrder { at, last }),
                same if *same == life.last => Ok(()),
                _ => Err(Rejected::Twice { at }),
            };
        }
        life.advance(sample, &mut self.world, &self.terms);
        Ok(())
    }

    /// What came of it.
    pub fn conclude(mut self) -> Report {
        let mut lives: Vec<Life> = self.lives.into_iter().filter_map(|(_, life)| life).collect();
        lives.sort_by(|one, other| one.id.cmp(&other.id));
        Report::of(lives, &mut self.world, &self.terms)
    }
}
