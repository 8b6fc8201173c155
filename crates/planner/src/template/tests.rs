use std::sync::Arc;

use orlop_api::{Mode, TemplateSync};
use proptest::prelude::*;

use super::*;
use crate::{
    Belonging, Claim, ClaimTemplate, KeepsClaims, Manager, NamespaceName, Owner, Requirement, Selector,
    fixture::{claim, id, mib, namespaced, owned, policy, the_policy, the_spec, view},
    invariants::check_template,
};

fn db() -> SetId {
    SetId { namespace: NamespaceName("shop".into()), name: "db".into() }
}

fn sized(size: u64) -> Claim {
    Claim { requested: mib(size), capacity: mib(size), pods: Vec::new(), ..claim() }
}

/// A StatefulSet whose template asks for 512Mi and whose two claims have 1024Mi and 768Mi, which may be made anew.
fn drifted() -> View {
    let mut view = view();
    view.claims = [("data-db-0", 1024), ("data-db-1", 768)].map(|(name, size)| (id(name), sized(size))).into();
    let template = ClaimTemplate { name: "data".into(), size: Some(mib(512)), class: None };
    let set = StatefulSet {
        uid: Uid("set".into()),
        belonging: Belonging::default(),
        replicas: 2,
        templates: Box::new([template]),
        settled: true,
        deleting: false,
        scaled: None,
        in_vain: None,
        keeps_claims: KeepsClaims::default(),
        version: Some(7),
    };
    view.sets = BTreeMap::from([(db(), set)]);
    view.allowed.template_sync = true;
    the_spec(&mut view).template_sync = TemplateSync::Recreate;
    view
}

fn with(change: impl FnOnce(&mut View)) -> View {
    let mut view = drifted();
    change(&mut view);
    view
}

/// What makes a world another one.
type Change<'a> = &'a dyn Fn(&mut View);

fn the_set(view: &mut View) -> &mut StatefulSet {
    view.sets.get_mut(&db()).unwrap()
}

fn the_claim(view: &mut View) -> &mut Claim {
    view.claims.get_mut(&id("data-db-0")).unwrap()
}

/// The first drift in words; nothing is to be done about it.
fn kept(view: &View) -> String {
    let (action, drifts) = templates(view, &db());
    assert_eq!(action, None);
    drifts[0].sentence()
}

fn resizes(to: u64) -> Resizes {
    [("data".into(), (mib(512), mib(to)))].into()
}

fn stored(size: u64) -> StoredSet {
    let sizes = [("data".into(), mib(size))].into();
    StoredSet { uid: Uid("map".into()), set: Uid("set".into()), version: 7, sizes }
}

#[test]
fn a_template_is_to_ask_for_what_the_largest_of_its_claims_has() {
    let (action, drifts) = templates(&drifted(), &db());
    assert_eq!(action, Some(TemplateAction::Store { set: db(), uid: Uid("set".into()), resizes: resizes(1024) }));
    assert_eq!(
        drifts[0].sentence(),
        "template data asks for 512Mi, and its claims have up to 1Gi: the claim of the next replica would be smaller; the \
         StatefulSet is made anew"
    );
    let patch: serde_json::Value = serde_json::from_str(&drifts[0].patch()).unwrap();
    assert_eq!(patch[0]["path"], "/spec/volumeClaimTemplates/0/metadata/name");
    assert_eq!(patch[1]["path"], "/spec/volumeClaimTemplates/0/spec/resources/requests/storage");
    assert_eq!((&patch[0]["value"], &patch[1]["value"]), (&"data".into(), &"1Gi".into()));
}

#[test]
fn no_template_asks_for_less_than_claims_that_are_no_larger_or_ungoverned_or_only_asked_for_more() {
    let of = |change: &dyn Fn(&mut View)| {
        let drifts = templates(&with(change), &db()).1;
        drifts.into_iter().map(|drift| drift.wants).collect::<Vec<_>>()
    };
    assert_eq!(of(&|view| the_set(view).templates[0].size = Some(mib(1024))), []);
    assert_eq!(of(&|view| the_set(view).templates[0].size = None), [], "what cannot be read is not changed");
    assert_eq!(of(&|view| view.policies.clear()), []);
    assert_eq!(of(&|view| the_policy(view).mode = Mode::Off), []);
    assert_eq!(of(&|view| the_policy(view).capacity = None), []);
    assert_eq!(of(&|view| the_spec(view).maximum = mib(900)), [mib(900)], "the policy's maximum bounds it");
    let asked = |view: &mut View| (the_claim(view).requested, the_claim(view).capacity) = (mib(2048), mib(600));
    assert_eq!(of(&asked), [mib(768)], "it may never get what it asks for");
    let rounded = |view: &mut View| (the_claim(view).requested, the_claim(view).capacity) = (mib(512), mib(1024));
    assert_eq!(of(&rounded), [mib(768)], "its driver has made more of it than anybody asked for");
}

