//! `cargo xtask bed`: Kubernetes, the CSI sidecars and helm, compiled from their Go modules into a bundle that
//! `orlop up` runs. Made once for each state of `bed/`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{cache, run};

/// The Kubernetes components that are one file, which the name that it is called by tells what to be.
const COMPONENTS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];

/// The module that the snapshot controller comes from, with the rights that it needs.
const SNAPSHOTTER: &str = "github.com/kubernetes-csi/external-snapshotter/v8";

/// The module that the definitions of snapshots come from.
const SNAPSHOT_CLIENT: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> Result<()> {
    let _lock = cache::lock()?;
    let sources = cache::repository().join("bed");
    let key = cache::Key::default().text(&run::output(Command::new("go").arg("version"))?).files(&sources)?.short();
    let bundle = cache::dir()?.join(format!("bundle-{key}"));
    if bundle.is_dir() {
        eprintln!("Kubernetes and the sidecars are built: {}", bundle.display());
    } else {
        build(&sources, &bundle)?;
    }
    link(&bundle, &cache::bundle_link()?)?;
    cache::keep_only("bundle-", &bundle)
}

/// Builds next to the bundle's place and moves it there when it is whole.
fn build(sources: &Path, bundle: &Path) -> Result<()> {
    let partial = bundle.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let bin = partial.join("bin");
    for directory in [&bin, &partial.join("images"), &partial.join("manifests")] {
        fs::create_dir_all(directory)?;
    }

    let sidecars = sources.join("sidecars");
    let kubernetes = sources.join("kubernetes");
    for module in [&sidecars, &kubernetes] {
        let download = &mut go(module, &["mod", "download"]);
        eprintln!("downloading the Go modules of {} (about half a minute)", module.display());
        run::output(download)?;
    }
    // The sidecars first: what both modules compile alike is then in Go's cache.
    compile(&sidecars, &bin, "the CSI sidecars and helm", "3 minutes on 2 cores", "-s -w", &["tool"])?;
    let version = version(&kubernetes, "k8s.io/kubernetes")?;
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let what = format!("Kubernetes {version}");
    compile(&kubernetes, &bin, &what, "9 minutes on 2 cores", &flags, &[".", "./pause"])?;
    fs::rename(bin.join("kubernetes"), bin.join("kube"))?;
    for component in COMPONENTS {
        symlink("kube", bin.join(component))?;
    }
    manifests(&sidecars, &partial.join("manifests"))?;
    fs::rename(&partial, bundle)?;
    Ok(())
}

fn compile(module: &Path, bin: &Path, what: &str, about: &str, flags: &str, packages: &[&str]) -> Result<()> {
    let list = run::output(go(module, &["list", "-deps"]).args(packages))?;
    let out = format!("{}/", bin.display());
    let mut build = go(module, &["build", "-v", "-trimpath", "-ldflags", flags, "-o", &out]);
    build.args(packages);
    run::long(&format!("compiling {what}"), about, "packages", list.lines().count(), &mut build)
}

/// Go without C: the sidecars' images then need nothing but their program.
fn go(module: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("CGO_ENABLED", "0").args(args);
    command
}

/// The version of a module that another one requires.
pub fn version(module: &Path, required: &str) -> Result<String> {
    Ok(run::output(&mut go(module, &["list", "-m", "-f", "{{.Version}}", required]))?.trim().to_owned())
}

/// Copies the definitions of snapshots, and the rights of their controller, from where upstream publishes them.
fn manifests(module: &Path, target: &Path) -> Result<()> {
    let definitions = module_dir(module, SNAPSHOT_CLIENT)?.join("config/crd");
    for entry in fs::read_dir(&definitions)? {
        let path = entry?.path();
        let name = path.file_name().context("a file without a name")?;
        // Beside them lies a kustomization, which is no manifest.
        if name.to_string_lossy().contains("snapshot.storage.k8s.io_") {
            copy(&path, &target.join(name))?;
        }
    }
    let rights = "rbac-snapshot-controller.yaml";
    let source = module_dir(module, SNAPSHOTTER)?.join("deploy/kubernetes/snapshot-controller").join(rights);
    copy(&source, &target.join(rights))
}

fn module_dir(module: &Path, required: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let version = version(module, required)?;
    let json = run::output(&mut go(module, &["mod", "download", "-json", &format!("{required}@{version}")]))?;
    Ok(serde_json::from_str::<Downloaded>(&json)?.dir)
}

/// Copies the content alone: files of the module cache are read-only.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    fs::write(to, content).with_context(|| format!("cannot write {}", to.display()))
}

/// Points the link at the bundle, in one step.
fn link(bundle: &Path, link: &Path) -> Result<()> {
    if link.is_dir() && !link.is_symlink() {
        bail!("{} is a directory and should be a link: move it away", link.display());
    }
    let temporary = link.with_extension("new");
    if temporary.is_symlink() {
        fs::remove_file(&temporary)?;
    }
    symlink(bundle, &temporary)?;
    Ok(fs::rename(&temporary, link)?)
}
