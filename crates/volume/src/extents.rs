//! Which bytes of an image hold data, and which differ between two images of one volume, from the maps of their
//! extents: what a backup or a migration need read, without reading the rest.

use std::{fs, iter::Peekable, path::Path};

use orlop_api::Bytes;

use crate::{
    Error, Extent, Result,
    fiemap::{Extents, Mapped},
};

/// At most `count` ranges of an image that hold data, starting with the one that contains or follows `from`. The image
/// must be one that nobody writes to.
pub(crate) fn allocated(image: &Path, from: u64, count: usize) -> Result<Vec<Extent>> {
    let size = size(image)?;
    joined(written(Extents::settled(image, from)?, from, size).map(|run| run.map(|run| run.range)), count)
}

/// At most `count` ranges in which the image `target` may differ from the image `base` of the same volume, starting
/// with the one that contains or follows `from`. Beyond the end of a smaller base, that is whatever holds data.
///
/// The same place on the disk at the same offset of both is the same data: an extent that a reflink copy shares is
/// never written to, and not given to anybody else while either still holds it, which both do. Nobody may write to
/// them.
pub(crate) fn changed(base: &Path, target: &Path, from: u64, count: usize) -> Result<Vec<Extent>> {
    let size = size(target)?;
    let base = written(Extents::settled(base, from)?, from, size);
    let target = written(Extents::settled(target, from)?, from, size);
    joined(Differences { base: base.peekable(), target: target.peekable(), at: from }, count)
}

/// How many bytes of an image belong to another file too, and take room of their own when they are overwritten.
pub(crate) fn shared(image: &Path) -> Result<Bytes> {
    let mut bytes = 0;
    for extent in Extents::current(image)? {
        let extent = extent?;
        bytes += if extent.shared { extent.length } else { 0 };
    }
    Ok(Bytes(bytes))
}

fn size(image: &Path) -> Result<u64> {
    Ok(fs::metadata(image).map_err(Error::io("look at", image.display()))?.len())
}

/// A range that holds data, and where that is on the disk. `None` equals nothing, not even itself.
#[derive(Debug, Clone, Copy)]
struct Run {
    range: Extent,
    place: Option<u64>,
}

impl Run {
    fn end(&self) -> u64 {
        self.range.offset + self.range.length
    }

    /// What is left of it from `at` on.
    fn from(self, at: u64) -> Option<Self> {
        let skipped = at.saturating_sub(self.range.offset);
        let length = self.range.length.checked_sub(skipped).filter(|length| *length > 0)?;
        let range = Extent { offset: self.range.offset + skipped, length };
        Some(Self { range, place: self.place.map(|place| place + skipped) })
    }
}

/// The extents that were written, between `from` and `size`. All other bytes are zeros.
fn written(extents: impl Iterator<Item = Result<Mapped>>, from: u64, size: u64) -> impl Iterator<Item = Result<Run>> {
    extents.filter_map(move |extent| {
        let Mapped { offset, length, place, unwritten, .. } = match extent {
            Ok(extent) => extent,
            Err(error) => return Some(Err(error)),
        };
        // The last extent may reach beyond the end of the file.
        let length = length.min(size.saturating_sub(offset));
        if unwritten { None } else { Run { range: Extent { offset, length }, place }.from(from).map(Ok) }
    })
}

/// The ranges in which two images differ, from the runs of both.
struct Differences<B: Iterator<Item = Result<Run>>, T: Iterator<Item = Result<Run>>> {
    base: Peekable<B>,
    target: Peekable<T>,
    /// Everything before this has been compared.
    at: u64,
}

impl<B: Iterator<Item = Result<Run>>, T: Iterator<Item = Result<Run>>> Differences<B, T> {
    /// The next stretch in which neither image goes from one run to another, and whether they differ in it. `None` when
    /// there are no more runs.
    fn compare(&mut self) -> Result<Option<(Extent, bool)>> {
        let base = upcoming(&mut self.base, self.at)?;
        let target = upcoming(&mut self.target, self.at)?;
        let Some(start) = [base, target].into_iter().flatten().map(|run| run.range.offset).min() else {
            return Ok(None);
        };
        // A stretch ends where a run of either starts or ends.
        let borders = [base, target].into_iter().flatten().flat_map(|run| [run.range.offset, run.end()]);
        let Some(end) = borders.filter(|border| *border > start).min() else { return Ok(None) };
        self.at = end;
        let place = |run: Option<Run>| run.filter(|run| run.range.offset == start).map(|run| run.place);
        let same = matches!((place(base), place(target)), (Some(Some(here)), Some(Some(there))) if here == there);
        Ok(Some((Extent { offset: start, length: end - start }, !same)))
    }
}

