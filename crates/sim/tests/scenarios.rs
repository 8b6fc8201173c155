//! Each scenario under `scenarios/` has its story beside it, `NAME.out` to `NAME.yaml`, and a test that it still goes so
//! and breaks no promise. With `ORLOP_SIM_BLESS=1` the stories are written instead.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use libtest_mimic::{Arguments, Failed, Trial};
use orlop_sim::{Scenario, Story, witness};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let is_blessed = env::var_os("ORLOP_SIM_BLESS").is_some_and(|it| it == "1");
    let mut trials = Vec::new();
    for file in files(&root)? {
        let name = file.strip_prefix(&root).unwrap_or(&file).with_extension("").display().to_string();
        match file.extension().and_then(|it| it.to_str()) {
            Some("yaml") => trials.push(Trial::test(name, move || goes_as_it_is_told(&file, is_blessed))),
            Some("out") if file.with_extension("yaml").exists() => {}
            _ => {
                let stray = format!("{} belongs to no scenario", file.display());
                trials.push(Trial::test(name, move || Err(stray.into())));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn goes_as_it_is_told(file: &Path, is_blessed: bool) -> Result<(), Failed> {
    let scenario = Scenario::parse(&fs::read_to_string(file)?).map_err(chain)?;
    let mut story = Story::new(&scenario);
    let outcome = witness(scenario, None, &mut [&mut story]);
    let told = story.conclude(&outcome);
    let golden = file.with_extension("out");
    if is_blessed {
        fs::write(&golden, &told)?;
    }
    if let Some(violation) = outcome.violations.first() {
        return Err(format!("{}: {}", violation.checker, violation.what).into());
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    let differs = || (1..).zip(told.lines().zip(expected.lines())).find(|(_, (told, expected))| told != expected);
    if told == expected {
        return Ok(());
    }
    let (line, (told, expected)) = differs().unwrap_or((0, ("one is longer", "than the other")));
    Err(format!(
        "it goes otherwise than {} tells, from line {line} on:\n  told before: {expected}\n  told now:    {told}\n\
         Where that is right, write the stories anew with ORLOP_SIM_BLESS=1 and read what has changed.",
        golden.display()
    )
    .into())
}

fn chain(error: impl std::error::Error) -> Failed {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.into()
}
