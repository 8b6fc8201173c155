//! seeds
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let begun = std::time::Instant::now();
    let mut bad = 0;
    let (mut growths, mut full, mut events) = (0, 0, 0);
    for seed in args[0]..args[1] {
        let scenario = orlop_sim::chance::Chance { seed, hours: args[2], faults_a_day: args[3] }.scenario();
        let show = args.len() > 4;
        if show {
            println!("{}", scenario.to_yaml());
        }
        let outcome = orlop_sim::run(scenario, None, |entry, _| {
            if show {
                println!("{:>10.2} {}", entry.at.as_secs_f64(), entry.fact)
            }
        });
        growths += outcome.growths;
        full += outcome.full;
        events += outcome.events;
        if !outcome.violations.is_empty() {
            bad += 1;
            for v in outcome.violations {
                println!("seed {seed} {:>10.2} {}: {}", v.at.as_secs_f64(), v.checker, v.what);
            }
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{bad} bad, {growths} growths, {full} full, {events} events, {took:.2} s, {:.0} hours/s",
        (args[1] - args[0]) as f64 * args[2] as f64 / took
    );
}
