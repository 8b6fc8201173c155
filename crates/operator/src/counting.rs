//! Of which volumes it is to be asked for how long their limits are exceeded, and by which metrics their drivers count that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use orlop_api::Saturation;

/// A volume whose driver counts for how long its limits are exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The handle by which the driver knows it.
    pub handle: Box<str>,
    /// The metrics.
    pub by: Arc<Saturation>,
}

/// What has been asked for.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    volumes: BTreeSet<Arc<str>>,
    /// The metrics of each driver, so that all its volumes share them.
    drivers: BTreeMap<String, Arc<Saturation>>,
}

impl Counting {
    /// Takes note of what is to be asked of a volume from now on: its handle, its driver and the driver's metrics. Returns that
    /// where something is asked for, or was.
    pub(crate) fn note(
        &mut self,
        volume: &Arc<str>,
        wanted: Option<(Box<str>, &str, &Saturation)>,
    ) -> Option<(Arc<str>, Option<Counted>)> {
        let Some((handle, driver, by)) = wanted else {
            return self.volumes.take(volume).map(|volume| (volume, None));
        };
        let by = match self.drivers.get(driver).filter(|known| ***known == *by) {
            Some(known) => Arc::clone(known),
            None => {
                let by = Arc::new(by.clone());
                self.drivers.insert(driver.to_owned(), Arc::clone(&by));
                by
            }
        };
        self.volumes.insert(volume.clone());
        Some((volume.clone(), Some(Counted { handle, by })))
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::driver::built_in;

    use super::*;

    #[test]
    fn what_is_no_longer_asked_for_is_said_once_and_the_metrics_are_shared() {
        let by = built_in::of("ebs.csi.aws.com").saturation.as_ref().unwrap();
        let mut counting = Counting::default();
        assert_eq!(counting.note(&"pv-1".into(), None), None, "it never was");
        let asked = |counting: &mut Counting, volume: &str, handle: &str| {
            counting.note(&volume.into(), Some((handle.into(), "ebs.csi.aws.com", by))).unwrap().1.unwrap()
        };
        let (one, other) = (asked(&mut counting, "pv-1", "vol-1"), asked(&mut counting, "pv-2", "vol-2"));
        assert_eq!((&*one.handle, &*other.handle), ("vol-1", "vol-2"));
        assert!(Arc::ptr_eq(&one.by, &other.by));
        assert_eq!(counting.note(&"pv-1".into(), None), Some(("pv-1".into(), None)));
        assert_eq!(counting.note(&"pv-1".into(), None), None);
    }
}
