//! Measures one filesystem, with a deadline. The system call on a dead network mount does not return, so each runs on
//! a thread that may be given up: a few threads measure, those that are stuck are replaced up to a limit, and nobody
//! but the volume concerned waits for them.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use orlop_api::{Bytes, Count};
use orlop_planner::Capacity;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    counters::{self, Counters, DEVICES},
    mounts::Mount,
    pressure::{PodCgroups, Stalls},
};

/// How many filesystems are measured at the same time.
const AT_ONCE: usize = 4;

/// How many threads may be stuck besides. With that many, further stuck ones take from [`AT_ONCE`].
const STUCK: usize = 60;

/// A filesystem as it was at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked for: what was measured is no older, however late the answer comes.
    pub at: Timestamp,
    /// All bytes.
    pub total: Bytes,
    /// What an unprivileged writer may still write.
    pub available: Bytes,
    /// All inodes and the free ones; none for a filesystem that does not count them.
    pub inodes: Option<Capacity<Count>>,
    /// What its device has done; none where it is on none, or that cannot be read.
    pub counters: Option<Counters>,
    /// For how long its pod has waited for I/O; none where that was not asked for, or the kernel does not say.
    pub stalls: Option<Stalls>,
}

/// Measures a filesystem, however long that takes.
pub trait Measure: Send + Sync + 'static {
    /// The filesystem mounted by `mount`, and where `pressure` is set how its pod waits. Fails when it is no longer mounted
    /// there.
    fn measure(&self, mount: &Mount, pressure: bool) -> io::Result<Reading>;
}

/// Measures by `statvfs`.
#[derive(Debug, Clone)]
pub struct Statvfs {
    /// Where it is counted how pods wait.
    pub cgroups: PodCgroups,
}

impl Measure for Statvfs {
    fn measure(&self, mount: &Mount, pressure: bool) -> io::Result<Reading> {
        let at = Timestamp::now();
        let found = rustix::fs::statvfs(&mount.path)?;
        // What was unmounted in between leaves its directory behind, and the numbers would be those of the disk below
        // it. A mount that is there afterwards was there before.
        ensure_mounted(mount)?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(found.f_frsize));
        let inodes = Capacity { total: Count(found.f_files), free: Count(found.f_ffree) };
        Ok(Reading {
            at,
            total: bytes(found.f_blocks),
            available: bytes(found.f_bavail),
            inodes: (found.f_files > 0).then_some(inodes),
            // How full a volume is matters more, and is known also without them.
            counters: counters::read(Path::new(DEVICES), mount.device).unwrap_or_default(),
            stalls: if pressure { self.cgroups.stalls(&mount.pod) } else { None },
        })
    }
}

fn ensure_mounted(mount: &Mount) -> io::Result<()> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(CWD, &mount.path, flags, StatxFlags::MNT_ID)?;
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel does not number mounts: it must be 5.8 or newer",
        ));
    }
    if found.stx_mnt_id != mount.id {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is no longer mounted"));
    }
    Ok(())
}

/// Threads that measure.
pub struct Prober {
    shared: Arc<Shared>,
    at_once: Arc<Semaphore>,
    stuck: Arc<Semaphore>,
    deadline: Duration,
}

struct Shared {
    measure: Box<dyn Measure>,
    /// Where threads that wait for work take it.
    idle: Mutex<Vec<mpsc::SyncSender<Job>>>,
}

struct Job {
    mount: Mount,
    pressure: bool,
    reply: oneshot::Sender<io::Result<Reading>>,
}

/// How a measurement went.
pub enum Probed {
    /// It was measured, or it cannot be.
    Answered(io::Result<Reading>),
    /// The deadline passed.
    Late(LateAnswer),
}

/// A measurement that has taken longer than its deadline and goes on.
pub struct LateAnswer {
    answer: oneshot::Receiver<io::Result<Reading>>,
    _place: OwnedSemaphorePermit,
}

impl LateAnswer {
    /// Waits for as long as it takes.
    pub async fn wait(self) -> io::Result<Reading> {
        answered(self.answer.await)
    }
}

fn answered(answer: Result<io::Result<Reading>, oneshot::error::RecvError>) -> io::Result<Reading> {
    answer.unwrap_or_else(|_| Err(io::Error::other("the thread that measured it panicked")))
}

impl Prober {
    /// What takes longer than `deadline` is late.
    pub fn new(measure: impl Measure, deadline: Duration) -> Self {
        let shared = Shared { measure: Box::new(measure), idle: Mutex::default() };
        Self {
            shared: Arc::new(shared),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            stuck: Arc::new(Semaphore::new(STUCK)),
            deadline,
        }
    }

    /// Measures a volume, with how its pod waits where that is asked for, or says that it is late.
    pub async fn measure(&self, mount: Mount, pressure: bool) -> Probed {
        let Ok(running) = Arc::clone(&self.at_once).acquire_owned().await else {
            return Probed::Answered(Err(io::Error::other("nothing is measured any more")));
        };
        let (reply, mut answer) = oneshot::channel();
        if let Err(error) = self.start(Job { mount, pressure, reply }) {
            return Probed::Answered(Err(error));
        }
        if let Ok(answer) = tokio::time::timeout(self.deadline, &mut answer).await {
            return Probed::Answered(answered(answer));
        }
        // Makes room for the others. Where there is no place for one more stuck thread, it keeps the one it has.
        let place = Arc::clone(&self.stuck).try_acquire_owned().unwrap_or(running);
        Probed::Late(LateAnswer { answer, _place: place })
    }

