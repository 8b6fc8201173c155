//! The watchdog: a process that thaws what the driver has frozen, when the driver dies or is stuck before it has done so
//! itself. It must be a process, and in a container of its own, because all others in a container die with its first.
//!
//! The driver connects to a Unix socket and sends the open directories of what it is about to freeze, with the time that
//! it may take. It freezes only when the watchdog has answered, and says so when it has thawed all. If the connection
//! ends without that, or the time is up, the watchdog thaws.

use std::{
    convert::Infallible,
    fs,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    thread,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::{Error, Result, freeze};

/// How long the driver may take from arming the watchdog to thawing. What it does meanwhile takes milliseconds; nobody's
/// writes should wait for longer than this.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long each side waits for an answer of the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most directories that the kernel passes in one message (`SCM_MAX_FD`).
const MOST: usize = 253;

/// What the watchdog answers when it is ready to thaw.
const ARMED: u8 = b'a';
/// What the driver says when it has thawed all.
const DONE: u8 = b'd';

/// Serves on the socket at that path, which is replaced. Returns only if it cannot serve.
pub fn serve(socket: &Path) -> Result<Infallible> {
    let fail = |action| Error::io(action, socket.display());
    match fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail("remove the former")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(fail("listen on"))?;
    // Whoever may connect can have anything thawed that it may open.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(fail("protect"))?;
    loop {
        let (driver, _) = listener.accept().map_err(fail("accept a connection on"))?;
        // One for each snapshot that is being taken, of which the driver takes few at a time.
        thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                if let Err(error) = watch(driver) {
                    tracing::warn!(%error, "the driver was not understood, and will not freeze");
                }
            })
            .map_err(fail("start a thread for"))?;
    }
}

/// Looks after one connection.
fn watch(mut driver: UnixStream) -> io::Result<()> {
    /// How often it is thawed after the time is up: the freezing itself may be what took so long.
    const AGAIN: Duration = Duration::from_secs(1);

    driver.set_read_timeout(Some(PATIENCE))?;
    driver.set_write_timeout(Some(PATIENCE))?;
    let (time, directories) = receive(&driver)?;
    driver.set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
    driver.write_all(&[ARMED])?;
    loop {
        let mut said = [0];
        match driver.read(&mut said) {
            Ok(1) if said == [DONE] => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thaw(&directories, "the driver took too long");
                driver.set_read_timeout(Some(AGAIN))?;
            }
            Ok(_) | Err(_) => {
                thaw(&directories, "the driver is gone");
                return Ok(());
            }
        }
    }
}

fn thaw(directories: &[OwnedFd], why: &str) {
    for directory in directories {
        match freeze::thaw(directory) {
            Ok(true) => tracing::warn!(why, "thawed a filesystem"),
            // Not frozen yet, or thawed again.
            Ok(false) => {}
            Err(error) => tracing::error!(%error, why, "cannot thaw a filesystem"),
        }
    }
}

/// Receives the time that the driver may take, in milliseconds, and the directories.
fn receive(driver: &UnixStream) -> io::Result<(Duration, Vec<OwnedFd>)> {
    let mut time = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(driver, &mut [IoSliceMut::new(&mut time)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let directories: Vec<_> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(directories) => Some(directories),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes != time.len() || directories.is_empty() {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok((Duration::from_millis(u32::from_le_bytes(time).into()), directories))
}

/// The driver's end: while this is held, the watchdog thaws what was handed to it if this process dies, or after
/// [`DEADLINE`].
#[derive(Debug)]
pub(crate) struct Guard(UnixStream);

impl Guard {
    /// Hands the directories to the watchdog, and returns when it is ready.
    pub(crate) fn arm(socket: Option<&Path>, directories: &[BorrowedFd<'_>]) -> Result<Self> {
        let Some(socket) = socket else {
            return Err(Error::NoWatchdog("none is configured, so start one and name its socket".into()));
        };
        if directories.len() > MOST {
            return Err(Error::NoWatchdog(format!("it takes {MOST} volumes at a time: take smaller groups")));
        }
        let silent = |error| Error::NoWatchdog(format!("it does not answer at {} ({error})", socket.display()));
        let connect = || -> io::Result<Self> {
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            send(&stream, directories)?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            if answer == [ARMED] { Ok(Self(stream)) } else { Err(ErrorKind::InvalidData.into()) }
        };
        connect().map_err(silent)
    }

    /// Tells the watchdog that all is thawed, and waits for it to close the directories, which could not be unmounted
    /// otherwise.
    pub(crate) fn release(mut self) {
        let closed = self.0.write_all(&[DONE]).and_then(|()| self.0.read(&mut [0]));
        if let Err(error) = closed {
            tracing::warn!(%error, "the watchdog does not answer any more");
        }
    }
}

fn send(stream: &UnixStream, directories: &[BorrowedFd<'_>]) -> io::Result<()> {
    let milliseconds = u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX).to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(directories)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    sendmsg(stream, &[IoSlice::new(&milliseconds)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
