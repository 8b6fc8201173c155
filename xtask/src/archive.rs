//! Image archives in the docker-archive layout: a tar of a manifest, a configuration and the layers, which containerd
//! imports. Written without a container engine, and byte for byte the same for the same content.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::cache::sha256;

/// An image to be written.
pub struct Image<'a> {
    /// Its name with its tag.
    pub name: &'a str,
    /// What it runs.
    pub entrypoint: &'a str,
    /// Its layers' tar files, lowest first.
    pub layers: &'a [&'a Path],
}

impl Image<'_> {
    /// Writes the archive to `path`, in one step.
    pub fn write(&self, path: &Path) -> Result<()> {
        let digests: Vec<String> =
            self.layers.iter().map(|layer| sha256(fs::File::open(layer)?)).collect::<Result<_>>()?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": digests.iter().map(|digest| format!("sha256:{digest}")).collect::<Vec<_>>(),
            },
        })
        .to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes())?);
        let layer_names: Vec<String> = digests.iter().map(|digest| format!("{digest}/layer.tar")).collect();
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": layer_names}]).to_string();

        let temporary = path.with_extension("new");
        let mut archive = Builder::new(io::BufWriter::new(fs::File::create(&temporary)?));
        add_file(&mut archive, "manifest.json", 0o644, manifest.len() as u64, manifest.as_bytes())?;
        add_file(&mut archive, &config_name, 0o644, config.len() as u64, config.as_bytes())?;
        for (layer, name) in self.layers.iter().zip(&layer_names) {
            let file = fs::File::open(layer)?;
            add_file(&mut archive, name, 0o644, file.metadata()?.len(), file)?;
        }
        archive.into_inner()?.flush()?;
        fs::rename(&temporary, path)?;
        Ok(())
    }
}

/// Writes a layer that holds one program, `from`, at the path `to`, which is relative to the root.
pub fn program_layer(from: &Path, to: &str, layer: &Path) -> Result<()> {
    let program = fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut archive = Builder::new(io::BufWriter::new(fs::File::create(layer)?));
    add_file(&mut archive, to, 0o755, program.metadata()?.len(), program)?;
    archive.into_inner()?.flush()?;
    Ok(())
}

/// Adds a file of root's, with a fixed time.
fn add_file(archive: &mut Builder<impl Write>, name: &str, mode: u32, size: u64, content: impl Read) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    Ok(archive.append_data(&mut header, name, content)?)
}

/// The machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_archive_and_the_manifest_names_what_is_in_it() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("orlop-archive-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let (program, layer) = (dir.join("program"), dir.join("layer.tar"));
        fs::write(&program, "#!")?;
        program_layer(&program, "usr/bin/program", &layer)?;
        let image = Image { name: "example/program:1", entrypoint: "/usr/bin/program", layers: &[&layer] };
        let (first, second) = (dir.join("first.tar"), dir.join("second.tar"));
        image.write(&first)?;
        image.write(&second)?;
        assert_eq!(fs::read(&first)?, fs::read(&second)?);

        let mut names = Vec::new();
        let mut manifest = String::new();
        for entry in tar::Archive::new(fs::File::open(&first)?).entries()? {
            let mut entry = entry?;
            names.push(entry.path()?.to_string_lossy().into_owned());
            if names.len() == 1 {
                entry.read_to_string(&mut manifest)?;
            }
        }
        fs::remove_dir_all(&dir)?;
        let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
        assert_eq!(manifest[0]["RepoTags"][0], "example/program:1");
        assert_eq!(manifest[0]["Config"], names[1]);
        assert_eq!(manifest[0]["Layers"][0], names[2]);
        Ok(())
    }
}
