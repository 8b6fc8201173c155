//! The images of a bundle, imported into a node's containerd. There is no registry: what is not imported is not there.

use std::{collections::BTreeMap, fs, path::Path, time::UNIX_EPOCH};

use super::{
    Error,
    bundle::Bundle,
    error::OnPath as _,
    files::{self, Readers},
    layout::NodeLayout,
    process,
};

/// What was imported of an archive: its size in bytes and its time of change in nanoseconds since 1970.
type Imported = BTreeMap<String, (u64, u128)>;

/// Imports the archives that are new or changed since the last import. Returns how many there were.
pub(super) async fn import(node: &NodeLayout, bundle: &Bundle) -> Result<usize, Error> {
    // Inside containerd's own directory, so that it goes when the images go.
    let record = node.containerd_root().join("orlop-images.json");
    let mut imported: Imported =
        fs::read(&record).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut count = 0;
    for archive in bundle.images()? {
        let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stamp = stamp(&archive)?;
        if imported.get(&name) == Some(&stamp) {
            continue;
        }
        let socket = node.containerd_socket();
        let address = socket.to_string_lossy();
        let args = ["--address", &address, "--namespace", "k8s.io", "image", "import", &archive.to_string_lossy()];
        process::run(Path::new("/usr/bin/ctr"), &args).await?;
        imported.insert(name, stamp);
        let text = serde_json::to_string(&imported).on("write", &record)?;
        files::write(&record, &text, Readers::Everyone)?;
        count += 1;
    }
    Ok(count)
}

fn stamp(archive: &Path) -> Result<(u64, u128), Error> {
    let metadata = fs::metadata(archive).on("read", archive)?;
    let changed = metadata.modified().on("read", archive)?;
    Ok((metadata.len(), changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())))
}
