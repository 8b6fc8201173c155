//! The driver is killed at each of its steps in turn; then the same call, made again by a new driver, must complete what
//! was begun, with the data as it was and nothing left behind. The driver is this program, started once more: it does
//! one thing to the pool that it is told of, and kills itself at the step that it is told of.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, Filesystem, Limits, NewVolume, Provisioning, Step, Storage, Volume, VolumeId, Volumes as _, unobserved,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::world::{self, Folder, attached_below, mounts_below, new, options};

const FOLDER: &str = "ORLOP_TEST_FOLDER";
const STEP: &str = "ORLOP_TEST_STEP";
const FILESYSTEM: &str = "ORLOP_TEST_FILESYSTEM";

const GROWN: Bytes = Bytes(1 << 30);

/// What the driver is doing when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Stage,
    Publish,
    Grow,
    Unpublish,
    Unstage,
    Delete,
}

/// In the order of a volume's life.
const CALLS: [Call; 7] =
    [Call::Create, Call::Stage, Call::Publish, Call::Grow, Call::Unpublish, Call::Unstage, Call::Delete];

/// The call in which the driver takes that step.
fn call_of(step: Step) -> Call {
    match step {
        Step::CreateReserved | Step::CreateFormatted | Step::CreateRecorded | Step::CreateNamed => Call::Create,
        Step::StageAttached | Step::StageMounted => Call::Stage,
        Step::PublishBound => Call::Publish,
        Step::GrowImage | Step::GrowDevice | Step::GrowFilesystem | Step::GrowRecorded => Call::Grow,
        Step::UnpublishUnmounted => Call::Unpublish,
        Step::UnstageUnmounted => Call::Unstage,
        Step::DeleteRenamed | Step::DeleteRemoved => Call::Delete,
    }
}

pub fn tests() -> Vec<(String, impl FnOnce() + Send + 'static)> {
    let each = |filesystem: Filesystem| {
        let name = move |step| format!("{filesystem} killed at {step} and asked again");
        Step::ALL.into_iter().map(move |step| (name(step), move || killed_at(step, filesystem)))
    };
    each(Filesystem::Xfs).chain(each(Filesystem::Ext4)).collect()
}

fn killed_at(step: Step, filesystem: Filesystem) {
    let fatal = call_of(step);
    let folder = Folder::new();
    let scene = Scene { folder: folder.path().to_owned(), filesystem };
    for call in CALLS {
        if call == fatal {
            let killed = Command::new(env::current_exe().unwrap())
                .envs([(FOLDER, folder.path().as_os_str()), (STEP, step.to_string().as_ref())])
                .env(FILESYSTEM, scene.filesystem.name())
                .status()
                .unwrap();
            assert_eq!(killed.signal(), Some(Signal::KILL.as_raw()), "the driver does not reach {step}: {killed}");
        }
        scene.carry_out(call, &world::open(folder.path(), unobserved()));
        scene.check(call);
    }
}

fn id() -> VolumeId {
    VolumeId::derive(&world::tag(), "v")
}

struct Scene {
    folder: PathBuf,
    filesystem: Filesystem,
}

impl Scene {
    fn wanted(&self) -> NewVolume {
        new("v", Bytes(512 << 20), self.filesystem)
    }

    fn staged(&self) -> PathBuf {
        self.folder.join("staged")
    }

    fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    fn carry_out(&self, call: Call, volumes: &dyn Storage) {
        let (id, staged, target) = (id(), self.staged(), self.target());
        match call {
            Call::Create => drop(volumes.create(&self.wanted()).unwrap()),
            Call::Stage => {
                fs::create_dir_all(&staged).unwrap();
                volumes.stage(&id, &staged, &options()).unwrap();
            }
            Call::Publish => volumes.publish(&id, &staged, &target, true).unwrap(),
            Call::Grow if self.filesystem == Filesystem::Xfs => assert_eq!(volumes.expand(&id, GROWN).unwrap(), GROWN),
            // Where the kernel does not let it grow online, it grows when it is staged.
            Call::Grow => {
                self.carry_out(Call::Unpublish, volumes);
                self.carry_out(Call::Unstage, volumes);
                assert_eq!(volumes.expand(&id, GROWN).unwrap(), GROWN);
                self.carry_out(Call::Stage, volumes);
                self.carry_out(Call::Publish, volumes);
            }
            Call::Unpublish => volumes.unpublish(&id, &target).unwrap(),
            Call::Unstage => volumes.unstage(&id, &staged).unwrap(),
            Call::Delete => volumes.delete(&id).unwrap(),
        }
    }

    /// What must hold after a call, whatever happened before.
    fn check(&self, after: Call) {
        let (staged, target) = (self.staged(), self.target());
        let volumes = world::open(&self.folder, unobserved());
        let data = staged.join("data");
        match after {
            Call::Create => {
                assert_eq!(volumes.list().unwrap().len(), 1);
                assert_eq!(attached_below(&self.folder), 1, "the pool");
            }
            Call::Stage => {
                assert_eq!(mounts_below(&staged).len(), 1, "mounted once");
                assert_eq!(attached_below(&self.folder), 2, "the pool and the volume");
                fs::write(&data, "kept").unwrap();
            }
            Call::Publish => {
                assert_eq!(mounts_below(&target).len(), 1, "bound once");
                assert!(fs::write(target.join("f"), "x").is_err(), "read-only");
            }
            Call::Grow => {
                let usage = volumes.usage(&id(), &staged).unwrap();
                assert!(usage.total.0 > GROWN.0 / 10 * 9, "{}", usage.total.human());
                assert_eq!(fs::read_to_string(&data).unwrap(), "kept");
            }
            Call::Unpublish => assert!(!target.exists()),
            Call::Unstage => {
                assert!(mounts_below(&staged).is_empty());
                assert_eq!(attached_below(&self.folder), 1, "the pool");
                let [Volume { size: GROWN, .. }] = volumes.list().unwrap()[..] else { panic!("one volume, grown") };
            }
            Call::Delete => {
                assert!(volumes.list().unwrap().is_empty());
                assert_eq!(fs::read_dir(self.folder.join("pool/volumes")).unwrap().count(), 0, "nothing is left");
            }
        }
    }
}

pub fn is_child() -> bool {
    env::var_os(STEP).is_some()
}

/// What the driver that is to be killed does.
pub fn child() -> ! {
    let text = |name| env::var(name).unwrap();
    let fatal: Step = text(STEP).parse().unwrap();
    let folder = text(FOLDER);
    let scene = Scene { folder: folder.clone().into(), filesystem: text(FILESYSTEM).parse().unwrap() };
    let observer = move |step| {
        if step == fatal {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    };
    scene.carry_out(call_of(fatal), &world::open(Path::new(&folder), Box::new(observer)));
    exit(0);
}