/// The first run that ends after `at`, without what is before `at`.
fn upcoming(runs: &mut Peekable<impl Iterator<Item = Result<Run>>>, at: u64) -> Result<Option<Run>> {
    loop {
        match runs.peek() {
            None => return Ok(None),
            Some(Ok(run)) => match run.from(at) {
                Some(rest) => return Ok(Some(rest)),
                None => drop(runs.next()),
            },
            Some(Err(_)) => return runs.next().transpose(),
        }
    }
}

impl<B: Iterator<Item = Result<Run>>, T: Iterator<Item = Result<Run>>> Iterator for Differences<B, T> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Result<Extent>> {
        loop {
            match self.compare() {
                Ok(Some((_, false))) => {}
                Ok(Some((range, true))) => return Some(Ok(range)),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The first `count` ranges, where those that touch are one. No more of them are asked for than it takes.
fn joined(ranges: impl Iterator<Item = Result<Extent>>, count: usize) -> Result<Vec<Extent>> {
    let mut all: Vec<Extent> = Vec::new();
    for range in ranges {
        let range = range?;
        let full = all.len() == count;
        match all.last_mut().filter(|last| last.offset + last.length == range.offset) {
            Some(last) => last.length += range.length,
            None if full => break,
            None => all.push(range),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The largest image of the tests, in bytes.
    const LARGEST: u64 = 48;

    /// Where on the disk a byte is that was written, and whether that is known; `None` for one that was not.
    type Byte = Option<(u64, bool)>;

    type Image = Vec<Byte>;

    fn mapped() -> impl Strategy<Value = Vec<Mapped>> {
        // Places repeat, so that images share; and gaps are holes.
        let extent = (0..4_u64, 1..6_u64, 0..3_u64, 0..8_u8);
        prop::collection::vec(extent, 0..10).prop_map(|parts| {
            let mut at = 0;
            let mut extents = Vec::new();
            for (gap, length, shift, kind) in parts {
                let offset = at + gap;
                at = offset + length;
                let place = (kind != 0).then_some(offset + 100 * shift);
                extents.push(Mapped { offset, length, place, unwritten: kind == 1, shared: false });
            }
            extents
        })
    }

    fn image(extents: &[Mapped], size: u64) -> Image {
        let at = |byte| {
            let extent = extents.iter().find(|extent| (extent.offset..extent.offset + extent.length).contains(&byte));
            extent.filter(|extent| !extent.unwritten).map(|extent| match extent.place {
                Some(place) => (place + byte - extent.offset, true),
                None => (0, false),
            })
        };
        (0..size).map(at).collect()
    }

    fn runs(extents: &[Mapped], from: u64, size: u64) -> impl Iterator<Item = Result<Run>> {
        let pages: Vec<_> = extents.iter().copied().filter(|extent| extent.offset + extent.length > from).collect();
        written(pages.into_iter().map(Ok), from, size)
    }

    /// The ranges of the bytes that are marked, from `from` on.
    fn ranges(marked: &[bool], from: u64) -> Vec<Extent> {
        let bytes = (from..).zip(marked.iter().skip(usize::try_from(from).unwrap()));
        let single = bytes.filter(|(_, marked)| **marked).map(|(offset, _)| Ok(Extent { offset, length: 1 }));
        joined(single, usize::MAX).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_allocated_is_what_a_look_at_each_byte_finds(
            extents in mapped(), size in 0..LARGEST, from in 0..LARGEST, count in 0..5_usize,
        ) {
            let found = joined(runs(&extents, from, size).map(|run| run.map(|run| run.range)), count).unwrap();
            let marked: Vec<bool> = image(&extents, size).iter().map(Option::is_some).collect();
            let mut expected = ranges(&marked, from);
            expected.truncate(count);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn what_has_changed_is_what_a_look_at_each_byte_finds(
            base in mapped(), target in mapped(), size in 0..LARGEST, from in 0..LARGEST, count in 0..5_usize,
        ) {
            let differences = Differences {
                base: runs(&base, from, size).peekable(),
                target: runs(&target, from, size).peekable(),
                at: from,
            };
            let found = joined(differences, count).unwrap();
            let same = |(here, there): (&Byte, &Byte)| match (here, there) {
                (None, None) => true,
                (Some((here, true)), Some((there, true))) => here == there,
                _ => false,
            };
            let marked: Vec<bool> =
                image(&base, size).iter().zip(&image(&target, size)).map(|pair| !same(pair)).collect();
            let mut expected = ranges(&marked, from);
            expected.truncate(count);
            prop_assert_eq!(found, expected);
        }
    }
}
