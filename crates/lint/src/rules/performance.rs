//! Each `VolumeAttributesClass` that a policy names.

use orlop_api::{Limits, Mode, PerformanceSpec};

use crate::{
    Findings, Place,
    document::Content,
    rule::{Rule, Severity},
    world::{Object, World},
};

const CLASSES: &str = "spec.performance.attributesClasses";

pub(crate) static ATTRIBUTES_CLASSES_OF_SEVERAL_DRIVERS: Rule = Rule {
    id: "attributes-classes-of-several-drivers",
    severity: Severity::Error,
    finds: "a policy whose `attributesClasses` are VolumeAttributesClasses of more than one driver",
    why: "A volume can only have a class of its own driver. The policy would report `ClassUnknown` of every claim, and change \
          none.",
    remedy: "Name classes of one driver, and write a policy for each driver.",
    source: "[how fast a volume is](performance-classes.md)",
};

pub(crate) static ATTRIBUTES_CLASSES_OUT_OF_ORDER: Rule = Rule {
    id: "attributes-classes-out-of-order",
    severity: Severity::Error,
    finds: "a policy whose `attributesClasses` do not stand from the slowest to the fastest",
    why: "A volume that does all that its class gives is moved to the next one in the list. Where that gives less, it becomes \
          slower when it is to become faster.",
    remedy: "Write the classes from the slowest to the fastest.",
    source: "[how fast a volume is](performance-classes.md); what a class gives is by the driver profile's \
             `attributeParameters`",
};

pub(crate) static UNKNOWN_ATTRIBUTES_CLASS: Rule = Rule {
    id: "unknown-attributes-class",
    severity: Severity::Info,
    finds: "a policy that names a VolumeAttributesClass which is not among the files, though others are",
    why: "Where the cluster does not have it either, the policy reports `ClassUnknown` and changes no class.",
    remedy: "Correct the name, or look at the file with the class, too.",
    source: "[reasons](performance-classes.md#reasons)",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for (_, policy, object) in world.policies() {
        if let Some(spec) = policy.performance.as_ref().filter(|_| policy.mode != Mode::Off) {
            let classes = Classes::of(world);
            several_drivers(&classes, spec, object, found);
            out_of_order(world, &classes, spec, object, found);
            unknown(&classes, spec, object, found);
        }
    }
}

/// Each `VolumeAttributesClass` among the texts.
struct Classes<'a>(Vec<&'a Object<'a>>);

impl<'a> Classes<'a> {
    fn of(world: &'a World<'a>) -> Self {
        Self(world.objects.iter().filter(|it| it.is("storage.k8s.io", "VolumeAttributesClass")).collect())
    }

    fn get(&self, name: &str) -> Option<&'a Object<'a>> {
        self.0.iter().copied().find(|class| class.name == name)
    }

    fn driver(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.node.text("driverName")
    }
}

/// Where a class stands in the list of a policy.
fn place(object: &Object<'_>, name: &str) -> Place {
    let is_it = |content: &Content| matches!(content, Content::Text(text) if text == name);
    let item = object.node.items(CLASSES).iter().find(|item| is_it(&item.content));
    item.map_or_else(|| object.place(CLASSES), |item| object.at(item.span))
}

fn several_drivers(classes: &Classes<'_>, spec: &PerformanceSpec, object: &Object<'_>, found: &mut Findings) {
    let mut known = spec.attributes_classes.iter().filter_map(|name| Some((name, classes.driver(name)?)));
    let Some((first, of_first)) = known.next() else { return };
    if let Some((other, of_other)) = known.find(|(_, driver)| *driver != of_first) {
        let message = format!(
            "VolumeAttributesClass {first} is for {of_first}, and {other} for {of_other}: name classes of one driver"
        );
        found.add(&ATTRIBUTES_CLASSES_OF_SEVERAL_DRIVERS, object.place(CLASSES), message);
    }
}

fn out_of_order(
    world: &World<'_>,
    classes: &Classes<'_>,
    spec: &PerformanceSpec,
    object: &Object<'_>,
    found: &mut Findings,
) {
    let limits = |name: &str| {
        let class = classes.get(name)?;
        let driver = class.node.text("driverName")?;
        Some((driver, Limits::of(&class.labels("parameters"), &world.profile(driver)?.attribute_parameters)))
    };
    let known: Vec<_> = spec.attributes_classes.iter().filter_map(|name| Some((name, limits(name)?))).collect();
    for (before, after) in known.iter().zip(known.iter().skip(1)) {
        let ((slower, (driver, gives)), (faster, (other, then))) = (before, after);
        if driver == other && is_less(then, gives) {
            let message = format!(
                "VolumeAttributesClass {faster} gives {then}, and {slower} before it {gives}: a volume that needs more would \
                 get less; write the classes from the slowest to the fastest"
            );
            found.add(&ATTRIBUTES_CLASSES_OUT_OF_ORDER, place(object, faster), message);
        }
    }
}

/// Does one give less than the other in something, and more in nothing?
fn is_less(one: &Limits, than: &Limits) -> bool {
    let mut both = one.iter().filter_map(|(dimension, limit)| Some((limit, than.get(dimension)?))).peekable();
    both.peek().is_some() && {
        let both: Vec<_> = both.collect();
        both.iter().all(|(one, other)| one <= other) && both.iter().any(|(one, other)| one < other)
    }
}

fn unknown(classes: &Classes<'_>, spec: &PerformanceSpec, object: &Object<'_>, found: &mut Findings) {
    if classes.0.is_empty() {
        return;
    }
    for name in spec.attributes_classes.iter().filter(|name| classes.get(name).is_none()) {
        let others: Vec<_> = classes.0.iter().map(|class| class.name).collect();
        let message = format!(
            "there is no VolumeAttributesClass {name} among the files, which have {}: correct the name, or create the class",
            others.join(", ")
        );
        found.add(&UNKNOWN_ATTRIBUTES_CLASS, place(object, name), message);
    }
}
