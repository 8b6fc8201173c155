//! The bundle: the programs, images and manifests that a bed runs, which `cargo xtask bed` and `cargo xtask image`
//! put together.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{Error, error::OnPath as _};

/// Where a bundle lies.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// The bundle in `dir`, or in the cache folder when nothing is said.
    pub(super) fn at(dir: Option<&Path>) -> Self {
        Self { dir: dir.map_or_else(|| cache_dir().join("bundle"), Path::to_owned) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program of the bundle. All of Kubernetes is one file, which the name that it is called by tells what to be.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// The manifests that every bed gets, in the order of their names.
    pub(super) fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// The archives of the images that every node gets.
    pub(super) fn images(&self) -> Result<Vec<PathBuf>, Error> {
        let dir = self.dir.join("images");
        let entries = fs::read_dir(&dir).on("read", &dir)?;
        let files = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut archives: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|ext| ext == "tar")).collect();
        archives.sort();
        Ok(archives)
    }

    /// What is missing of the bundle, by path.
    pub(super) fn missing(&self) -> Vec<PathBuf> {
        let programs = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];
        let needed = programs.map(|name| self.program(name)).into_iter().chain([
            self.dir.join("images/orlop.tar"),
            self.dir.join("images/pause.tar"),
            self.manifests(),
        ]);
        needed.filter(|path| !path.exists()).collect()
    }
}

/// The one folder that the build keeps things in: `ORLOP_CACHE`, or `.cache/orlop` in the home directory.
fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("ORLOP_CACHE") {
        return dir.into();
    }
    env::home_dir().unwrap_or_else(|| PathBuf::from("/root")).join(".cache/orlop")
}
