//! `orlop top`: the fleet, live. Without a terminal it prints one table and ends.

use std::{
    io::{IsTerminal as _, stdin, stdout},
    time::Duration,
};

use crossterm::event::{Event, EventStream};
use futures::StreamExt as _;
use jiff::Timestamp;
use orlop_operator::inspect::{Fleet, Order};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::reach;
use crate::{
    cli::{Failure, Outcome},
    ui::{
        fleet,
        live::{State, Wish, draw},
    },
};

/// How often the operator is asked.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only the claims of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// Which claims come first
    #[arg(long, value_enum, default_value_t = Sort::Urgency)]
    sort: Sort,
    /// List only claims in whose name, policy or reason this is
    #[arg(long)]
    find: Option<String>,
    /// List only claims that need a hand
    #[arg(long)]
    problems: bool,
    /// How many claims are listed, at most 1000
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    reach: reach::Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// Those that most need a hand
    Urgency,
    /// The fullest
    Free,
    /// Those that fill fastest
    Rate,
    /// Those that are full soonest
    TimeToFull,
    /// The largest
    Size,
    /// By namespace and name
    Name,
}

impl From<Sort> for Order {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Urgency => Self::Urgency,
            Sort::Free => Self::Free,
            Sort::Rate => Self::Rate,
            Sort::TimeToFull => Self::TimeToFull,
            Sort::Size => Self::Size,
            Sort::Name => Self::Name,
        }
    }
}

pub(in crate::cli) async fn run(args: Args) -> Outcome {
    let inquiry = Inquiry {
        operator: reach::Operator::new(&args.reach).await?,
        namespace: args.namespace,
        limit: args.limit.to_string(),
    };
    let state = State::new(args.sort.into(), args.find.unwrap_or_default(), args.problems);
    if stdin().is_terminal() && stdout().is_terminal() {
        live(&inquiry, state).await
    } else {
        let (answer, _) = inquiry.ask(state.order, state.filter.clone(), state.problems).await?;
        anstream::print!("{}", fleet::table(&answer.claims));
        Ok(())
    }
}

/// What is asked for, beside what keys change.
#[derive(Clone)]
struct Inquiry {
    operator: reach::Operator,
    namespace: Option<String>,
    limit: String,
}

type Answer = Outcome<(Fleet, Timestamp)>;

impl Inquiry {
    async fn ask(&self, order: Order, filter: String, problems: bool) -> Answer {
        let order = match order {
            Order::Urgency => "urgency",
            Order::Free => "free",
            Order::Rate => "rate",
            Order::TimeToFull => "timeToFull",
            Order::Size => "size",
            Order::Name => "name",
        };
        let mut query = vec![("order", order), ("limit", &*self.limit)];
        if let Some(namespace) = &self.namespace {
            query.push(("namespace", namespace));
        }
        if !filter.is_empty() {
            query.push(("find", &filter));
        }
        if problems {
            query.push(("problems", "true"));
        }
        self.operator.get("/v1/fleet", &query).await
    }

    /// Asks beside the view, which goes on meanwhile.
    fn begin(&self, state: &State) -> JoinHandle<Answer> {
        let (inquiry, order, filter, problems) = (self.clone(), state.order, state.filter.clone(), state.problems);
        tokio::spawn(async move { inquiry.ask(order, filter, problems).await })
    }
}

/// Shows the view until it is ended. The terminal is put back also after a panic.
async fn live(inquiry: &Inquiry, state: State) -> Outcome {
    let mut terminal = ratatui::try_init().map_err(|error| Failure::because("cannot draw on this terminal", error))?;
    let result = turn(inquiry, state, &mut terminal).await;
    ratatui::restore();
    result
}

async fn turn(inquiry: &Inquiry, mut state: State, terminal: &mut ratatui::DefaultTerminal) -> Outcome {
    let broken = |error| Failure::because("cannot use the terminal", error);
    let mut keys = EventStream::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One question at a time: one that has become another takes its place.
    let mut asking: Option<JoinHandle<Answer>> = None;
    loop {
        terminal.draw(|frame| draw(frame, &state)).map_err(broken)?;
        tokio::select! {
            _ = ticks.tick() => {
                asking.get_or_insert_with(|| inquiry.begin(&state));
            }
            answer = answered(&mut asking) => match answer {
                Ok((fleet, at)) => state.answered(fleet, at),
                Err(failure) => state.failed(one_line(&failure)),
            },
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => match state.key(key) {
                    Wish::Nothing => {}
                    Wish::Ask => {
                        if let Some(superseded) = asking.replace(inquiry.begin(&state)) {
                            superseded.abort();
                        }
                    }
                    Wish::End => return Ok(()),
                },
                // Another size: the next picture has it.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
                None => return Ok(()),
            },
        }
    }
}

/// The answer to what is being asked; forever where nothing is.
async fn answered(asking: &mut Option<JoinHandle<Answer>>) -> Answer {
    let Some(task) = asking else { return std::future::pending().await };
    let answer = task.await;
    *asking = None;
    answer.unwrap_or_else(|error| Err(Failure::because("the question was broken off", error)))
}

/// What happened, without the rest: there is one line for it.
fn one_line(failure: &Failure) -> String {
    let text = failure.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
