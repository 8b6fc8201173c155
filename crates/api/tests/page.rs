//! The table in `docs/driver-profiles.md` is what is built in.

use std::{fs, path::Path};

use orlop_api::{Abilities, Bytes, VolumeType, driver::built_in};

/// One row for each kind of volume, and one for what a class gets that asks for none.
fn table() -> String {
    let mut rows = vec![
        "| driver | kind | asked for by | expansion | sizes | in steps of | modifications | GiB-month |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for profile in built_in::all() {
        let driver = profile.metadata.name.as_deref().expect("a profile has a name");
        for kind in &profile.spec.volume_types {
            let parameters =
                kind.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.values[0].clone()));
            let abilities = profile.spec.abilities(&parameters.collect());
            rows.push(row(driver, &kind.name, &asked_for_by(kind), &abilities));
        }
        let of_nothing = profile.spec.abilities(&[].into());
        if of_nothing.volume_type.is_none() {
            rows.push(row(driver, "", "", &of_nothing));
        }
    }
    rows.join("\n")
}

fn row(driver: &str, kind: &str, asked_for_by: &str, abilities: &Abilities<'_>) -> String {
    let size = |size: Option<Bytes>| size.map_or("?".to_owned(), |size| size.to_string());
    let sizes = match (abilities.minimum_size, abilities.maximum_size) {
        (None, None) => String::new(),
        (minimum, maximum) => format!("{} – {}", size(minimum), size(maximum)),
    };
    let modifications =
        abilities.modifications.map_or(String::new(), |rule| format!("{} in {}", rule.count, rule.window));
    let price = abilities.price.map_or(String::new(), |price| format!("{} {}", price.per_gib_month, price.currency));
    let cells = [
        &format!("`{driver}`"),
        kind,
        asked_for_by,
        &format!("{:?}", abilities.expansion),
        &sizes,
        &abilities.size_increment.to_string(),
        &modifications,
        &price,
    ];
    format!("| {} |", cells.join(" | "))
}

fn asked_for_by(kind: &VolumeType) -> String {
    let parameters = kind.parameters.iter().map(|parameter| {
        let default = if parameter.default { ", or nothing" } else { "" };
        format!("`{}`: {}{default}", parameter.name, parameter.values.join(", "))
    });
    parameters.collect::<Vec<_>>().join("; ")
}

#[test]
fn the_page_has_what_is_built_in() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/driver-profiles.md");
    let page = fs::read_to_string(page).expect("the page can be read");
    let table = table();
    assert!(page.contains(&table), "replace the table in docs/driver-profiles.md by:\n\n{table}\n");
}