    /// Hands a job to an idle thread, or to a new one: never more than there are permits, since whoever holds a job
    /// holds one.
    fn start(&self, job: Job) -> io::Result<()> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let job = match idle {
            Some(thread) => match thread.try_send(job) {
                Ok(()) => return Ok(()),
                // Its thread has panicked.
                Err(mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        let shared = Arc::downgrade(&self.shared);
        thread::Builder::new().name("measure".to_owned()).spawn(move || work(job, &shared))?;
        Ok(())
    }
}

/// Does the job, and further ones until enough threads are idle or nobody is left who could ask.
fn work(mut job: Job, shared: &Weak<Shared>) {
    loop {
        let Some(present) = shared.upgrade() else { return };
        let answer = present.measure.measure(&job.mount, job.pressure);
        // Idle before it answers, so that whoever measures next finds this thread and starts no other. The idle list
        // has the only sender: when the list goes, so does this thread.
        let next = wait_for_work(&present);
        drop(present);
        // Nobody may be listening any more.
        let _ = job.reply.send(answer);
        job = match next.map(|jobs| jobs.recv()) {
            Some(Ok(next)) => next,
            Some(Err(mpsc::RecvError)) | None => return,
        };
    }
}

/// Joins the idle threads; none when there are enough.
fn wait_for_work(shared: &Shared) -> Option<mpsc::Receiver<Job>> {
    let mut idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() >= AT_ONCE {
        return None;
    }
    let (thread, jobs) = mpsc::sync_channel(1);
    idle.push(thread);
    Some(jobs)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::agent::counters::Device;

    /// Measures at once, but for paths below `/dead`, where it hangs until the gate is opened.
    #[derive(Clone, Default)]
    struct Network(Arc<(Mutex<bool>, Condvar, AtomicUsize)>);

    impl Network {
        fn open(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }
        fn hanging(&self) -> usize {
            self.0.2.load(Ordering::SeqCst)
        }
    }

    impl Measure for Network {
        fn measure(&self, mount: &Mount, _: bool) -> io::Result<Reading> {
            let at = Timestamp::now();
            if mount.path.starts_with("/dead") {
                let (gate, changed, hanging) = &*self.0;
                hanging.fetch_add(1, Ordering::SeqCst);
                drop(changed.wait_while(gate.lock().unwrap(), |open| !*open).unwrap());
                hanging.fetch_sub(1, Ordering::SeqCst);
            }
            Ok(Reading { at, total: Bytes::GIB, available: Bytes::MIB, inodes: None, counters: None, stalls: None })
        }
    }

    fn mount(path: &str) -> Mount {
        Mount { path: path.into(), id: 1, device: Device { major: 0, minor: 1 }, pod: "uid".to_owned() }
    }

    const DEADLINE: Duration = Duration::from_millis(20);

    /// Measures `count` dead mounts until all of them are late.
    async fn all_late(prober: &Prober, count: usize) -> Vec<LateAnswer> {
        let measure = |number| prober.measure(mount(&format!("/dead/{number}")), false);
        let late = |answer| match answer {
            Probed::Late(late) => late,
            Probed::Answered(answer) => panic!("a dead mount answered: {answer:?}"),
        };
        let answers = futures::future::join_all((0..count).map(measure));
        let answers = tokio::time::timeout(Duration::from_secs(10), answers).await.expect("none waits for another");
        answers.into_iter().map(late).collect()
    }

    async fn measure(prober: &Prober, mount: Mount) -> io::Result<Reading> {
        match prober.measure(mount, true).await {
            Probed::Answered(answer) => answer,
            Probed::Late(_) => panic!("it is late"),
        }
    }

    #[tokio::test]
    async fn more_dead_mounts_than_threads_do_not_hold_up_the_others() {
        let network = Network::default();
        let prober = Prober::new(network.clone(), DEADLINE);
        let late = all_late(&prober, 2 * AT_ONCE).await;
        measure(&prober, mount("/alive")).await.unwrap();
        assert_eq!(network.hanging(), late.len(), "each dead mount keeps one thread");
        network.open();
        for answer in late {
            answer.wait().await.unwrap();
        }
    }

    #[tokio::test]
    async fn stuck_threads_are_never_more_than_the_limit() {
        let network = Network::default();
        let prober = Prober::new(network.clone(), DEADLINE);
        let late = all_late(&prober, AT_ONCE + STUCK).await;
        let one_more = tokio::time::timeout(DEADLINE * 4, prober.measure(mount("/dead/more"), false)).await;
        assert!(one_more.is_err(), "it waits for a thread");
        assert_eq!(network.hanging(), AT_ONCE + STUCK);
        network.open();
        for answer in late {
            answer.wait().await.unwrap();
        }
        measure(&prober, mount("/alive")).await.unwrap();
    }

    #[tokio::test]
    async fn threads_are_used_again_and_few_stay_idle() {
        let prober = Prober::new(Network::default(), Duration::from_secs(10));
        for _ in 0..3 {
            let mounts = (0..50).map(|number| measure(&prober, mount(&format!("/alive/{number}"))));
            futures::future::try_join_all(mounts).await.unwrap();
        }
        assert!(prober.shared.idle.lock().unwrap().len() <= AT_ONCE);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_the_mount_it_was_is_not_measured() {
        let prober = Prober::new(
            Statvfs { cgroups: PodCgroups::new(Path::new("/nowhere"), Path::new("/")) },
            Duration::from_secs(10),
        );
        let stat = rustix::fs::statx(CWD, "/proc", AtFlags::empty(), StatxFlags::MNT_ID).unwrap();
        let proc = Mount { id: stat.stx_mnt_id, ..mount("/proc") };
        measure(&prober, proc.clone()).await.unwrap();
        let gone = Mount { id: proc.id + 100_000, ..proc };
        assert_eq!(measure(&prober, gone).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
