//! The operator is ended at each of its API calls in turn, before and after the API server has carried it out, and
//! started again: a claim that called for one growth has grown by one, neither by two nor by none.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use orlop_api::{Bytes, names::Reason};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    operator::{self, Operator},
    proxy::{Fault, Moment, Proxy},
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::growth::policy;

/// More calls than an operator makes from its start to the end of one growth; reaching it is a failure, so that the
/// test cannot go on for ever.
const CALLS_MAX: usize = 120;
/// One step of growth.
const STEP: Bytes = Bytes(32 << 20);

pub(crate) async fn an_operator_killed_at_any_call_grows_a_claim_once(site: &Site) -> anyhow::Result<()> {
    let namespace = "crashes";
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &Wanted { namespace, name: "data", size: "320Mi", class: "orlop-local" }).await?;
    let capacity = json!({"minFree": "40Mi", "increase": STEP.to_string(), "timeToFull": "1s", "maximum": "16Gi"});
    site.apply(&policy(namespace, "data", "Auto", &capacity)).await?;
    site.scale_operator(0).await?;
    let result = every_call(site, &volume).await;
    site.scale_operator(1).await?;
    let fired = result?;
    let growth = format!("PATCH /api/v1/namespaces/{namespace}/persistentvolumeclaims/data");
    for moment in [Moment::Before, Moment::After] {
        let is_it = |call: &String| call.starts_with(&growth) && call.ends_with("(done)") == (moment == Moment::After);
        ensure!(fired.iter().any(is_it), "never killed {moment:?} the growth itself, but at {fired:#?}");
    }
    println!("the operator was killed at each of {} moments", fired.len());
    site.remove_namespace(namespace).await
}

/// Goes through the calls until a run ends without having come to the fault; returns the calls at which it was ended.
async fn every_call(site: &Site, volume: &Volume<'_>) -> anyhow::Result<Vec<String>> {
    let client = operator::client(site).await?;
    let mut ended = Vec::new();
    for request in 0..CALLS_MAX {
        for moment in [Moment::Before, Moment::After] {
            let fault = Fault { request, moment };
            let fired =
                one(site, volume, client.clone(), fault).await.with_context(|| format!("killed at {fault:?}"))?;
            let Some(call) = fired else { return Ok(ended) };
            let reads = call.starts_with("GET ");
            ended.push(call);
            // A read has no effect that could outlive its reader: after it is before the next call.
            if reads {
                break;
            }
        }
    }
    anyhow::bail!("the operator still makes new calls after {CALLS_MAX}")
}

/// One growth with one fault; returns the call at which the operator was ended, if it came to that.
async fn one(site: &Site, volume: &Volume<'_>, client: kube::Client, fault: Fault) -> anyhow::Result<Option<String>> {
    let before = volume.standing().await?.requested;
    let target = Bytes(before.0 + STEP.0);
    volume.fill_until_free(Bytes(24 << 20)).await?;
    let proxy = Proxy::start(client.clone(), Some(fault)).await?;
    let mut first = Operator::start(&proxy)?;
    let start = Instant::now();
    let survived = loop {
        if first.has_ended()? {
            break false;
        }
        // Grown, recorded and told, and the operator is still alive: it made fewer calls than the fault's number.
        if volume.grown_to(target, Duration::ZERO).await.is_ok() && told(site, volume, target).await? {
            break true;
        }
        ensure!(start.elapsed() < LIMIT, "neither killed nor done; its calls: {:#?}", proxy.log());
        sleep(Duration::from_millis(50)).await;
    };
    let fired = proxy.fired();
    first.kill().await.ok();
    let second_proxy = Proxy::start(client, None).await?;
    let mut second = Operator::start(&second_proxy)?;
    volume
        .grown_to(target, LIMIT)
        .await
        .with_context(|| format!("after {fired:?}; then: {:#?}", second_proxy.log()))?;
    eventually("the second operator to decide that there is enough room", LIMIT, || async {
        Ok((second.claims_with(Reason::EnoughRoom)? == 1).then_some(()))
    })
    .await?;
    let standing = volume.standing().await?;
    ensure!(standing.requested == target, "it grew twice: {standing:?}");
    eventually("the Event that tells of the growth", LIMIT, || async {
        Ok(told(site, volume, target).await?.then_some(()))
    })
    .await?;
    ensure!(!second.has_ended()?, "the second operator has ended");
    second.kill().await?;
    Ok(if survived && fired.is_none() { None } else { fired })
}

/// Is there exactly one Event that tells of the growth to `target`?
async fn told(site: &Site, volume: &Volume<'_>, target: Bytes) -> anyhow::Result<bool> {
    let events = site.events(&volume.namespace, &volume.name, "Grown").await?;
    let about = events
        .iter()
        .filter(|event| event.message.as_deref().is_some_and(|message| message.contains(&target.to_string())));
    let count: i32 = about.map(|event| event.count.unwrap_or(1)).sum();
    ensure!(count <= 1, "{count} Events tell of one growth to {target}");
    Ok(count == 1)
}
