//! The operator is ended at each of its API calls in turn, before and after the API server has carried it out, and
//! started again: a claim that called for one growth has grown by one, neither by two nor by none.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use orlop_api::{Bytes, names::Reason};
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    operator::{self, Operator},
    proxy::{Bug, Fault, Moment, Proxy, Spell},
    site::Site,
    volume::{Volume, Wanted},
};
use orlop_sim::RequestFate;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::growth::policy;

/// More calls than an operator makes from its start to the end of one growth.
const CALLS_MAX: usize = 120;
/// An agent's rate is of the last five seconds, or of the last minute, in which one fill is little.
const FILL_IS_FORGOTTEN: Duration = Duration::from_secs(8);
/// One step of growth.
const STEP: Bytes = Bytes(32 << 20);

pub(crate) async fn an_operator_killed_at_any_call_grows_a_claim_once(site: &Site) -> anyhow::Result<()> {
    let namespace = "crashes";
    let volume = governed(site, namespace).await?;
    site.scale_operator(0).await?;
    let result = every_call(site, &volume).await;
    site.scale_operator(1).await?;
    let faults = result?;
    let growth = format!("PATCH /api/v1/namespaces/{namespace}/persistentvolumeclaims/data");
    for moment in [Moment::Before, Moment::After] {
        let is_it = |fault: &Fault| fault.call == growth && fault.occurrence == 0 && fault.moment == moment;
        ensure!(faults.iter().any(is_it), "never killed {moment:?} the growth itself, but at {faults:#?}");
    }
    println!("the operator was killed at each of {} moments", faults.len());
    site.remove_namespace(namespace).await
}

/// Ends an operator at each call that one makes from its start to the end of one growth; returns where it was ended.
async fn every_call(site: &Site, volume: &Volume<'_>) -> anyhow::Result<Vec<Fault>> {
    let client = operator::client(site).await?;
    let calls = one(site, volume, client.clone(), None).await?.calls;
    ensure!(calls.len() <= CALLS_MAX, "{} calls for one growth: {calls:#?}", calls.len());
    let mut ended = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let occurrence = calls[..index].iter().filter(|other| *other == call).count();
        for moment in moments(call) {
            let fault = Fault { call: call.clone(), occurrence, moment: *moment };
            let run = one(site, volume, client.clone(), Some(fault.clone())).await;
            // Some calls are not made each time, such as one that renews the lease.
            if run.with_context(|| format!("killed at {fault:?}"))?.has_fired {
                ended.push(fault);
            }
        }
    }
    Ok(ended)
}

/// When to end the operator. What only asks has no effect that could outlive it: after it is before the next call.
fn moments(call: &str) -> &'static [Moment] {
    let only_asks = call.starts_with("GET ") || call.ends_with("/tokenreviews");
    if only_asks { &[Moment::Before] } else { &[Moment::Before, Moment::After] }
}

/// The fates that the simulator deals out, to the first patches of an operator on a real API server: the growth, and the
/// status that tells of it.
const SPELLS: [Spell; 7] = [
    Spell { fate: RequestFate::Lost, patches: 2 },
    Spell { fate: RequestFate::AnswerLost, patches: 2 },
    Spell { fate: RequestFate::Late, patches: 2 },
    Spell { fate: RequestFate::Twice, patches: 4 },
    Spell { fate: RequestFate::Answered(500), patches: 4 },
    Spell { fate: RequestFate::Answered(429), patches: 4 },
    Spell { fate: RequestFate::Answered(409), patches: 4 },
];

pub(crate) async fn a_claim_grows_once_whatever_becomes_of_the_requests_for_it(site: &Site) -> anyhow::Result<()> {
    let namespace = "spells";
    let volume = governed(site, namespace).await?;
    site.scale_operator(0).await?;
    let result = under_each(site, &volume, &SPELLS, None).await;
    site.scale_operator(1).await?;
    result?;
    site.remove_namespace(namespace).await
}