#[test]
fn what_somebody_else_has_made_is_reported_with_whose_it_is() {
    let owner = || Owner {
        api_version: "example.com/v1".into(),
        kind: "Database".into(),
        name: "main".into(),
        uid: Uid("o".into()),
    };
    let by_its_set = with(|view| the_set(view).belonging.owner = Some(owner()));
    let by_its_claim = with(|view| {
        let belonging = Belonging { owner: Some(owner()), manager: None };
        view.claims.get_mut(&id("data-db-1")).unwrap().belonging = Some(Arc::new(belonging));
    });
    for view in [by_its_set, by_its_claim] {
        let text = "; Database main has made the StatefulSet: change the size that Database main asks for";
        assert!(kept(&view).ends_with(text), "{}", kept(&view));
    }
    let by_its_label = with(|view| {
        let owned = owned();
        view.resources = owned.resources;
        the_claim(view).labels = owned.claims[&id("data-0")].labels.clone();
    });
    let text = "; Cluster db has made the StatefulSet: change the size that Cluster db asks for";
    assert!(kept(&by_its_label).ends_with(text), "{}", kept(&by_its_label));
    for manager in [Manager::Helm("shop".into()), Manager::Other("terraform".into())] {
        let text = format!("; {manager} applies the StatefulSet: make this change where that has it from");
        let view = with(|view| the_set(view).belonging.manager = Some(manager));
        assert!(kept(&view).ends_with(&text), "{}", kept(&view));
    }
}

