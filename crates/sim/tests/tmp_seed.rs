use orlop_sim::{Story, chance::Chance, witness};
#[test]
fn tell() {
    let seed = std::env::var("SEED").unwrap().parse().unwrap();
    let scenario = Chance { seed, hours: 6, faults_a_day: 200 }.scenario();
    println!("{}", scenario.to_yaml());
    let mut story = Story::new(&scenario);
    let outcome = witness(scenario, None, &mut [&mut story]);
    println!("{}", story.conclude(&outcome));
}
#[test]
fn many() {
    let (from, to): (u64, u64) =
        (std::env::var("FROM").unwrap().parse().unwrap(), std::env::var("TO").unwrap().parse().unwrap());
    for seed in from..to {
        let scenario = Chance { seed, hours: 6, faults_a_day: 200 }.scenario();
        let budget = !scenario.budgets.is_empty();
        let outcome = orlop_sim::run(scenario, None, |_, _| {});
        for it in outcome.violations {
            println!("{seed} budget={budget} {}: {}", it.checker, it.what);
        }
    }
}
