//! Measures every mounted volume, each at its pace, and keeps the [`Board`].

use std::{
    collections::{BTreeMap, btree_map},
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::{
    board::{Board, Due, Pace},
    mounts::{Mount, MountTable, Volumes},
    probe::{Measure, Probed, Prober},
};

/// How often a volume is measured that is looked at closely.
const CLOSE: Duration = Duration::from_millis(100);

/// How long a measurement may take. A mount that takes longer is reported as one that cannot be measured, until it
/// answers.
const DEADLINE: Duration = Duration::from_secs(1);

/// Measures the volumes of a node.
pub struct Sampler {
    /// What is known of the volumes.
    pub board: Board,
    interval: Duration,
    prober: Arc<Prober>,
    /// Away while the list is being read.
    mounts: Option<MountTable>,
    tracked: BTreeMap<String, Tracked>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    look_for_mounts_at: Instant,
    measure_at: Instant,
}

struct Tracked {
    mount: Mount,
    /// Is a measurement under way? Then none is started, however long it takes.
    busy: bool,
    /// Could it not be measured the last time? That is logged once.
    failing: bool,
    measure_at: Instant,
}

/// Something that ran in the background has finished.
enum Done {
    Mounts(MountTable, io::Result<Volumes>),
    Probed { volume: String, mount: Mount, started: Instant, probed: Probed },
}

/// How many volumes there are, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// All that are mounted.
    pub mounted: usize,
    /// Those that can presently not be measured.
    pub failing: usize,
}

impl Sampler {
    /// Measures what is mounted below `kubelet_dir`, usually once in `interval`. Fails when there is no such directory.
    pub fn new(kubelet_dir: &Path, measure: impl Measure, interval: Duration) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            board: Board::default(),
            interval,
            prober: Arc::new(Prober::new(measure, DEADLINE)),
            mounts: Some(MountTable::open(kubelet_dir)?),
            tracked: BTreeMap::new(),
            running: FuturesUnordered::new(),
            look_for_mounts_at: now,
            measure_at: now,
        })
    }

    /// Goes on measuring until something is to be reported, and says how soon. Nothing is lost when this is dropped
    /// while it waits.
    pub async fn next(&mut self) -> Due {
        loop {
            let due = tokio::select! {
                Some(done) = self.running.next() => self.take_in(done),
                () = sleep_until(self.look_for_mounts_at) => self.look_for_mounts(),
                () = sleep_until(self.measure_at) => self.measure_those_due(),
            };
            if due > Due::No {
                return due;
            }
        }
    }

    /// Counts the volumes.
    pub fn census(&self) -> Census {
        let failing = self.tracked.values().filter(|tracked| tracked.failing).count();
        Census { mounted: self.tracked.len(), failing }
    }

    fn take_in(&mut self, done: Done) -> Due {
        match done {
            Done::Mounts(table, found) => {
                self.mounts = Some(table);
                match found {
                    Ok(volumes) => self.track(volumes),
                    Err(error) => {
                        tracing::warn!(%error, "cannot read the list of mounts");
                        Due::No
                    }
                }
            }
            Done::Probed { volume, mount, started, probed } => self.take_in_measurement(volume, mount, started, probed),
        }
    }

    fn look_for_mounts(&mut self) -> Due {
        self.look_for_mounts_at = Instant::now() + self.interval;
        let Some(mut table) = self.mounts.take() else { return Due::No };
        match table.is_stale() {
            Ok(true) => {
                let reading = tokio::task::spawn_blocking(move || {
                    let found = table.read();
                    Done::Mounts(table, found)
                });
                self.running
                    .push(Box::pin(async { reading.await.expect("reading the list of mounts does not panic") }));
            }
            Ok(false) => self.mounts = Some(table),
            Err(error) => {
                tracing::warn!(%error, "cannot learn whether mounts have changed");
                self.mounts = Some(table);
            }
        }
        Due::No
    }

    fn track(&mut self, volumes: Volumes) -> Due {
        let now = Instant::now();
        let (board, mut due) = (&mut self.board, Due::No);
        self.tracked.retain(|volume, _| {
            let mounted = volumes.contains_key(volume);
            if !mounted {
                due = due.max(board.unmounted(volume));
            }
            mounted
        });
        for (volume, mount) in volumes {
            match self.tracked.entry(volume) {
                btree_map::Entry::Occupied(tracked) if tracked.get().mount == mount => {}
                // Another mount, be it of the same volume: what is under way measures the former one.
                tracked => {
                    let new = Tracked { mount, busy: false, failing: false, measure_at: now };
                    tracked.insert_entry(new);
                    self.measure_at = now;
                }
            }
        }
        due
    }

    fn measure_those_due(&mut self) -> Due {
        let now = Instant::now();
        // Without anything to measure, new mounts set an earlier time.
        let mut next = now + self.interval;
        for (volume, tracked) in self.tracked.iter_mut().filter(|(_, tracked)| !tracked.busy) {
            if tracked.measure_at > now {
                next = next.min(tracked.measure_at);
                continue;
            }
            tracked.busy = true;
            let pressure = self.board.asks_for_pressure(volume);
            let (threads, volume, mount) = (Arc::clone(&self.prober), volume.clone(), tracked.mount.clone());
            self.running.push(Box::pin(async move {
                let probed = threads.measure(mount.clone(), pressure).await;
                Done::Probed { volume, mount, started: now, probed }
            }));
        }
        self.measure_at = next;
        Due::No
    }

    fn take_in_measurement(&mut self, volume: String, mount: Mount, started: Instant, probed: Probed) -> Due {
        let tracked = self.tracked.get_mut(&volume).filter(|tracked| tracked.mount == mount);
        let answer = match probed {
            Probed::Answered(answer) => answer,
            Probed::Late(late) => {
                let due = tracked.map_or(Due::No, |tracked| {
                    let path = mount.path.display();
                    tracing::warn!(volume, %path, "a volume does not answer: it is not measured again until it does");
                    tracked.failing = true;
                    self.board.missed(&volume)
                });
                self.running.push(Box::pin(async move {
                    let probed = Probed::Answered(late.wait().await);
                    Done::Probed { volume, mount, started, probed }
                }));
                return due;
            }
        };
        // Unmounted meanwhile, or mounted anew.
        let Some(tracked) = tracked else { return Due::No };
        tracked.busy = false;
        let due = match answer {
            Ok(reading) => {
                if std::mem::take(&mut tracked.failing) {
                    tracing::info!(volume, "the volume is measured again");
                }
                self.board.measured(&volume, reading)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::debug!(volume, "the volume has just been unmounted");
                self.board.missed(&volume)
            }
            Err(error) => {
                if !std::mem::replace(&mut tracked.failing, true) {
                    tracing::warn!(volume, path = %mount.path.display(), %error, "cannot measure a volume");
                }
                self.board.missed(&volume)
            }
        };
        let pause = match self.board.pace(&volume) {
            Pace::Close => CLOSE.min(self.interval),
            Pace::Usual => self.interval,
        };
        tracked.measure_at = started + pause;
        self.measure_at = self.measure_at.min(tracked.measure_at);
        due
    }
}