#[test]
fn a_statefulset_that_is_not_to_be_made_anew_is_reported_with_what_to_do() {
    let by_hand = "make this change in its manifest, delete the StatefulSet with --cascade=orphan, and apply it again";
    let second_policy = |view: &mut View| {
        let labels = Selector(vec![Requirement::In("app".to_owned(), vec!["other".to_owned()])]);
        view.policies.insert(namespaced("other"), crate::Policy { claims: labels, ..policy() });
        the_policy(view).claims = Selector(vec![Requirement::In("app".to_owned(), vec!["db".to_owned()])]);
        view.policies.get_mut(&namespaced("other")).unwrap().capacity.as_mut().unwrap().template_sync =
            TemplateSync::Recreate;
        view.claims.get_mut(&id("data-db-1")).unwrap().labels = crate::Labels::from([("app", "other")]);
    };
    let cases: [(Change<'_>, String); 5] = [
        (&|view| the_spec(view).template_sync = TemplateSync::Report, by_hand.to_owned()),
        (
            &|view| the_set(view).keeps_claims.when_deleted = false,
            format!(
                "its persistentVolumeClaimRetentionPolicy deletes its claims with it, so Orlop does not delete it: {by_hand}"
            ),
        ),
        (&second_policy, format!("several policies govern its claims, so Orlop does not make it anew: {by_hand}")),
        (&|view| the_policy(view).mode = Mode::Recommend, "in mode Auto the StatefulSet would be made anew".to_owned()),
        (
            &|view| view.allowed.template_sync = false,
            "templateSync is Recreate, and the operator may not make StatefulSets: set operator.templateSync in the \
             chart's values"
                .to_owned(),
        ),
    ];
    for (change, expected) in cases {
        let text = kept(&with(change));
        assert!(text.ends_with(&format!("; {expected}")), "{text}");
    }
}

#[test]
fn a_statefulset_is_made_anew_when_it_and_its_claims_have_come_to_rest() {
    let scaled = crate::maintenance::ScaledFrom {
        replicas: 2,
        claim: "data-db-0".into(),
        at: crate::fixture::at(0),
        until: crate::fixture::at(60),
    };
    let cases: [(Change<'_>, &str); 5] = [
        (
            &|view| the_set(view).scaled = Some(Box::new(scaled.clone())),
            "when it has its replicas again, which was stopped so that volumes of it can be expanded",
        ),
        (&|view| the_claim(view).paused = Some("yes".into()), "when the claim data-db-0 is no longer paused"),
        (&|view| the_set(view).deleting = true, "when it is no longer being deleted"),
        (&|view| the_set(view).settled = false, "when all its pods are ready and no rollout is under way"),
        (&|view| the_claim(view).requested = mib(2048), "when the claim data-db-0 has grown"),
    ];
    for (change, what_for) in cases {
        let text = kept(&with(change));
        assert!(text.ends_with(&format!("; the StatefulSet is made anew {what_for}")), "{text}");
    }
}

#[test]
fn a_template_waits_for_another_of_its_statefulset_so_that_it_is_made_anew_once() {
    let view = with(|view| {
        let wal = ClaimTemplate { name: "wal".into(), size: Some(mib(512)), class: None };
        let data = the_set(view).templates[0].clone();
        the_set(view).templates = Box::new([data, wal]);
        let growing = Claim { requested: mib(900), ..sized(640) };
        view.claims.insert(id("wal-db-0"), growing);
    });
    let (action, drifts) = templates(&view, &db());
    assert_eq!((action, drifts.len()), (None, 2));
    let view = View { claims: view.claims.into_iter().filter(|(it, _)| *it != id("wal-db-0")).collect(), ..view };
    assert!(templates(&view, &db()).0.is_some());
}

#[test]
fn what_is_stored_and_what_is_there_say_what_comes_next() {
    let next = |stored_is: Option<StoredSet>, change: &dyn Fn(&mut View)| {
        let view = with(|view| {
            view.stored.extend(stored_is.map(|stored| (db(), stored)));
            change(view);
        });
        let action = templates(&view, &db()).0;
        if let Some(action) = &action {
            assert_eq!(check_template(&view, action), Ok(()), "{action}");
        }
        action.map(|action| action.to_string())
    };
    let name = "StatefulSet shop/db";
    let store = Some(format!("store {name} with template data from 512Mi to 1Gi"));
    let delete = Some(format!("delete {name}, and leave its pods and claims, to make it anew"));
    let create = Some(format!("create {name} from what was stored of it"));
    let give_up = Some(format!("give up making {name} anew"));
    let forget = Some(format!("remove what was stored of {name}"));
    assert_eq!(next(None, &|_| {}), store);
    assert_eq!(next(Some(stored(1024)), &|_| {}), delete);
    assert_eq!(next(Some(stored(1024)), &|view| the_set(view).version = Some(6)), delete, "what is known is older");
    assert_eq!(next(Some(stored(1024)), &|view| the_set(view).version = Some(8)), forget, "it has changed since");
    assert_eq!(next(Some(stored(900)), &|_| {}), delete, "that its claims have grown since is for the next time");
    assert_eq!(next(Some(stored(512)), &|_| {}), give_up, "it is no larger");
    assert_eq!(next(Some(stored(1024)), &|view| the_set(view).settled = false), give_up, "it waits");
    assert_eq!(next(Some(stored(1024)), &|view| the_policy(view).mode = Mode::Recommend), give_up);
    assert_eq!(next(Some(stored(1024)), &|view| the_set(view).deleting = true), None, "it is being let go of");
    assert_eq!(next(Some(stored(1024)), &|view| view.sets.clear()), create);
    assert_eq!(
        next(Some(stored(1024)), &|view| (view.sets.clear(), view.policies.clear()).0),
        create,
        "whatever is wanted"
    );
    let gone = |view: &mut View| (view.sets.clear(), view.namespaces.clear()).0;
    assert_eq!(next(Some(stored(1024)), &gone), forget, "its namespace is gone");
    assert_eq!(next(Some(stored(1024)), &|view| the_set(view).uid = Uid("new".into())), forget, "it is there anew");
    assert_eq!(next(None, &|view| view.sets.clear()), None);
}

/// What the API server holds of one StatefulSet.
#[derive(Debug, Clone)]
struct World {
    set: Option<StatefulSet>,
    stored: Option<StoredSet>,
    claims: u64,
    serial: u64,
    on_their_way: Vec<TemplateAction>,
    /// Is the StatefulSet one that may be made anew now?
    settled: bool,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// An operator that sees the world as it was so many changes ago makes the step that it decides on. It may be killed before
    /// that, or after it, which makes no difference: nothing is remembered.
    Operate { behind: usize },
    /// The same, but that the API server carries the step out later.
    Send { behind: usize },
    /// The step that was sent first is carried out.
    Arrive,
    /// Its pods and claims have been let go of.
    LetGo,
    /// Somebody or something changes the StatefulSet.
    Touch,
    /// The claims grow.
    Grow,
    /// A rollout begins, or ends.
    Settle,
    /// Where it is not there, somebody applies its old manifest.
    Apply,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0_usize..4).prop_map(|behind| Deed::Operate { behind }),
        2 => (0_usize..4).prop_map(|behind| Deed::Send { behind }),
        2 => Just(Deed::Arrive),
        3 => Just(Deed::LetGo),
        1 => Just(Deed::Touch),
        1 => Just(Deed::Grow),
        1 => Just(Deed::Settle),
        1 => Just(Deed::Apply),
    ]
}

impl World {
    fn new() -> Self {
        Self {
            set: drifted().sets.remove(&db()),
            stored: None,
            claims: 1024,
            serial: 7,
            on_their_way: Vec::new(),
            settled: true,
        }
    }

