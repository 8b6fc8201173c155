//! Black-box tests on a real cluster: a bed of three nodes with Orlop installed from its chart. They run one after the
//! other, each in a namespace of its own, because several of them end parts that the others need.
//!
//! `ORLOP_E2E_KEEP=1` leaves the bed running and uses it again, which is how one works on a test; `ORLOP_E2E_LOGS`
//! names a folder for the logs of the processes that the tests start; `ORLOP_E2E_BED` gives the bed another name than
//! `e2e`, so that two checkouts can be tested side by side.

mod bed;
mod crashes;
mod examples;
mod growth;
mod inspect;
mod local;
mod maintenance;
mod outages;
mod refusals;
mod rescue;
mod sources;
mod templates;
mod writeback;

use std::{
    future::Future,
    pin::Pin,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Failed, Trial};
use orlop_e2e::site::Site;
use tokio::runtime::Runtime;

const NODES: u8 = 3;

type Test = for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A test's name and itself.
macro_rules! tests {
    ($($($part:ident)::+),* $(,)?) => {
        vec![$((stringify!($($part)::+), (|site| Box::pin($($part)::+(site))) as Test)),*]
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
        growth::replicas_grow_as_one_and_one_that_is_paused_follows_when_it_no_longer_is,
        growth::what_a_budget_has_left_is_given_and_who_wants_more_waits_until_it_has_more,
        growth::recommend_writes_the_decision_and_changes_nothing,
        growth::a_cluster_policy_governs_what_no_namespaced_policy_selects,
        inspect::explain_status_and_top_tell_what_the_operator_has_decided,
        inspect::kubectl_runs_it_as_a_plugin,
        inspect::only_who_has_the_role_may_ask_and_others_are_told_which_it_is,
        maintenance::in_a_window_a_statefulset_is_scaled_to_zero_for_its_volume_and_back,
        maintenance::in_a_window_a_deployment_is_scaled_to_zero_for_its_volume_and_back,
        maintenance::an_operator_killed_at_any_request_of_a_window_leaves_nothing_stopped,
        maintenance::pods_that_were_stopped_in_vain_are_not_stopped_again_at_once,
        refusals::at_the_maximum_there_is_one_condition_one_event_and_no_hot_loop,
        refusals::a_class_that_does_not_allow_expansion_is_reported_and_left_alone,
        refusals::a_policy_that_selects_nothing_says_so,
        refusals::two_policies_that_select_one_claim_are_both_told_and_neither_acts,
        refusals::an_invalid_policy_is_rejected_with_what_to_do,
        refusals::an_invalid_budget_or_profile_is_rejected_with_what_to_do,
        examples::the_api_server_takes_every_example,
        local::kinds::every_kind_of_volume_holds_its_data_through_a_restart_of_its_driver_and_growth,
        local::mounts::mount_options_ownership_read_only_and_sub_paths_are_as_asked_for,
        local::mounts::a_claim_for_one_pod_admits_no_second_and_a_second_pod_of_a_node_shares_another,
        local::mounts::ephemeral_volumes_come_and_go_with_their_pod,
        local::mounts::an_unknown_parameter_is_named_on_the_claim,
        local::snapshots::a_volume_in_use_is_restored_larger_on_its_node_and_its_snapshot_outlives_it,
        local::snapshots::a_claim_in_use_is_cloned_and_the_clone_outlives_it,
        local::snapshots::a_group_of_claims_is_snapshotted_at_one_moment,
        local::snapshots::a_group_on_two_nodes_is_refused_with_the_reason_and_can_be_deleted,
        local::snapshots::a_snapshot_that_was_brought_from_outside_finds_its_node,
        local::limits::the_limits_of_a_running_volume_follow_its_attributes_class,
        local::performance::a_saturated_volume_gets_a_faster_class_and_an_idle_one_a_slower,
        local::room::the_room_that_the_scheduler_knows_of_is_there_and_a_pod_goes_where_it_is,
        local::pools::a_blank_device_becomes_a_nodes_pool,
        local::nodes::volumes_of_a_node_that_is_gone_are_reported_and_those_without_a_claim_cleaned_up,
        rescue::a_pod_that_crashes_in_a_loop_on_a_full_disk_is_rescued_with_its_data,
        sources::a_volume_grows_by_what_source_is_left_and_without_any_nothing_is_done,
        outages::an_agent_that_is_killed_comes_back_and_the_volume_grows,
        outages::the_api_server_restarts_and_the_volume_grows,
        outages::a_driver_killed_during_create_grow_and_delete_finishes_the_work,
        crashes::an_operator_killed_at_any_call_grows_a_claim_once,
        crashes::a_claim_grows_once_whatever_becomes_of_the_requests_for_it,
        crashes::an_operator_that_grows_a_claim_twice_is_found,
        templates::a_statefulset_is_made_anew_with_a_larger_template_whatever_ends_the_operator,
        templates::a_statefulset_that_helm_applies_is_reported_and_left_alone,
        writeback::a_claim_grows_by_way_of_its_owner_and_is_never_fought_over,
        writeback::a_claim_whose_owners_kind_has_only_just_come_is_not_changed_itself,
        writeback::an_owner_that_flux_applies_is_left_alone_until_somebody_commits_the_size,
        writeback::an_operator_that_is_killed_between_record_and_owner_writes_the_owner_once,
        bed::a_second_up_changes_nothing_and_a_killed_component_comes_back,
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let (runtime, site) = (Arc::clone(&runtime), Arc::clone(&site));
            Trial::test(name.split("::").map(str::trim).collect::<Vec<_>>().join(": ").replace('_', " "), move || {
                let site = site.get_or_init(|| runtime.block_on(start()).map_err(|error| format!("{error:#}")));
                let site = site.as_ref().map_err(Failed::from)?;
                runtime.block_on(test(site)).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if site.get().is_some()
        && !kept()
        && let Err(error) = runtime.block_on(Site::remove(&bed_name()))
    {
        eprintln!("cannot remove the bed: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn bed_name() -> String {
    std::env::var("ORLOP_E2E_BED").unwrap_or_else(|_| "e2e".to_owned())
}

fn kept() -> bool {
    std::env::var_os("ORLOP_E2E_KEEP").is_some()
}

async fn start() -> anyhow::Result<Site> {
    if !kept() {
        Site::remove(&bed_name()).await?;
    }
    let site = Site::start(&bed_name(), NODES).await?;
    site.apply(CLASSES).await?;
    site.apply(local::CLASSES).await?;
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
