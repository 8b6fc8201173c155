//! The one folder that the build keeps things in beside cargo's own: what is dear to make and depends on few inputs.
//! Everything in it can be deleted at any time.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// The cache folder: `ORLOP_CACHE`, or `.cache/orlop` in the home directory.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("ORLOP_CACHE") {
        return Ok(dir.into());
    }
    let home = env::home_dir().context("there is no home directory to keep the cache in: set ORLOP_CACHE")?;
    Ok(home.join(".cache/orlop"))
}

/// Waits until no other build changes the cache, and keeps others waiting until the answer is dropped.
pub fn lock() -> Result<fs::File> {
    let dir = dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = fs::File::open(&dir)?;
    file.lock().with_context(|| format!("cannot lock {}", dir.display()))?;
    Ok(file)
}

/// Where `orlop up` finds the bundle: a link to the newest one that was built.
pub fn bundle_link() -> Result<PathBuf> {
    Ok(dir()?.join("bundle"))
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Removes what was made from former inputs: everything in the cache folder whose name begins with `prefix`, but `kept`.
pub fn keep_only(prefix: &str, kept: &Path) -> Result<()> {
    for entry in fs::read_dir(dir()?)? {
        let path = entry?.path();
        let former = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) && path != kept;
        if former && path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if former {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A hash that names what was made from its inputs.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a text.
    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds all files below a directory, by their paths and contents.
    pub fn files(mut self, root: &Path) -> Result<Self> {
        for path in files_below(root)? {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            self = self.text(&name).text(&sha256(fs::File::open(&path)?)?);
        }
        Ok(self)
    }

    /// The first 16 hexadecimal digits: more than enough for the few things that a cache ever holds.
    pub fn short(self) -> String {
        hex(&self.0.finalize())[..16].to_owned()
    }
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The SHA-256 of what a reader gives, in hexadecimal.
pub fn sha256(mut reader: impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
