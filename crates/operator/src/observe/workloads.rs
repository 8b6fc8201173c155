//! Workloads that can be scaled to zero: Deployments, what else scales a workload, and for which claims which of them are
//! scaled.

use std::collections::BTreeSet;

use orlop_planner::{ClaimId, Deployment, DeploymentId, NamespaceName, SetId, WorkloadId, maintenance::ScaledFrom};

use super::{Change, Observer, cluster::is_older};

impl Observer {
    pub(super) fn deployment(&mut self, change: Change<DeploymentId, Deployment>) {
        for (id, deployment) in self.lists.deployments.resolve(change, self.view.deployments.keys()) {
            self.set_deployment(id, deployment);
        }
    }

    fn set_deployment(&mut self, id: DeploymentId, deployment: Option<Deployment>) {
        let known = self.view.deployments.get(&id);
        if let Some((deployment, known)) = deployment.as_ref().zip(known)
            && !self.lists.deployments.is_listing()
            && deployment.uid == known.uid
            && is_older(deployment.version, known.version)
        {
            return;
        }
        // Its status is written again and again, and matters to nobody but by the version.
        let matters = |it: &Deployment| Deployment { version: None, ..it.clone() };
        let concerns_claims = known.map(matters) != deployment.as_ref().map(matters);
        let workload = WorkloadId::Deployment(id.clone());
        if concerns_claims {
            let scaled = deployment.as_ref().and_then(|deployment| deployment.scaled.as_deref());
            self.mark_claims_of(&workload);
            self.mark_scaled(&workload, scaled);
        }
        match deployment {
            Some(deployment) => self.view.deployments.insert(id, deployment),
            None => self.view.deployments.remove(&id),
        };
        if concerns_claims {
            self.mark_claims_of(&workload);
        }
    }

    pub(super) fn mark_claims_of(&mut self, workload: &WorkloadId) {
        let claims = self.view.claims_of_workload(workload).into_iter();
        let claims: Vec<ClaimId> = claims.map(|(claim, _)| claim.clone()).collect();
        self.dirty.claims.extend(claims);
    }

    /// Brings up to date for which claim the workload is scaled to zero, and has that decided about, also where it is gone.
    pub(super) fn mark_scaled(&mut self, id: &WorkloadId, scaled: Option<&ScaledFrom>) {
        let before = self.view.workload(id).and_then(|workload| workload.scaled).map(|it| id.claim(&it.claim));
        let after = scaled.map(|it| id.claim(&it.claim));
        if let Some(before) = before.filter(|before| Some(before) != after.as_ref()) {
            if let Some(workloads) = self.view.scaled.get_mut(&before) {
                workloads.remove(id);
                if workloads.is_empty() {
                    self.view.scaled.remove(&before);
                }
            }
            self.dirty.claims.insert(before);
        }
        if let Some(after) = after {
            self.view.scaled.entry(after.clone()).or_default().insert(id.clone());
            self.dirty.claims.insert(after);
        }
    }

    /// These claims, and those for which the workloads were stopped that they are of: when the last one is expanded, the workload
    /// is scaled back.
    pub(super) fn with_those_stopped_for(&self, claims: BTreeSet<ClaimId>) -> BTreeSet<ClaimId> {
        if self.view.scaled.is_empty() {
            return claims;
        }
        let stopped_for: Vec<_> = claims.iter().flat_map(|id| self.stopped_with(id)).cloned().collect();
        claims.into_iter().chain(stopped_for).collect()
    }

    /// The claims for which workloads are stopped of which this one is a claim, too.
    fn stopped_with(&self, id: &ClaimId) -> impl Iterator<Item = &ClaimId> {
        let first = ClaimId { namespace: id.namespace.clone(), name: "".into() };
        let of_namespace = |namespace: &NamespaceName| *namespace == id.namespace;
        let stopped = self.view.scaled.range(first..).take_while(move |(other, _)| of_namespace(&other.namespace));
        let is_its_own = |workload: &WorkloadId| self.view.is_claim_of(workload, id);
        stopped.filter(move |(_, workloads)| workloads.iter().any(is_its_own)).map(|(other, _)| other)
    }

    pub(super) fn autoscaler(&mut self, change: Change<SetId, WorkloadId>) {
        for (id, target) in self.lists.autoscalers.resolve(change, self.autoscalers.keys()) {
            let before = match target.clone() {
                Some(target) => self.autoscalers.insert(id, target),
                None => self.autoscalers.remove(&id),
            };
            if before == target {
                continue;
            }
            let scaled = self.autoscalers.iter().map(|(autoscaler, it)| (it.clone(), (*autoscaler.name).into()));
            self.view.autoscalers = scaled.collect();
            for workload in before.iter().chain(&target) {
                self.mark_claims_of(workload);
            }
        }
    }
}
