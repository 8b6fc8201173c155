//! What the demo ends with.

use std::fmt::Write as _;

use orlop_api::Bytes;

use super::{Quickstart, follow::Story};
use crate::bed::{Bed, BedName};

pub(super) fn render(story: &Story, bed: &Bed) -> String {
    let mut text = String::from("\n");
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<42} {value}");
    };
    let first = story.growths.values().next().map_or(Bytes(0), |record| record.from);
    let last = story.growths.keys().next_back().copied().unwrap_or_default();
    row("the volume grew", format!("{} times, {first} → {last}", story.growths.len()));
    let longest = story
        .growths
        .values()
        .filter_map(|record| Some(record.usable?.duration_since(record.crossed).as_secs_f32()))
        .max_by(f32::total_cmp);
    row("longest time, threshold → usable bytes", longest.map_or("none".into(), |seconds| format!("{seconds:.1} s")));
    if let Some(wrote) = &story.wrote {
        row("written", Bytes(wrote.written).human());
        row("out-of-space errors seen by the writer", wrote.enospc.to_string());
    }
    if let Some(verified) = &story.verified {
        let found = if verified.intact { "yes, read back and compared: " } else { "NO: " };
        row("data verified", format!("{found}{} files, {}", verified.files, Bytes(verified.bytes).human()));
    }
    let kubeconfig = bed.kubeconfig_path();
    // As it was started, which need not be on the PATH.
    let orlop = std::env::args().next().unwrap_or_else(|| "orlop".to_owned());
    let name = if *bed.name() == BedName::default() { String::new() } else { format!(" --name {}", bed.name()) };
    let _ = write!(
        text,
        "\nThe cluster stays up. Look around:\n  export KUBECONFIG={}\n  alias kubectl={}\n  kubectl -n {} get storagepolicy,pvc,events\n\
         Remove it with every trace:\n  {orlop} down{name}\n",
        kubeconfig.display(),
        bed.program("kubectl").display(),
        Quickstart::NAMESPACE
    );
    text
}
