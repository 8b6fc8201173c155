//! Which custom resources the API server serves.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::Client;

/// By the name of each definition the version in which the API server prefers to serve it; none where it does not serve
/// it, and else why that cannot be found out. What fails for one group concerns the definitions of that group alone.
pub(super) async fn versions<'a>(
    client: &Client,
    definitions: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, Result<Option<String>, String>> {
    let definitions: Vec<_> = definitions.filter_map(|it| Some((it, it.split_once('.')?))).collect();
    let groups = match client.list_api_groups().await {
        Ok(list) => list.groups,
        Err(error) => {
            let why = format!("the API server does not say what it serves: {error}");
            return definitions.into_iter().map(|(definition, _)| (definition.clone(), Err(why.clone()))).collect();
        }
    };
    let groups = groups.into_iter().filter(|group| definitions.iter().any(|(_, (_, its))| *its == group.name));
    let asked = groups.map(|group| async move {
        let preferred = group.preferred_version.as_ref().or(group.versions.first())?;
        let resources = client.list_api_group_resources(&preferred.group_version).await;
        let resources = resources.map(|list| list.resources);
        let why = |error| format!("the API server does not say what it serves of {}: {error}", group.name);
        Some((group.name.clone(), (preferred.version.clone(), resources.map_err(why))))
    });
    let served: BTreeMap<_, _> = join_all(asked).await.into_iter().flatten().collect();
    let version = |plural: &str, group: &str| {
        let Some((version, resources)) = served.get(group) else { return Ok(None) };
        let is_it = |resource: &APIResource| resource.name == plural && resource.namespaced;
        let resources = resources.as_ref().map_err(Clone::clone)?;
        Ok(resources.iter().any(is_it).then(|| version.clone()))
    };
    let named = definitions.into_iter().map(|(definition, (plural, group))| (definition, version(plural, group)));
    named.map(|(definition, version)| (definition.clone(), version)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// A client of an API server that gives these answers, by their paths, and 503 to all other questions.
    pub(in super::super) fn answering(answers: Vec<(&'static str, Value)>) -> Client {
        let answer = move |request: http::Request<Body>| {
            let found = answers.iter().find(|(path, _)| *path == request.uri().path()).map(|(_, body)| body.clone());
            let failure = json!({ "kind": "Status", "status": "Failure", "code": 503, "message": "it is overloaded" });
            let (status, body) = found.map_or((503, failure), |body| (200, body));
            let response = http::Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(response.unwrap()))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    pub(in super::super) fn groups(names: &[&str]) -> (&'static str, Value) {
        let groups = names.iter().map(|name| {
            let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
            json!({ "name": name, "versions": [version], "preferredVersion": version })
        });
        ("/apis", json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() }))
    }

    pub(in super::super) fn stores() -> (&'static str, Value) {
        let stores =
            json!({ "name": "stores", "singularName": "store", "namespaced": true, "kind": "Store", "verbs": [] });
        let list = json!({ "kind": "APIResourceList", "groupVersion": "a.example/v1", "resources": [stores] });
        ("/apis/a.example/v1", list)
    }

    #[tokio::test]
    async fn what_is_served_is_told_from_what_is_not_and_from_what_cannot_be_found_out() {
        let definitions = ["stores.a.example", "others.a.example", "stores.b.example", "stores.c.example"];
        let definitions = definitions.map(str::to_owned);
        let client = answering(vec![groups(&["a.example", "b.example"]), stores()]);
        let found = versions(&client, definitions.iter()).await;
        assert_eq!(found["stores.a.example"], Ok(Some("v1".to_owned())));
        assert_eq!(found["others.a.example"], Ok(None));
        assert_eq!(found["stores.c.example"], Ok(None));
        let why = found["stores.b.example"].clone().unwrap_err();
        assert!(why.contains("b.example") && why.contains("overloaded"), "{why}");

        let found = versions(&answering(Vec::new()), definitions.iter()).await;
        assert!(found.len() == 4 && found.values().all(Result::is_err), "{found:?}");
    }
}
