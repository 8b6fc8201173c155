//! The operator's part in the contest for the Lease: asks, writes, and announces whether it leads.

use std::time::Instant;

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use orlop_api::names::FIELD_MANAGER;
use orlop_operator::{
    Moment,
    lease::{Campaign, Candidate, Deposed, Move},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// Does this operator lead?
#[derive(Debug, Clone)]
pub(super) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// May it act now? Asked before each request, and true only while no other can think the same.
    pub(super) fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it may act.
    pub(super) async fn begins(&mut self) {
        while !self.is_held() {
            self.changed().await;
        }
    }

    /// Waits for news: the lease was taken, renewed or lost.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Announces whether the candidate leads, and the task that sees to it: it ends when another has taken the lease.
pub(super) fn stand(api: Api<Lease>, candidate: Candidate) -> (Leadership, impl Future<Output = Deposed>) {
    let (held_until, leadership) = watch::channel(None);
    (Leadership(leadership), campaign(api, Campaign::new(candidate), held_until))
}

/// Gives the lease back if it is held, so that another need not wait for its end.
pub(super) async fn release(api: &Api<Lease>, candidate: &Candidate) -> Result<(), kube::Error> {
    let mut lease = api.get(&candidate.name).await?;
    if holder(&lease) != Some(&candidate.identity) {
        return Ok(());
    }
    lease.spec.get_or_insert_default().holder_identity = None;
    api.replace(&candidate.name, &parameters(), &lease).await.map(|_| ())
}

async fn campaign(api: Api<Lease>, mut campaign: Campaign, held_until: watch::Sender<Option<Instant>>) -> Deposed {
    let Candidate { name: lease, identity, .. } = campaign.candidate().clone();
    let (deadline, pause) = (campaign.candidate().deadline(), campaign.candidate().pause());
    loop {
        let asked = Instant::now();
        match timeout(deadline, attempt(&api, &mut campaign)).await {
            Ok(Ok(None)) => {
                if campaign.holds(asked) {
                    info!(lease, identity, "this operator leads now");
                }
            }
            Ok(Ok(Some(holder))) => {
                if let Err(deposed) = campaign.is_held_by(holder) {
                    held_until.send_replace(None);
                    return deposed;
                }
            }
            Ok(Err(error)) => warn!(lease, error = &error as &dyn std::error::Error, "the lease cannot be renewed"),
            Err(_) => warn!(lease, "the API server does not answer about the lease"),
        }
        held_until.send_if_modified(|until| std::mem::replace(until, campaign.held_until()) != campaign.held_until());
        sleep(pause).await;
    }
}

/// One round: none where the lease is now held, or who else holds it.
async fn attempt(api: &Api<Lease>, campaign: &mut Campaign) -> Result<Option<String>, kube::Error> {
    let name = campaign.candidate().name.clone();
    let lease = api.get_opt(&name).await?;
    let spec = match campaign.found(lease.as_ref().and_then(|lease| lease.spec.as_ref()), Moment::now()) {
        Move::Wait(holder) => return Ok(Some(holder)),
        Move::Write(spec) => Some(spec),
    };
    match lease {
        // The object still has its resource version: whoever has written since makes this fail.
        Some(lease) => api.replace(&name, &parameters(), &Lease { spec, ..lease }).await?,
        None => {
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            api.create(&parameters(), &Lease { metadata, spec }).await?
        }
    };
    Ok(None)
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
