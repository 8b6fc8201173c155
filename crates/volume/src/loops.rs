//! Loop devices: attaching an image with direct I/O in one step, finding the device of an image, detaching.

use std::{
    ffi::c_int,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Component, Path, PathBuf},
    thread,
    time::Duration,
};

use linux_raw_sys::loop_device as kernel;
use rustix::{
    fs::{major, minor},
    io::Errno,
    ioctl::{self, Getter, IntegerSetter, IoctlOutput, NoArg, Opcode, Setter},
};

use crate::{Error, Result, untimed};

/// The logical block size of the devices, in bytes. Direct I/O must be aligned to the pool's device, whose blocks are
/// of this size at most, and guest filesystems work in blocks of this size anyway.
pub(crate) const BLOCK_SIZE: u32 = 4096;

/// How often a free device is looked for: somebody else may take the one that was free.
const ATTEMPTS: u32 = 64;

/// The major and the minor number of a block device.
pub(crate) type DeviceNumber = (u32, u32);

/// A device that has an image attached. It stays attached while this is held, and while it is mounted.
#[derive(Debug)]
pub(crate) struct Device {
    pub path: PathBuf,
    /// The device's number, as in the mount table.
    pub number: DeviceNumber,
    file: File,
}

/// The identity of a file: its filesystem's device number, and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: DeviceNumber,
    inode: u64,
}

impl Inode {
    fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io("find the image", path.display()))?;
        let device = metadata.dev();
        Ok(Self { device: (major(device), minor(device)), inode: metadata.ino() })
    }
}

/// When a device lets go of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detach {
    /// When nobody uses it any more, whatever becomes of us.
    WhenUnused,
    /// When it is asked to: between staging a block volume and a pod's opening it nobody does.
    WhenAsked,
}

/// Attaches an image to a free device: with direct I/O, so that pages are cached once and a full pool is an error at
/// the write that meets it; and in one step, so that nobody ever sees it half configured.
pub(crate) fn attach(image: &Path, detach: Detach) -> Result<Device> {
    let backing = untimed::open(image)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(Error::io("open", "/dev/loop-control"))?;
    for _ in 0..ATTEMPTS {
        let number = free(&control)?;
        renew(&control, number);
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // Another thread has just made it anew.
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(Error::io("open", path.display())(error)),
        };
        match configure(&file, &backing, detach) {
            Ok(()) => {
                let device = Device::new(path, file)?;
                device.require_direct_io(image)?;
                // A device keeps that from its former use.
                device.set_read_only(false)?;
                return Ok(device);
            }
            Err(Errno::BUSY) => {}
            Err(error) => return Err(Error::io("attach to a loop device", image.display())(error)),
        }
    }
    Err(Error::io("find a free loop device for", image.display())(Errno::BUSY))
}

/// The device that has this image attached, found by the image's inode: names differ from one mount namespace to
/// another, and change.
pub(crate) fn find(image: &Path) -> Result<Option<Device>> {
    let wanted = Inode::of(image)?;
    for name in attached(image)? {
        let path = Path::new("/dev").join(name);
        // Read-only, because closing a device that was open for writing makes udev look at it once more.
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(Error::io("open", path.display())(error)),
        };
        match backing(&file) {
            Ok((inode, _)) if inode == wanted => {
                let device = Device::new(path, file)?;
                device.require_direct_io(image)?;
                return Ok(Some(device));
            }
            Ok(_) | Err(Errno::NXIO) => {}
            Err(error) => return Err(Error::io("ask for the backing file of", path.display())(error)),
        }
    }
    Ok(None)
}

/// Has the loop device of that number an image attached, of whomever?
pub(crate) fn is_attached((major, minor): DeviceNumber) -> bool {
    Path::new(&format!("/sys/dev/block/{major}:{minor}/loop/backing_file")).exists()
}

/// Waits for a device to let go of its image, which the kernel does a moment after its last user is gone.
pub(crate) fn is_released(image: &Path) -> Result<bool> {
    const POLLS: u32 = 40;
    const INTERVAL: Duration = Duration::from_millis(25);
    for _ in 0..POLLS {
        if find(image)?.is_none() {
            return Ok(true);
        }
        thread::sleep(INTERVAL);
    }
    Ok(find(image)?.is_none())
}

