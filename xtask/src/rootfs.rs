//! The root filesystem of Orlop's image: a small Debian with the filesystem tools that the driver runs.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write as _,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{cache, run};

/// The release, the same as the machine's that compiles Orlop, so that its C library is the one that Orlop links.
const SUITE: &str = "bookworm";

/// The packages beside Debian's essential ones. The Dockerfile installs the same.
const PACKAGES: &str = "btrfs-progs,e2fsprogs,mount,util-linux,xfsprogs";

/// What changes this file's outcome but is in none of the other inputs: count up when the pruning changes.
const VERSION: &str = "1";

/// The time of every file, in seconds since 1970: the same whenever the image is made.
const EPOCH_SECONDS: u64 = 1_700_000_000;

/// The layer's tar file, made when it is not in the cache.
pub fn layer() -> Result<PathBuf> {
    let key = cache::Key::default().text(SUITE).text(PACKAGES).text(VERSION).short();
    let layer = cache::dir()?.join(format!("rootfs-{key}.tar"));
    if layer.exists() {
        return Ok(layer);
    }
    let whole = layer.with_extension("whole");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .env("SOURCE_DATE_EPOCH", EPOCH_SECONDS.to_string())
        .args(["--variant=essential", "--format=tar", "--aptopt=APT::Install-Recommends \"false\""])
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&whole);
    run::long("making the image's root filesystem", "40 s", "steps", 15, &mut mmdebstrap)?;
    let partial = layer.with_extension("partial");
    prune(&whole, &partial)?;
    fs::rename(&partial, &layer)?;
    fs::remove_file(&whole)?;
    cache::keep_only("rootfs-", &layer)?;
    Ok(layer)
}

/// Copies the tar file without what nothing in the image reads.
fn prune(whole: &Path, pruned: &Path) -> Result<()> {
    let mut target = tar::Builder::new(io::BufWriter::new(fs::File::create(pruned)?));
    for entry in tar::Archive::new(io::BufReader::new(fs::File::open(whole)?)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if superfluous(&path) {
            continue;
        }
        let mut header = entry.header().clone();
        header.set_mtime(EPOCH_SECONDS);
        match entry.link_name()? {
            Some(link) => target.append_link(&mut header, &path, link)?,
            None => target.append_data(&mut header, &path, &mut entry)?,
        }
    }
    Ok(target.into_inner()?.flush()?)
}

/// Documentation but for licences, translations, and the interpreters and libraries that come with `xfs_scrub`, which
/// Orlop does not run.
fn superfluous(path: &Path) -> bool {
    const DIRECTORIES: [&str; 16] = [
        "dev",
        "usr/include",
        "usr/lib/python3",
        "usr/lib/python3.11",
        "usr/share/bash-completion",
        "usr/share/i18n",
        "usr/share/info",
        "usr/share/lintian",
        "usr/share/locale",
        "usr/share/man",
        "usr/share/perl",
        "usr/share/perl5",
        "usr/share/python3",
        "usr/share/zoneinfo",
        "var/cache",
        "var/lib/apt",
    ];
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let inside = |directory: &str| path.starts_with(directory) && path != Path::new(directory);
    if DIRECTORIES.iter().any(|directory| inside(directory)) {
        return true;
    }
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if path.starts_with("usr/share/doc") {
        // What lies in a package's directory, or deeper.
        return path.components().count() > 4 && (path.components().count() > 5 || name != "copyright");
    }
    // Below the architecture's own library directory.
    let library = path.starts_with("usr/lib") && path.components().count() > 3;
    let in_library = |directory: &str| library && path.components().any(|part| part.as_os_str() == directory);
    in_library("perl")
        || in_library("gconv")
        || (library && ["libicu", "libperl", "libpython"].iter().any(|prefix| name.starts_with(prefix)))
        || (path.starts_with("usr/bin") && name.starts_with("python3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_installs_the_same_packages() {
        let dockerfile = include_str!("../../Dockerfile");
        let install = dockerfile.lines().find(|line| line.contains("apt-get install")).expect("it installs");
        let packages: Vec<&str> =
            install.split_whitespace().filter(|word| PACKAGES.split(',').any(|p| p == *word)).collect();
        assert_eq!(packages.join(","), PACKAGES);
        assert!(dockerfile.contains(&format!("debian:{SUITE}-slim")));
    }

    #[test]
    fn licences_tools_and_empty_directories_stay_and_what_nothing_reads_goes() {
        for kept in [
            "./usr/share/doc/xfsprogs/copyright",
            "./usr/sbin/mkfs.xfs",
            "./dev/",
            "./usr/lib/x86_64-linux-gnu/libc.so.6",
            "./usr/lib/x86_64-linux-gnu/perl-base/strict.pm",
        ] {
            assert!(!superfluous(Path::new(kept)), "{kept} went");
        }
        for gone in [
            "./usr/share/doc/xfsprogs/changelog.gz",
            "./usr/share/man/man8/mkfs.xfs.8.gz",
            "./dev/null",
            "./usr/lib/x86_64-linux-gnu/libicudata.so.72",
            "./usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
            "./usr/lib/python3.11/os.py",
        ] {
            assert!(superfluous(Path::new(gone)), "{gone} stayed");
        }
    }
}
