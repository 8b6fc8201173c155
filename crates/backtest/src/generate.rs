//! Histories that look like real ones, made from a seed: what databases, caches, logs, bulk loads and runaways do to a
//! volume, what happens when it is full, and what people then do about it. Whole numbers only, so that a seed makes the
//! same history everywhere.

use fastrand::Rng;
use orlop_api::{Bytes, Count};
use orlop_planner::Capacity;

use crate::history::Sample;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY_S: u64 = 86_400;

/// What a made-up history is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// The first sample's time, in seconds since the beginning of 1970 in UTC.
    pub from_s: i64,
    /// How many samples each claim has.
    pub samples: u64,
    /// How many seconds there are between two of them; at least 1.
    pub every_s: u64,
}

/// What a workload does to its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    /// Grows all the time, more in the day than at night.
    Database,
    /// Fills by day and is emptied by night.
    Cache,
    /// Fills evenly, and every night what is older than three days is deleted.
    Logs,
    /// Stays as it is, and a few times a month a lot is loaded within two hours.
    BulkLoad,
    /// Stays as it is until something goes wrong, and then fills until somebody clears it.
    Runaway,
    /// Many small files: the inodes run out before the bytes.
    SmallFiles,
}

/// The workloads with the names of their claims, and the size that somebody once gave each.
const KINDS: [(Workload, &str, &str, u64); 6] = [
    (Workload::Database, "shop", "data-postgres", 100),
    (Workload::Cache, "shop", "data-redis", 40),
    (Workload::Logs, "observability", "data-loki", 200),
    (Workload::BulkLoad, "analytics", "data-warehouse", 300),
    (Workload::Runaway, "build", "work-runner", 50),
    (Workload::SmallFiles, "mail", "data-dovecot", 20),
];

/// The history of one claim: its namespace, its name, and its samples in the order of their times.
#[derive(Debug, Clone)]
pub struct History {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    rng: Rng,
    recipe: Recipe,
    workload: Workload,
    /// How many samples have been made.
    made: u64,
    size: u64,
    used: u64,
    files: u64,
    /// Since how long the volume has been full, in seconds.
    full_s: u64,
    /// How long people take to notice that.
    notice_s: u64,
    /// Bytes a day that it fills by in the mean.
    pace: u64,
    /// When, in seconds from the first sample, the next thing happens that does not happen every day.
    event_s: u64,
    /// What of a bulk load is still to be written, and at which rate.
    load: u64,
    load_per_s: u64,
}

/// The history of the claim of that number, the first being 0. Each sixth claim is of the same kind.
pub fn history(recipe: Recipe, number: u64) -> History {
    let (kinds, index) = (KINDS.len() as u64, usize::try_from(number % KINDS.len() as u64).unwrap_or(0));
    let (workload, namespace, name, size_gib) = KINDS[index];
    let mut rng = Rng::with_seed(recipe.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
    let size = size_gib * GIB;
    let (start, pace) = match workload {
        Workload::Database => (size * rng.u64(55..65) / 100, rng.u64(1200..1700) * MIB),
        Workload::Cache => (size * rng.u64(30..40) / 100, 12 * GIB),
        Workload::Logs => (size * rng.u64(50..60) / 100, rng.u64(26..32) * GIB),
        Workload::BulkLoad => (size * rng.u64(30..35) / 100, 256 * MIB),
        Workload::Runaway => (size * rng.u64(20..30) / 100, 128 * MIB),
        Workload::SmallFiles => (size * rng.u64(30..35) / 100, rng.u64(60..90) * MIB),
    };
    let duration_s = recipe.samples * recipe.every_s;
    let event_s = match workload {
        Workload::Runaway => duration_s * rng.u64(55..75) / 100,
        _ => rng.u64(4 * DAY_S..9 * DAY_S),
    };
    History {
        namespace: namespace.to_owned(),
        name: format!("{name}-{}", number / kinds),
        recipe,
        workload,
        made: 0,
        size,
        used: start,
        files: files_of(size) * 75 / 100,
        full_s: 0,
        notice_s: rng.u64(3..8) * 3600,
        pace,
        event_s,
        load: 0,
        load_per_s: 0,
        rng,
    }
}

/// A filesystem of ext4 has an inode for every 16 KiB.
fn files_of(size: u64) -> u64 {
    size / (16 << 10)
}

/// The filesystem takes a little for itself.
fn filesystem(size: u64) -> u64 {
    size - size / 1024
}

impl Iterator for History {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.made == self.recipe.samples {
            return None;
        }
        let passed_s = self.made * self.recipe.every_s;
        if self.made > 0 {
            self.write(passed_s);
            self.react();
        }
        self.made += 1;
        let capacity = filesystem(self.size);
        let total = files_of(self.size);
        let inodes = matches!(self.workload, Workload::SmallFiles)
            .then(|| Capacity { total: Count(total), free: Count(total.saturating_sub(self.files)) });
        Some(Sample {
            at_ms: self.recipe.from_s.saturating_add_unsigned(passed_s).saturating_mul(1000),
            capacity: Bytes(capacity),
            used: Bytes(self.used),
            available: Bytes(capacity - self.used),
            inodes,
        })
    }
}