    fn view(&self) -> View {
        with(|view| {
            let set = self.set.clone().map(|set| StatefulSet { settled: self.settled, ..set });
            view.sets = set.map(|set| (db(), set)).into_iter().collect();
            view.stored = self.stored.clone().map(|stored| (db(), stored)).into_iter().collect();
            *the_claim(view) = sized(self.claims);
        })
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn make(&mut self, size: Bytes) {
        let serial = self.next();
        let mut set = drifted().sets.remove(&db()).unwrap();
        (set.uid, set.version) = (Uid(format!("set-{serial}").into()), Some(serial));
        set.templates[0].size = Some(size);
        self.set = Some(set);
    }

    /// Makes a step as the API server does: where what it expects is there.
    fn step(&mut self, action: &TemplateAction) {
        let stored_is = |uid: &Uid| self.stored.as_ref().is_some_and(|stored| stored.uid == *uid);
        match action {
            TemplateAction::Store { uid, resizes, .. } => {
                let Some(set) = self.set.clone().filter(|set| set.uid == *uid && !set.deleting) else { return };
                let (from, to) = resizes["data"];
                if self.stored.is_none() && set.templates[0].size == Some(from) {
                    let uid = Uid(format!("map-{}", self.next()).into());
                    let sizes = [("data".into(), to)].into();
                    self.stored = Some(StoredSet { uid, set: set.uid, version: set.version.unwrap(), sizes });
                }
            }
            TemplateAction::Delete { uid, version, stored, .. } if stored_is(stored) => {
                let serial = self.next();
                let it = self.set.as_mut().filter(|set| set.uid == *uid && set.version == Some(*version));
                if let Some(set) = it {
                    (set.deleting, set.version) = (true, Some(serial));
                }
            }
            TemplateAction::Create { stored, .. } if stored_is(stored) && self.set.is_none() => {
                let size = self.stored.as_ref().unwrap().sizes["data"];
                self.make(size);
            }
            TemplateAction::Forget { stored, .. } if stored_is(stored) => self.stored = None,
            TemplateAction::GiveUp { uid, version, .. } => {
                let serial = self.next();
                let it = self.set.as_mut().filter(|set| set.uid == *uid && set.version == Some(*version));
                if let Some(set) = it {
                    set.version = Some(serial);
                }
            }
            TemplateAction::Delete { .. } | TemplateAction::Create { .. } | TemplateAction::Forget { .. } => {}
        }
    }

    fn happen(&mut self, deed: Deed, past: &[View]) {
        match deed {
            Deed::Operate { behind } => {
                let seen = &past[past.len().saturating_sub(1 + behind)];
                if let Some(action) = templates(seen, &db()).0 {
                    assert_eq!(check_template(seen, &action), Ok(()), "{action}");
                    self.step(&action);
                }
            }
            Deed::Send { behind } => {
                let seen = &past[past.len().saturating_sub(1 + behind)];
                self.on_their_way.extend(templates(seen, &db()).0);
            }
            Deed::Arrive if self.on_their_way.is_empty() => {}
            Deed::Arrive => {
                let action = self.on_their_way.remove(0);
                self.step(&action);
            }
            Deed::Settle => self.settled = !self.settled,
            Deed::LetGo => drop(self.set.take_if(|set| set.deleting)),
            Deed::Touch => {
                let serial = self.next();
                if let Some(set) = &mut self.set {
                    set.version = Some(serial);
                }
            }
            Deed::Grow => self.claims = (self.claims + 128).min(4096),
            Deed::Apply if self.set.is_none() => self.make(mib(512)),
            Deed::Apply => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_statefulset_is_never_lost_and_its_template_is_large_in_the_end(deeds in prop::collection::vec(deed(), 0..60)) {
        let mut world = World::new();
        let mut past = vec![world.view()];
        for deed in deeds {
            world.happen(deed, &past);
            prop_assert!(world.set.is_some() || world.stored.is_some(), "lost after {deed:?}");
            past.push(world.view());
        }
        world.settled = true;
        let late = world.on_their_way.len();
        for number in 0..late + 12 {
            world.happen(if number < late { Deed::Arrive } else { Deed::LetGo }, &past);
            prop_assert!(world.set.is_some() || world.stored.is_some(), "lost in the end");
            world.happen(Deed::LetGo, &past);
            world.happen(Deed::Operate { behind: 0 }, &[world.view()]);
        }
        prop_assert_eq!(world.stored, None);
        let set = world.set.unwrap();
        prop_assert!(!set.deleting);
        prop_assert_eq!(set.templates[0].size, Some(mib(world.claims)));
    }
}
