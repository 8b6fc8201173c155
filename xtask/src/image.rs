//! `cargo xtask image`: the images that a bed runs, as archives in its bundle. No container engine is needed, and the
//! second time only what changed is made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{archive, bed, cache, program, rootfs, run};

/// The programs of upstream that run in pods, each with the module that its version is the version of.
const SIDECARS: [(&str, &str); 4] = [
    ("csi-provisioner", "github.com/kubernetes-csi/external-provisioner/v6"),
    ("csi-resizer", "github.com/kubernetes-csi/external-resizer/v2"),
    ("csi-snapshotter", "github.com/kubernetes-csi/external-snapshotter/v8"),
    ("snapshot-controller", "github.com/kubernetes-csi/external-snapshotter/v8"),
];

#[derive(clap::Args)]
pub struct Args {
    /// The `orlop` program to put into the image [default: compile it]
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let binary = program::given_or_built(args.binary.as_deref())?;
    let _lock = cache::lock()?;
    let bundle = cache::bundle_link()?;
    if !bundle.join("bin").is_dir() {
        bail!("there is no bundle at {}: run cargo xtask bed first", bundle.display());
    }
    let images = bundle.join("images");
    pause(&bundle, &images)?;
    sidecars(&bundle, &images)?;
    orlop(&binary, &images)
}

fn pause(bundle: &Path, images: &Path) -> Result<()> {
    alone(&bundle.join("bin/pause"), "orlop.dev/pause:1", &images.join("pause.tar"))
}

fn sidecars(bundle: &Path, images: &Path) -> Result<()> {
    let module = cache::repository().join("bed/sidecars");
    for (program, source) in SIDECARS {
        let archive = images.join(format!("{program}.tar"));
        // A bundle is built once, so its archives never change.
        if !archive.exists() {
            let name = format!("orlop.dev/bed/{program}:{}", bed::version(&module, source)?);
            alone(&bundle.join("bin").join(program), &name, &archive)?;
        }
    }
    Ok(())
}

/// Writes an image that holds one static program, as upstream's do.
fn alone(program: &Path, name: &str, target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let file = program.file_name().context("a program without a name")?.to_string_lossy().into_owned();
    let layer = target.with_extension("layer");
    archive::program_layer(program, &file, &layer)?;
    archive::Image { name, entrypoint: &format!("/{file}"), layers: &[&layer] }.write(target)?;
    fs::remove_file(&layer)?;
    eprintln!("wrote image {name}");
    Ok(())
}

/// Writes Orlop's image: the root filesystem, and the program on top.
fn orlop(binary: &Path, images: &Path) -> Result<()> {
    let root = rootfs::layer()?;
    let name = format!("orlop.dev/orlop:{}", env!("CARGO_PKG_VERSION"));
    let key = cache::Key::default()
        .text(&name)
        .text(&root.to_string_lossy())
        .text(&cache::sha256(fs::File::open(binary).with_context(|| format!("cannot read {}", binary.display()))?)?)
        .short();
    let (target, made_from) = (images.join("orlop.tar"), images.join("orlop.key"));
    // Left alone when it is the same, so that `orlop up` need not import it again.
    if target.exists() && fs::read_to_string(&made_from).is_ok_and(|before| before == key) {
        eprintln!("image {name} is there");
        return Ok(());
    }
    let stripped = images.join("orlop.stripped");
    run::output(Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    let layer = images.join("orlop.layer");
    archive::program_layer(&stripped, "usr/local/bin/orlop", &layer)?;
    archive::Image { name: &name, entrypoint: "/usr/local/bin/orlop", layers: &[&root, &layer] }.write(&target)?;
    fs::write(&made_from, key)?;
    fs::remove_file(&layer)?;
    fs::remove_file(&stripped)?;
    eprintln!("wrote image {name}, {} MiB", fs::metadata(&target)?.len() >> 20);
    Ok(())
}