/// The names of the devices that may have this image attached, so that those of others need not be opened.
fn attached(image: &Path) -> Result<Vec<String>> {
    let blocks = Path::new("/sys/block");
    let entries = fs::read_dir(blocks).map_err(Error::io("list", blocks.display()))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("loop"))
        .filter(|name| {
            // The file is there while the device is attached.
            fs::read_to_string(blocks.join(name).join("loop/backing_file"))
                .is_ok_and(|file| ends_alike(Path::new(file.trim_end().trim_end_matches(" (deleted)")), image))
        })
        .collect())
}

/// Do both paths end in the same name, in a directory of the same name? What comes before differs from one mount
/// namespace to another, and even the directory is not shown where that is what was mounted.
fn ends_alike(shown: &Path, path: &Path) -> bool {
    let names = |path: &Path| {
        let names = path.components().rev().filter(|part| matches!(part, Component::Normal(_)));
        names.take(2).map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>()
    };
    names(shown).iter().zip(names(path)).all(|(one, other)| *one == other)
}

fn gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::NOENT | Errno::NODEV))
}

impl Device {
    fn new(path: PathBuf, file: File) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::io("look at", path.display()))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::io("use as a block device", path.display())(io::Error::from(Errno::NOTBLK)));
        }
        let number = metadata.rdev();
        Ok(Self { path, number: (major(number), minor(number)), file })
    }

    /// The kernel falls back to buffered I/O without a word where the pool cannot do direct I/O.
    fn require_direct_io(&self, image: &Path) -> Result<()> {
        let (_, flags) = backing(&self.file).map_err(Error::io("ask for the state of", self.path.display()))?;
        if flags & kernel::LO_FLAGS_DIRECT_IO as u32 == 0 {
            return Err(Error::Buffered {
                device: self.path.display().to_string(),
                image: image.display().to_string(),
            });
        }
        Ok(())
    }

    /// Has the device refuse discards, by which a thick image would lose its bytes. The kernel does not take that back: a
    /// device that is attached later is made anew first.
    pub(crate) fn refuse_discards(&self) -> Result<()> {
        let (major, minor) = self.number;
        let path = format!("/sys/dev/block/{major}:{minor}/queue/discard_max_bytes");
        fs::write(&path, "0").map_err(Error::io("turn off discards by", path))
    }

    /// Is it on its way out: will it let go of its image when nobody uses it any more?
    pub(crate) fn detaches_when_unused(&self) -> Result<bool> {
        let (_, flags) = backing(&self.file).map_err(Error::io("ask for the state of", self.path.display()))?;
        Ok(flags & kernel::LO_FLAGS_AUTOCLEAR as u32 != 0)
    }

    /// Makes the device refuse writes, or accept them.
    #[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
    pub(crate) fn set_read_only(&self, read_only: bool) -> Result<()> {
        /// From `linux/fs.h`.
        const BLKROSET: Opcode = ioctl::opcode::none(0x12, 93);
        // SAFETY: BLKROSET reads a C `int`, which outlives the call.
        unsafe { ioctl::ioctl(&self.file, Setter::<BLKROSET, c_int>::new(c_int::from(read_only))) }
            .map_err(Error::io("make read-only or writable", self.path.display()))
    }

    /// Makes the device as large as its image, also while it is mounted.
    #[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
    pub(crate) fn refresh_size(&self) -> Result<()> {
        // SAFETY: LOOP_SET_CAPACITY takes no argument and touches no memory of this process.
        unsafe { ioctl::ioctl(&self.file, NoArg::<{ kernel::LOOP_SET_CAPACITY as Opcode }>::new()) }
            .map_err(Error::io("enlarge", self.path.display()))
    }

    /// Detaches the image as soon as nobody uses the device any more. Whoever gets the device next finds it writable.
    #[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
    pub(crate) fn detach(self) -> Result<()> {
        self.set_read_only(false)?;
        // SAFETY: LOOP_CLR_FD takes no argument and touches no memory of this process.
        match unsafe { ioctl::ioctl(&self.file, NoArg::<{ kernel::LOOP_CLR_FD as Opcode }>::new()) } {
            Ok(()) | Err(Errno::NXIO) => Ok(()),
            Err(error) => Err(Error::io("detach", self.path.display())(error)),
        }
    }
}

