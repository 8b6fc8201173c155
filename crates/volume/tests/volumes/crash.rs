//! The driver is killed at each of its steps in turn; then the same call, made again by a new driver, must complete what
//! was begun, with the data as it was and nothing left behind. The driver is this program, started once more: it does
//! one thing to the pool that it is told of, and kills itself at the step that it is told of. Where it copies a volume,
//! somebody writes to the volume meanwhile, and must not be held up for long.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, Filesystem, GroupId, NewVolume, SnapshotId, Source, Step, Storage, Volume, VolumeId, unobserved,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::{
    world::{self, Folder, attached_below, holding, mounts_below, options},
    writer::{Writer, holds},
};

const FOLDER: &str = "ORLOP_TEST_FOLDER";
const STEP: &str = "ORLOP_TEST_STEP";
const CONTENT: &str = "ORLOP_TEST_CONTENT";

const BORN: Bytes = Bytes(512 << 20);
const GROWN: Bytes = Bytes(1 << 30);

const CONTENTS: [Content; 4] = [
    Content::Filesystem(Filesystem::Xfs),
    Content::Filesystem(Filesystem::Ext4),
    Content::Filesystem(Filesystem::Btrfs),
    Content::Block,
];

/// What the driver is doing when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Stage,
    Publish,
    Snapshot,
    Group,
    Clone,
    Grow,
    DeleteSnapshot,
    DeleteGroup,
    Unpublish,
    Unstage,
    Delete,
}

/// In the order of a volume's life.
const CALLS: [Call; 12] = [
    Call::Create,
    Call::Stage,
    Call::Publish,
    Call::Snapshot,
    Call::Group,
    Call::Clone,
    Call::Grow,
    Call::DeleteSnapshot,
    Call::DeleteGroup,
    Call::Unpublish,
    Call::Unstage,
    Call::Delete,
];

/// The call in which the driver takes that step.
fn call_of(step: Step) -> Call {
    match step {
        Step::CreateReserved | Step::CreateFormatted | Step::CreateRecorded | Step::CreateNamed => Call::Create,
        Step::CloneFrozen | Step::CloneCopied | Step::CloneIdentified => Call::Clone,
        Step::StageAttached | Step::StageMounted => Call::Stage,
        Step::PublishBound => Call::Publish,
        Step::SnapshotIntended
        | Step::SnapshotFrozen
        | Step::SnapshotCloned
        | Step::SnapshotThawed
        | Step::SnapshotSynced
        | Step::SnapshotNamed => Call::Snapshot,
        Step::GroupIntended
        | Step::GroupFrozen
        | Step::GroupCloned
        | Step::GroupThawed
        | Step::GroupSynced
        | Step::GroupNamed => Call::Group,
        Step::GrowImage | Step::GrowDevice | Step::GrowFilesystem | Step::GrowRecorded => Call::Grow,
        Step::SnapshotDeleteRenamed | Step::SnapshotDeleteRemoved => Call::DeleteSnapshot,
        Step::GroupDeleteRenamed | Step::GroupDeleteRemoved => Call::DeleteGroup,
        Step::UnpublishUnmounted => Call::Unpublish,
        Step::UnstageUnmounted | Step::UnstageDetached => Call::Unstage,
        Step::DeleteRenamed | Step::DeleteRemoved => Call::Delete,
    }
}

impl Call {
    /// Is it made before or after a driver that is killed in `fatal`? Each costs time.
    fn goes_with(self, fatal: Self) -> bool {
        match self {
            Self::Create | Self::Stage | Self::Publish | Self::Unpublish | Self::Unstage | Self::Delete => true,
            Self::Snapshot => fatal == Self::DeleteSnapshot,
            Self::Group => fatal == Self::DeleteGroup,
            Self::DeleteSnapshot => fatal == Self::Snapshot,
            Self::DeleteGroup => fatal == Self::Group,
            Self::Clone | Self::Grow => false,
        }
    }
}

/// Does the driver take that step for that content?
fn happens(step: Step, content: Content) -> bool {
    let is_raw = content == Content::Block;
    match call_of(step) {
        // A raw block volume in use is in no group, and has no filesystem to grow.
        Call::Group | Call::DeleteGroup => !is_raw,
        _ => !(is_raw && matches!(step, Step::GrowFilesystem | Step::GrowRecorded)),
    }
}