/// The test above, before an operator with the bug that it is there for: it fails where a request arrives twice, as it
/// should, and only there.
pub(crate) async fn an_operator_that_grows_a_claim_twice_is_found(site: &Site) -> anyhow::Result<()> {
    let namespace = "broken";
    let volume = governed(site, namespace).await?;
    let (twice, others): (Vec<_>, Vec<_>) = SPELLS.into_iter().partition(|spell| spell.fate == RequestFate::Twice);
    let bug = Bug::AsksForMore { reader: site.client.clone() };
    site.scale_operator(0).await?;
    let harmless = under_each(site, &volume, &others[..1], Some(&bug)).await;
    let found = under_each(site, &volume, &twice, Some(&bug)).await;
    site.scale_operator(1).await?;
    harmless.context("the bug shows where nothing arrives twice")?;
    let Err(error) = found else { bail!("a claim was asked for more twice, and the test of the fates is content") };
    let error = format!("{error:#}");
    ensure!(error.contains("has grown too far"), "the test of the fates fails for another reason: {error}");
    site.remove_namespace(namespace).await
}

/// A volume with a policy that grows it by a step as soon as it has to.
async fn governed<'a>(site: &'a Site, namespace: &str) -> anyhow::Result<Volume<'a>> {
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &Wanted { namespace, name: "data", size: "320Mi", class: "orlop-local" }).await?;
    let capacity = json!({"minFree": "40Mi", "increase": STEP.to_string(), "timeToFull": "1s", "maximum": "16Gi"});
    site.apply(&policy(namespace, "data", "Auto", &capacity)).await?;
    // The first fill is far larger than those that follow, and the rate that shows of it for some seconds would ask for more
    // than a step.
    volume.fill_until_free(Bytes(48 << 20)).await?;
    sleep(FILL_IS_FORGOTTEN).await;
    Ok(volume)
}

/// One growth after the other, each under one of the spells, until one does not go as it should.
async fn under_each(site: &Site, volume: &Volume<'_>, spells: &[Spell], bug: Option<&Bug>) -> anyhow::Result<()> {
    for spell in spells {
        under(site, volume, *spell, bug).await.with_context(|| format!("under {spell:?}"))?;
    }
    Ok(())
}

/// One growth by an operator whose first patches have a fate.
async fn under(site: &Site, volume: &Volume<'_>, spell: Spell, bug: Option<&Bug>) -> anyhow::Result<()> {
    let target = Bytes(volume.standing().await?.requested.0 + STEP.0);
    let proxy = Proxy::under(operator::client(site).await?, spell, bug.cloned()).await?;
    let mut operator = Operator::start(&proxy)?;
    volume.fill_until_free(Bytes(24 << 20)).await?;
    let grown = volume.grown_to(target, LIMIT).await;
    grown.with_context(|| format!("its calls: {:#?}", proxy.calls()))?;
    if spell.fate == RequestFate::Late {
        // Until what was late has come.
        sleep(Duration::from_secs(20)).await;
    }
    eventually("the operator to decide that there is enough room", LIMIT, || async {
        Ok((operator.claims_with(Reason::EnoughRoom)? == 1).then_some(()))
    })
    .await?;
    ensure!(proxy.dealt() == spell.patches, "only {} patches were made", proxy.dealt());
    let standing = volume.standing().await?;
    ensure!(standing.requested == target, "it grew twice: {standing:?}");
    ensure!(!operator.has_ended()?, "the operator has ended");
    operator.kill().await
}

/// What became of one growth.
struct Run {
    /// The calls of the first operator.
    calls: Vec<String>,
    /// Was it ended at the fault?
    has_fired: bool,
}

/// One growth with one fault, or none: begun by one operator, and seen through by a second.
async fn one(site: &Site, volume: &Volume<'_>, client: kube::Client, fault: Option<Fault>) -> anyhow::Result<Run> {
    let before = volume.standing().await?.requested;
    let target = Bytes(before.0 + STEP.0);
    volume.fill_until_free(Bytes(24 << 20)).await?;
    let proxy = Proxy::start(client.clone(), fault).await?;
    let mut first = Operator::start(&proxy)?;
    let start = Instant::now();
    while !first.has_ended()? {
        // Grown, recorded and told, and the operator is still alive: it has not come to the fault.
        if volume.grown_to(target, Duration::ZERO).await.is_ok() && told(site, volume, target).await? {
            break;
        }
        ensure!(start.elapsed() < LIMIT, "neither killed nor done; its calls: {:#?}", proxy.calls());
        sleep(Duration::from_millis(50)).await;
    }
    let run = Run { calls: proxy.calls(), has_fired: proxy.has_fired() };
    first.kill().await.ok();
    let second_proxy = Proxy::start(client, None).await?;
    let mut second = Operator::start(&second_proxy)?;
    let grown = volume.grown_to(target, LIMIT).await;
    grown.with_context(|| format!("after {:#?}; then {:#?}", run.calls, second_proxy.calls()))?;
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
    Ok(run)
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
