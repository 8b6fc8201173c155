//! How work on a bed fails, each with what the user can do about it.

use std::{io, path::PathBuf, time::Duration};

use super::doctor::Check;

/// A failure of `up`, `down` or what they consist of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a name that a bed can have.
    #[error(
        "{0:?} cannot name a cluster: use up to 20 lowercase letters, digits and hyphens, not beginning or ending with a hyphen"
    )]
    Name(String),
    /// The machine lacks something.
    #[error("this machine cannot run a cluster yet:{}", list(.0))]
    Machine(Vec<Check>),
    /// There is no bed of this name.
    #[error("there is no cluster named {0} on this machine")]
    Absent(String),
    /// A bed never loses nodes while it runs.
    #[error("cluster {name} has {existing} nodes; it cannot shrink to {wanted}")]
    Shrink {
        /// The bed.
        name: String,
        /// How many nodes it has.
        existing: u8,
        /// How many nodes were asked for.
        wanted: u8,
    },
    /// All numbers for beds on this machine, or all ports of one, are taken.
    #[error("no free {0} is left on this machine for another cluster")]
    Exhausted(&'static str),
    /// A file, a mount or a cgroup could not be handled.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Certificates could not be made.
    #[error("cannot make the cluster's certificates")]
    Certificates(#[from] rcgen::Error),
    /// A program that was run to its end failed.
    #[error("{program} failed: {output}")]
    Tool {
        /// Which.
        program: String,
        /// What it said.
        output: String,
    },
    /// A component ended when it should have run.
    #[error("{component} ended instead of running; the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which.
        component: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// Something did not become ready in time.
    #[error("{what} is not ready after {} s{tail}", after.as_secs())]
    Late {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
        /// What is known about why, on lines of its own.
        tail: String,
    },
    /// The bed's API server refused something.
    #[error("the cluster's API server refused to {action}")]
    Api {
        /// What was asked of it.
        action: String,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// The bed's own kubeconfig cannot be used.
    #[error("cannot use the cluster's kubeconfig {}", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: kube::config::KubeconfigError,
    },
    /// Processes survive SIGKILL: the kernel does something for them that does not end.
    #[error("processes {pids} in cgroup {cgroup} do not die")]
    Undying {
        /// Where they are.
        cgroup: String,
        /// Their ids.
        pids: String,
    },
    /// Something survived the teardown.
    #[error("some of cluster {name} is left: {what}")]
    Left {
        /// The bed.
        name: String,
        /// What is left.
        what: String,
    },
}

impl Error {
    /// What the user can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Name(_) => "choose another --name".to_owned(),
            Self::Machine(_) => "do what each line says, then run the command again".to_owned(),
            Self::Absent(name) => format!("start it with: orlop up --name {name}"),
            Self::Shrink { name, .. } => format!("remove it first: orlop down --name {name}"),
            Self::Exhausted(_) => "remove a cluster that is no longer needed with: orlop down --name NAME".to_owned(),
            Self::Left { name, .. } => {
                format!("end what still uses it (see: fuser -vm), then run again: orlop down --name {name}")
            }
            Self::Undying { .. } => "see what they wait for in /proc/PID/stack; then run the command again".to_owned(),
            Self::File { .. }
            | Self::Certificates(_)
            | Self::Tool { .. }
            | Self::Ended { .. }
            | Self::Late { .. }
            | Self::Api { .. }
            | Self::Kubeconfig { .. } => {
                "run orlop up again, which repairs what is missing; or start afresh with orlop down and orlop up"
                    .to_owned()
            }
        }
    }
}

fn list(checks: &[Check]) -> String {
    let line = |check: &Check| format!("\n  - {}: {}", check.name, check.remedy.as_deref().unwrap_or("?"));
    checks.iter().map(line).collect::<Vec<_>>().concat()
}

/// Says what was tried on which path when an I/O operation fails.
pub(super) trait OnPath<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> OnPath<T> for Result<T, E> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|error| Error::File { action, path: path.into(), source: error.into() })
    }
}