pub fn tests() -> Vec<(String, impl FnOnce() + Send + 'static)> {
    let mut tests = Vec::new();
    for content in CONTENTS {
        for step in Step::ALL.into_iter().filter(|step| happens(*step, content)) {
            tests.push((format!("{content} killed at {step} and asked again"), move || killed_at(step, content)));
        }
    }
    tests
}

fn killed_at(step: Step, content: Content) {
    let fatal = call_of(step);
    let folder = Folder::new();
    let scene = Scene { folder: folder.path().to_owned(), content };
    for call in CALLS.into_iter().filter(|call| *call == fatal || call.goes_with(fatal)) {
        let is_copy = matches!(call, Call::Snapshot | Call::Group | Call::Clone);
        let writer = is_copy.then(|| Writer::start(&scene.log()));
        if call == fatal {
            let killed = Command::new(env::current_exe().unwrap())
                .envs([(FOLDER, folder.path().as_os_str()), (STEP, step.to_string().as_ref())])
                .env(CONTENT, content.to_string())
                .env(world::WATCHDOG, world::watchdog())
                .status()
                .unwrap();
            assert_eq!(killed.signal(), Some(Signal::KILL.as_raw()), "the driver does not reach {step}: {killed}");
            if let Some(writer) = &writer {
                writer.goes_on();
            }
        }
        scene.carry_out(call, &world::open(folder.path(), unobserved()));
        if let Some(writer) = writer {
            writer.goes_on();
            writer.stop();
        }
        scene.check(call);
    }
}

fn id() -> VolumeId {
    VolumeId::derive(&world::tag(), "v")
}

fn snapshot_id() -> SnapshotId {
    SnapshotId::derive(&world::tag(), "s")
}

fn group_id() -> GroupId {
    GroupId::derive(&world::tag(), "g")
}

struct Scene {
    folder: PathBuf,
    content: Content,
}

impl Scene {
    fn wanted(&self) -> NewVolume {
        holding("v", BORN, self.content)
    }

    fn staged(&self) -> PathBuf {
        self.folder.join("staged")
    }

    fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// What is written to while the volume is copied.
    fn log(&self) -> PathBuf {
        match self.content {
            Content::Filesystem(_) => self.staged().join("log"),
            Content::Block => self.target(),
        }
    }

    fn carry_out(&self, call: Call, volumes: &dyn Storage) {
        let (id, staged, target) = (id(), self.staged(), self.target());
        match call {
            Call::Create => drop(volumes.create(&self.wanted()).unwrap()),
            Call::Stage => {
                fs::create_dir_all(&staged).unwrap();
                volumes.stage(&id, &staged, &options()).unwrap();
            }
            Call::Publish => {
                let read_only = self.content != Content::Block;
                volumes.publish(&id, &staged, &target, read_only).unwrap();
            }
            Call::Snapshot => drop(volumes.snapshot("s", &id).unwrap()),
            Call::Group => {
                let other = volumes.create(&NewVolume { name: "other".into(), ..self.wanted() }).unwrap();
                drop(volumes.snapshot_group("g", &[id, other.id]).unwrap());
            }
            Call::Clone => drop(volumes.create(&self.copy(Source::Volume(id))).unwrap()),
            // Where the kernel does not let it grow online, it grows when it is staged.
            Call::Grow if self.content == Content::Filesystem(Filesystem::Ext4) => {
                self.carry_out(Call::Unpublish, volumes);
                self.carry_out(Call::Unstage, volumes);
                assert_eq!(volumes.expand(&id, GROWN).unwrap(), GROWN);
                self.carry_out(Call::Stage, volumes);
                self.carry_out(Call::Publish, volumes);
            }
            Call::Grow => assert_eq!(volumes.expand(&id, GROWN).unwrap(), GROWN),
            Call::DeleteSnapshot => volumes.delete_snapshot(&snapshot_id()).unwrap(),
            Call::DeleteGroup => volumes.delete_group(&group_id()).unwrap(),
            Call::Unpublish => volumes.unpublish(&id, &target).unwrap(),
            Call::Unstage => volumes.unstage(&id, &staged).unwrap(),
            Call::Delete => {
                for volume in volumes.list().unwrap() {
                    volumes.delete(&volume.id).unwrap();
                }
            }
        }
    }