impl History {
    /// What the workload does until then, within what the volume holds.
    fn write(&mut self, passed_s: u64) {
        let every_s = self.recipe.every_s;
        let hour = (self.recipe.from_s.saturating_add_unsigned(passed_s).rem_euclid(86_400) / 3600).unsigned_abs();
        let even = self.pace * every_s / DAY_S;
        let noise = even * self.rng.u64(0..100) / 100;
        let more = match self.workload {
            // Three times as much by day as by night, and about the pace in all.
            Workload::Database => {
                let times = if (8..20).contains(&hour) { 3 } else { 1 };
                (even / 2 + noise) * times / 2
            }
            Workload::Cache if (7..21).contains(&hour) => even / 2 + noise,
            Workload::Cache => {
                let left = self.size * 30 / 100;
                self.used -= self.used.saturating_sub(left) * every_s.min(7200) / 7200 / 2;
                noise / 4
            }
            Workload::Logs => {
                let kept = self.pace * 4;
                let is_night = (2..2 + (every_s / 3600).max(1)).contains(&hour);
                if is_night && self.used > kept {
                    self.used -= (self.used - kept).min(self.pace);
                }
                even / 2 + noise
            }
            Workload::BulkLoad => even / 2 + noise + self.bulk(passed_s, every_s),
            Workload::Runaway if passed_s >= self.event_s => even + 3 * GIB * every_s / 3600,
            Workload::Runaway => noise / 4,
            Workload::SmallFiles => {
                self.files += (even / 2 + noise) / (6 << 10);
                even / 2 + noise
            }
        };
        let whole = |bytes: u64| bytes / MIB * MIB;
        self.files = self.files.min(files_of(self.size));
        self.used = whole((self.used + more).min(filesystem(self.size)));
    }

    /// What of a bulk load is written in this time; each is followed by another, some days later.
    fn bulk(&mut self, passed_s: u64, every_s: u64) -> u64 {
        if self.load == 0 && passed_s >= self.event_s {
            self.load = self.rng.u64(40..80) * GIB;
            self.load_per_s = self.load / 7200;
            self.event_s = passed_s + self.rng.u64(5 * DAY_S..12 * DAY_S);
        }
        let written = self.load.min(self.load_per_s * every_s);
        self.load -= written;
        written
    }

    /// Hours after a volume is full somebody notices, and makes it twice as large, or deletes what a runaway has written.
    fn react(&mut self) {
        let capacity = filesystem(self.size);
        let is_full = capacity - self.used < capacity / 1000 || self.files == files_of(self.size);
        self.full_s = if is_full { self.full_s + self.recipe.every_s } else { 0 };
        if self.full_s < self.notice_s {
            return;
        }
        self.full_s = 0;
        if matches!(self.workload, Workload::Runaway) {
            self.used = self.size * 25 / 100;
            self.event_s = u64::MAX;
        } else {
            self.size *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe { seed: 1, from_s: 1_780_272_000, samples: 24 * 365, every_s: 3600 };

    #[test]
    fn a_seed_makes_the_same_history_again_and_another_seed_another() {
        let samples = |seed| history(Recipe { seed, ..RECIPE }, 0).collect::<Vec<_>>();
        assert_eq!(samples(1), samples(1));
        assert_ne!(samples(1), samples(2));
    }

    #[test]
    fn every_sample_is_one_that_a_filesystem_could_have() {
        for number in 0..12 {
            let samples: Vec<_> = history(RECIPE, number).collect();
            assert_eq!(samples.len(), 24 * 365);
            for sample in samples {
                assert_eq!(sample.contradiction(), None, "{number}: {sample:?}");
            }
        }
    }

    #[test]
    fn every_kind_does_what_it_is_for() {
        let of = |number| history(RECIPE, number).collect::<Vec<_>>();
        let grew = |samples: &[Sample]| samples[samples.len() - 1].capacity > samples[0].capacity;
        assert!(grew(&of(0)), "a database that is never looked after fills up, and is made larger");
        let peak = |samples: &[Sample]| samples.iter().map(|sample| sample.used.0 / GIB).max().unwrap();
        assert!(!grew(&of(1)) && (15..39).contains(&peak(&of(1))), "a cache has its rhythm: {}", peak(&of(1)));
        assert!(!grew(&of(2)) && (100..196).contains(&peak(&of(2))), "logs are rotated: {}", peak(&of(2)));
        let runaway = of(4);
        assert!(runaway.iter().any(|sample| sample.available.0 < sample.capacity.0 / 1000), "a runaway fills all");
        assert!(runaway[runaway.len() - 1].used.0 < 20 * GIB, "and is cleared");
        let files = of(5);
        let is_short = |sample: &&Sample| sample.inodes.is_some_and(|inodes| inodes.free.0 == 0);
        let short = files.iter().find(is_short).expect("inodes run out");
        assert!(short.available.0 > short.capacity.0 / 5, "before the bytes do");
    }
}
