//! Databases whose data directory is no volume that outlives their pod.

use crate::{
    Findings,
    document::Node,
    rule::{Rule, Severity},
    world::{Workload, World},
};

pub(crate) static DATABASE_WITHOUT_VOLUME: Rule = Rule {
    id: "database-without-volume",
    severity: Severity::Warning,
    finds: "a database of a well-known image whose data directory is an `emptyDir` or a `hostPath`",
    why: "An `emptyDir` is deleted with its pod: with each update, eviction or loss of a node the database is empty. A \
          `hostPath` stays on its node, and a pod that comes up elsewhere finds nothing there.",
    remedy: "Mount a claim there: by `volumeClaimTemplates` of a StatefulSet, or by `persistentVolumeClaim`.",
    source: "Kubernetes, Volumes, emptyDir and hostPath; the images' own pages for their data directories, named at \
             `DATABASES` in crates/lint/src/rules/databases.rs",
};

/// Images by the last part of their names, and where each keeps its data by default: by the pages of the official images
/// (docker-library/docs, `content.md` of each), of Bitnami's for `/bitnami`, and of the projects' own for the others. Not
/// each was looked up. PostgreSQL 18 moved up one directory.
const DATABASES: [(&str, &[&str]); 14] = [
    ("cassandra", &["/var/lib/cassandra"]),
    ("clickhouse-server", &["/var/lib/clickhouse"]),
    ("couchdb", &["/opt/couchdb/data"]),
    ("elasticsearch", &["/usr/share/elasticsearch/data", "/bitnami/elasticsearch"]),
    ("influxdb", &["/var/lib/influxdb", "/var/lib/influxdb2"]),
    ("mariadb", &["/var/lib/mysql", "/bitnami/mariadb"]),
    ("mongo", &["/data/db"]),
    ("mongodb", &["/bitnami/mongodb"]),
    ("mysql", &["/var/lib/mysql", "/bitnami/mysql"]),
    ("neo4j", &["/data"]),
    ("percona", &["/var/lib/mysql"]),
    ("postgres", &["/var/lib/postgresql/data", "/var/lib/postgresql"]),
    ("postgresql", &["/bitnami/postgresql"]),
    ("rabbitmq", &["/var/lib/rabbitmq", "/bitnami/rabbitmq"]),
];

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    // A job that loads a database to try something and throws it away is an ordinary thing.
    for workload in world.workloads.iter().filter(|workload| workload.object.group != "batch") {
        for container in workload.pod.items("containers") {
            directory(workload, container, found);
        }
    }
}

fn directory(workload: &Workload<'_>, container: &Node, found: &mut Findings) {
    let Some((image, directories)) = container.text("image").and_then(database) else { return };
    for mount in container.items("volumeMounts") {
        let Some(path) = mount.text("mountPath").map(|path| path.trim_end_matches('/')) else { continue };
        let name = mount.text("name");
        let volume = workload.pod.items("volumes").iter().find(|volume| volume.text("name") == name);
        if !directories.contains(&path) {
            continue;
        }
        let (kind, what_happens) = match volume {
            // Also with nothing behind it.
            Some(volume) if volume.has("emptyDir") => ("an emptyDir", "is gone when the pod is"),
            Some(volume) if volume.has("hostPath") => ("a hostPath", "stays behind when the pod moves"),
            _ => continue,
        };
        let message = format!(
            "the data of {image} in {} is at {path}, which is {kind}, and {what_happens}: mount a claim there",
            workload.object.called()
        );
        found.add(&DATABASE_WITHOUT_VOLUME, workload.object.at(mount.place("mountPath")), message);
    }
}

/// The database that an image is, by the last part of its name without tag and digest.
fn database(image: &str) -> Option<(&'static str, &'static [&'static str])> {
    let last = image.rsplit('/').next()?;
    let name = last.split(['@', ':']).next()?;
    DATABASES.iter().find(|(known, _)| *known == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_known_by_the_name_of_its_image() {
        for image in [
            "postgres",
            "postgres:17",
            "docker.io/library/postgres@sha256:0123",
            "mirror.local:5000/hub/postgres:17-alpine",
        ] {
            assert_eq!(database(image).map(|(name, _)| name), Some("postgres"), "{image}");
        }
        for image in ["postgres-exporter", "postgres/exporter", "my-postgres", "busybox"] {
            assert_eq!(database(image), None, "{image}");
        }
    }
}