    fn copy(&self, source: Source) -> NewVolume {
        NewVolume { name: "copy".into(), source: Some(source), ..self.wanted() }
    }

    /// What must hold after a call, whatever happened before.
    fn check(&self, after: Call) {
        let (staged, target) = (self.staged(), self.target());
        let volumes: &dyn Storage = &world::open(&self.folder, unobserved());
        let data = staged.join("data");
        let is_raw = self.content == Content::Block;
        match after {
            Call::Create => {
                assert_eq!(volumes.list().unwrap().len(), 1);
                attached_below(&self.folder, 1, "the pool");
            }
            Call::Stage => {
                assert_eq!(mounts_below(&staged).len(), 1, "mounted once");
                attached_below(&self.folder, 2, "the pool and the volume");
                if !is_raw {
                    fs::write(&data, "kept").unwrap();
                }
            }
            Call::Publish => {
                assert_eq!(mounts_below(&target).len(), 1, "bound once");
                assert!(is_raw || fs::write(target.join("f"), "x").is_err(), "read-only");
            }
            Call::Snapshot => self.check_copy(volumes, &self.copy(Source::Snapshot(snapshot_id()))),
            Call::Group => {
                let group = volumes.get_group(&group_id()).unwrap();
                assert_eq!(volumes.list_snapshots().unwrap().len(), 2);
                let of_volume = group.snapshots.into_iter().find(|snapshot| snapshot.volume == id()).unwrap();
                self.check_copy(volumes, &self.copy(Source::Snapshot(of_volume.id)));
            }
            Call::Clone => self.check_copy(volumes, &self.copy(Source::Volume(id()))),
            Call::Grow if is_raw => assert_eq!(volumes.get(&id()).unwrap().size, GROWN),
            Call::Grow => {
                let usage = volumes.usage(&id(), &staged).unwrap();
                assert!(usage.total.0 > GROWN.0 / 10 * 9, "{}", usage.total.human());
                assert_eq!(fs::read_to_string(&data).unwrap(), "kept");
            }
            Call::DeleteSnapshot | Call::DeleteGroup => {
                assert!(volumes.list_snapshots().unwrap().is_empty());
                self.nothing_is_left_in(&["snapshots", "groups"]);
            }
            Call::Unpublish => assert!(!target.exists()),
            Call::Unstage => {
                assert!(mounts_below(&staged).is_empty());
                attached_below(&self.folder, 1, "the pool");
            }
            Call::Delete => {
                assert!(volumes.list().unwrap().is_empty());
                self.nothing_is_left_in(&["volumes", "snapshots", "groups"]);
            }
        }
    }

    /// Puts a copy beside its source, and sees that it has all that was written before it was asked for.
    fn check_copy(&self, volumes: &dyn Storage, wanted: &NewVolume) {
        let copy: Volume = volumes.create(wanted).unwrap();
        let (staged, target) = (self.folder.join("copy"), self.folder.join("copy-target"));
        fs::create_dir(&staged).unwrap();
        volumes.stage(&copy.id, &staged, &options()).unwrap();
        volumes.publish(&copy.id, &staged, &target, true).unwrap();
        match self.content {
            Content::Filesystem(_) => {
                assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "kept");
                holds(&target.join("log"), Writer::LEAST);
            }
            Content::Block => holds(&target, Writer::LEAST),
        }
        volumes.unpublish(&copy.id, &target).unwrap();
        volumes.unstage(&copy.id, &staged).unwrap();
        attached_below(&self.folder, 2, "the pool and the volume");
    }

    fn nothing_is_left_in(&self, directories: &[&str]) {
        for directory in directories {
            let left: Vec<_> = fs::read_dir(self.folder.join("pool").join(directory)).unwrap().collect();
            assert!(left.is_empty(), "{left:?}");
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
    let scene = Scene { folder: folder.clone().into(), content: content_of(&text(CONTENT)) };
    let observer = move |step| {
        if step == fatal {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    };
    scene.carry_out(call_of(fatal), &world::open(Path::new(&folder), Box::new(observer)));
    exit(0);
}

fn content_of(text: &str) -> Content {
    CONTENTS.into_iter().find(|content| content.to_string() == text).unwrap()
}