/// The number of a device that was free a moment ago.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
fn free(control: &File) -> Result<u32> {
    struct GetFree;
    // SAFETY: LOOP_CTL_GET_FREE takes no argument, touches no memory of this process, and returns the number.
    unsafe impl ioctl::Ioctl for GetFree {
        type Output = IoctlOutput;
        const IS_MUTATING: bool = false;
        fn opcode(&self) -> Opcode {
            kernel::LOOP_CTL_GET_FREE as Opcode
        }
        fn as_ptr(&mut self) -> *mut std::ffi::c_void {
            std::ptr::null_mut()
        }
        unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<IoctlOutput> {
            Ok(out)
        }
    }
    // SAFETY: as above.
    let number = unsafe { ioctl::ioctl(control, GetFree) }.map_err(Error::io("find", "a free loop device"))?;
    u32::try_from(number).map_err(|_| Error::io("find", "a free loop device")(Errno::NODEV))
}

/// Makes a free device anew if it refuses discards, as one does that has never been used, or has been used for a thick
/// volume: the kernel forgets the granularity of discards with their permission, and takes no permission without it
/// (`queue_max_discard_sectors_store`). Where that cannot be done, the device stays as it is.
#[expect(unsafe_code, reason = "ioctls that rustix has no functions for")]
fn renew(control: &File, number: u32) {
    type Remove = IntegerSetter<{ kernel::LOOP_CTL_REMOVE as Opcode }>;
    type Add = IntegerSetter<{ kernel::LOOP_CTL_ADD as Opcode }>;

    let discards = fs::read_to_string(format!("/sys/block/loop{number}/queue/discard_max_bytes"));
    if discards.is_ok_and(|most| most.trim() == "0") {
        let number = number as usize;
        // SAFETY: LOOP_CTL_REMOVE and LOOP_CTL_ADD take a device's number and touch no memory of this process.
        let renewed = unsafe {
            ioctl::ioctl(control, Remove::new_usize(number))
                .and_then(|()| ioctl::ioctl(control, Add::new_usize(number)))
        };
        if let Err(error) = renewed {
            tracing::debug!(number, %error, "a loop device was not made anew");
        }
    }
}

/// Attaches `backing` to `device` with everything set at once.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
fn configure(device: &File, backing: &File, detach: Detach) -> rustix::io::Result<()> {
    // SAFETY: the structure holds integers only, for which zero is a value.
    let mut config: kernel::loop_config = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd().cast_unsigned();
    config.block_size = BLOCK_SIZE;
    config.info.lo_flags = kernel::LO_FLAGS_DIRECT_IO as u32;
    if detach == Detach::WhenUnused {
        config.info.lo_flags |= kernel::LO_FLAGS_AUTOCLEAR as u32;
    }
    // SAFETY: LOOP_CONFIGURE reads a `loop_config`, which outlives the call.
    unsafe { ioctl::ioctl(device, Setter::<{ kernel::LOOP_CONFIGURE as Opcode }, _>::new(config)) }
}

/// What file a device has attached, and its flags; `ENXIO` if none.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
fn backing(device: &File) -> rustix::io::Result<(Inode, u32)> {
    type Status = Getter<{ kernel::LOOP_GET_STATUS64 as Opcode }, kernel::loop_info64>;
    // SAFETY: LOOP_GET_STATUS64 fills a `loop_info64`, of integers only.
    let info = unsafe { ioctl::ioctl(device, Status::new()) }?;
    // The kernel gives the number in the 32-bit encoding of its `huge_encode_dev`, which stat(2) uses as well.
    let device = (major(info.lo_device), minor(info.lo_device));
    Ok((Inode { device, inode: info.lo_inode }, info.lo_flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_two_volumes_are_told_apart_by_their_directories() {
        let image = Path::new("/var/lib/orlop/pool/volumes/vol-1/image");
        for alike in ["/volumes/vol-1/image", "/elsewhere/vol-1/image", "/image"] {
            assert!(ends_alike(Path::new(alike), image), "{alike}");
        }
        for other in ["/volumes/vol-2/image", "/volumes/vol-1/volume.json"] {
            assert!(!ends_alike(Path::new(other), image), "{other}");
        }
    }
}
