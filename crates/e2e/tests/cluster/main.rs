//! Black-box tests on a real cluster: a bed of two nodes with Orlop installed from its chart. They run one after the
//! other, each in a namespace of its own, because several of them end parts that the others need.
//!
//! `ORLOP_E2E_KEEP=1` leaves the bed running and uses it again, which is how one works on a test; `ORLOP_E2E_LOGS`
//! names a folder for the logs of the processes that the tests start.

mod bed;
mod crashes;
mod growth;
mod outages;
mod refusals;

use std::{
    future::Future,
    pin::Pin,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Failed, Trial};
use orlop_e2e::site::Site;
use tokio::runtime::Runtime;

const BED: &str = "e2e";
const NODES: u8 = 2;

type Test = for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A test's name and itself.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((stringify!($module::$name), (|site| Box::pin($module::$name(site))) as Test)),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let site = Arc::new(OnceLock::<Result<Site, String>>::new());
    let tests = tests![
        growth::a_volume_grows_before_it_is_full_and_the_data_of_the_quickstart_is_whole,
        growth::volumes_on_every_node_grow,
        growth::a_volume_that_fills_fast_grows_by_as_much_as_its_rate_asks_for,
        growth::a_volume_grows_when_its_inodes_run_short,
        growth::recommend_writes_the_decision_and_changes_nothing,
        growth::a_cluster_policy_governs_what_no_namespaced_policy_selects,
        refusals::at_the_maximum_there_is_one_condition_one_event_and_no_hot_loop,
        refusals::a_class_that_does_not_allow_expansion_is_reported_and_left_alone,
        refusals::a_policy_that_selects_nothing_says_so,
        refusals::two_policies_that_select_one_claim_are_both_told_and_neither_acts,
        refusals::an_invalid_policy_is_rejected_with_what_to_do,
        outages::without_agents_the_kubelets_summaries_serve,
        outages::without_measurements_nothing_is_done_and_that_is_reported,
        outages::an_agent_that_is_killed_comes_back_and_the_volume_grows,
        outages::the_api_server_restarts_and_the_volume_grows,
        outages::a_driver_killed_during_create_grow_and_delete_finishes_the_work,
        crashes::an_operator_killed_at_any_call_grows_a_claim_once,
        bed::a_second_up_changes_nothing_and_a_killed_component_comes_back,
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let (runtime, site) = (Arc::clone(&runtime), Arc::clone(&site));
            Trial::test(name.replace("::", ": ").replace('_', " "), move || {
                let site = site.get_or_init(|| runtime.block_on(start()).map_err(|error| format!("{error:#}")));
                let site = site.as_ref().map_err(Failed::from)?;
                runtime.block_on(test(site)).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if site.get().is_some()
        && !kept()
        && let Err(error) = runtime.block_on(Site::remove(BED))
    {
        eprintln!("cannot remove the bed: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn kept() -> bool {
    std::env::var_os("ORLOP_E2E_KEEP").is_some()
}

async fn start() -> anyhow::Result<Site> {
    if !kept() {
        Site::remove(BED).await?;
    }
    let site = Site::start(BED, NODES).await?;
    site.apply(CLASSES).await?;
    Ok(site)
}

/// The classes that the tests need beside the chart's.
const CLASSES: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: e2e-fixed}
provisioner: local.orlop.dev
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: false
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: e2e-ext4}
provisioner: local.orlop.dev
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
parameters: {csi.storage.k8s.io/fstype: ext4}
";
