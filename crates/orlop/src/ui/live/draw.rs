//! The live view's picture.

use orlop_operator::inspect::{ClaimRow, Fleet, Order};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::state::{ORDERS, State};
use crate::ui::{
    fill,
    words::{self, age, ago, count, full_in, rate, reason, source, target},
};

/// How wide a claim's bar is.
const BAR: usize = 10;

/// How many lines the details take.
const DETAILS: u16 = 7;

/// Below this height there is no room for details.
const TALL: u16 = 14;

/// Below this width there is no room for bars.
const WIDE: u16 = 100;

/// Draws the state as it is.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let details = if state.bare || frame.area().height < TALL { 0 } else { DETAILS };
    let layout = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(details),
        Constraint::Length(1),
    ]);
    let [head, table, below, foot] = layout.areas(frame.area());
    frame.render_widget(Paragraph::new(self::head(state)), head);
    claims(frame, table, state);
    if details > 0 {
        self::details(frame, below, state);
    }
    frame.render_widget(Paragraph::new(self::foot(state)), foot);
}

fn head(state: &State) -> Vec<Line<'static>> {
    let Some((fleet, at)) = &state.fleet else {
        let waiting = state.failure.clone().map_or_else(|| Span::raw("asking the operator …"), bad);
        return vec![Line::from(waiting)];
    };
    let news = state.failure.clone().map_or_else(|| Span::raw(totals(fleet)), bad);
    vec![Line::from(vec![summary(fleet), Span::raw("  "), problems(fleet)]), Line::from(vec![news, as_of(*at)])]
}

fn summary(fleet: &Fleet) -> Span<'static> {
    let place = fleet.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
    let claims = count(fleet.totals.claims, "claim", "claims");
    Span::styled(format!("{claims}{place}"), Modifier::BOLD)
}

fn problems(fleet: &Fleet) -> Span<'static> {
    match fleet.totals.problems {
        0 => Span::styled("none needs a hand", Color::Green),
        problems => bad(format!("{} a hand", count(problems, "needs", "need"))),
    }
}

fn totals(fleet: &Fleet) -> String {
    let totals = &fleet.totals;
    let (growing, agents) = (totals.growing, &fleet.agents);
    let (used, measured) = (totals.used.human(), totals.measured.human());
    format!("{growing} growing, {used} of {measured} used, {} of {} agents", agents.connected, agents.nodes)
}

fn as_of(at: jiff::Timestamp) -> Span<'static> {
    Span::styled(format!("  as of {}", words::second(at)), Modifier::DIM)
}

fn claims(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let by = ORDERS.into_iter().find(|(order, ..)| *order == state.order).map_or("", |(_, _, column)| column);
    let head = ["NAMESPACE", "NAME", "SIZE", "TARGET", "USED", "FREE", "RATE", "FULL IN", "REASON"].map(|name| {
        let style = if name == by { Modifier::UNDERLINED | Modifier::BOLD } else { Modifier::BOLD };
        let title = Line::from(Span::styled(name, style));
        let is_number = ["SIZE", "TARGET", "FREE", "RATE", "FULL IN"].contains(&name);
        Cell::from(if is_number { title.right_aligned() } else { title })
    });
    let rows = state.claims().iter().map(row);
    let longest = |of: fn(&ClaimRow) -> &str, least: usize| {
        let width = state.claims().iter().map(|claim| of(claim).chars().count()).max().unwrap_or(0).max(least);
        u16::try_from(width.min(40)).unwrap_or(40)
    };
    let widths = [
        Constraint::Length(longest(|claim| &claim.namespace, 9)),
        Constraint::Length(longest(|claim| &claim.name, 4)),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(if area.width < WIDE { 0 } else { 10 }),
        Constraint::Length(4),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Min(12),
    ];
    let table = Table::new(rows, widths).header(Row::new(head)).row_highlight_style(Modifier::REVERSED);
    let selected = (!state.claims().is_empty()).then(|| state.place());
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn row(claim: &ClaimRow) -> Row<'static> {
    let usage = claim.usage.as_ref();
    let bar = usage.map_or_else(String::new, |usage| {
        fill::bar(orlop_api::Bytes(usage.total.0.saturating_sub(usage.available.0)), usage.total, BAR)
    });
    let why = match &claim.decision {
        Some(decision) if decision.problem => bad(reason(claim)),
        Some(decision) if decision.target.is_some() => Span::styled(reason(claim), Color::Yellow),
        Some(_) => Span::raw(reason(claim)),
        None => Span::styled("no policy", Modifier::DIM),
    };
    Row::new([
        Cell::from(claim.namespace.clone()),
        Cell::from(claim.name.clone()),
        number(claim.size.to_string()),
        number(target(claim)),
        Cell::from(bar),
        number(words::free(usage)),
        number(rate(usage)),
        number(full_in(usage)),
        Cell::from(why),
    ])
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// What was decided about the selected claim.
fn details(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let block = Block::new().borders(Borders::TOP);
    let Some((claim, at)) = state.claims().get(state.place()).zip(state.fleet.as_ref().map(|(_, at)| *at)) else {
        frame.render_widget(block, area);
        return;
    };
    let mut lines = Vec::new();
    match &claim.decision {
        Some(decision) => {
            lines.push(Line::from(decision.message.clone()));
            let policy = claim.policy.as_deref().unwrap_or("several policies");
            let since = decision.since.map_or_else(String::new, |since| format!(", unchanged for {}", age(since, at)));
            lines.push(Line::from(format!("{policy}, mode {:?}{since}", decision.mode)));
        }
        None => lines.push(Line::from("no policy governs it, or nothing was decided about it yet")),
    }
    if let Some(usage) = &claim.usage {
        let (free, total) = (usage.available.human(), usage.total.human());
        let inodes = usage.inodes.map_or_else(String::new, |inodes| {
            format!(", {} of {} inodes", words::thousands(inodes.free.0), words::thousands(inodes.total.0))
        });
        let (by, when) = (source(usage.source), ago(usage.at, at));
        lines.push(Line::from(format!("{free} of {total} free{inodes}, measured {when} by {by}")));
    }
    if let Some(driver) = &claim.driver {
        lines.push(Line::from(format!("driver {driver}")));
    }
    let title = format!(" {}/{} ", claim.namespace, claim.name);
    let details = Paragraph::new(lines).wrap(Wrap { trim: true }).block(block.title(title));
    frame.render_widget(details, area);
}

fn foot(state: &State) -> Line<'static> {
    if state.writing {
        return Line::from(vec![
            Span::styled(format!("/{}█", state.filter), Modifier::BOLD),
            Span::styled("  name, policy or reason   enter keep   esc clear", Modifier::DIM),
        ]);
    }
    let mut spans = Vec::new();
    let listed = state.claims().len() as u64;
    let matching = state.fleet.as_ref().map_or(0, |(fleet, _)| fleet.matching);
    if matching > listed {
        spans.push(Span::raw(format!("{listed} of {} listed  ", words::thousands(matching))));
    }
    if !state.filter.is_empty() {
        spans.push(Span::styled(format!("/{}  ", state.filter), Modifier::BOLD));
    }
    if state.problems {
        spans.push(bad("problems only  ".to_owned()));
    }
    let by = match state.order {
        Order::Urgency => "urgency",
        Order::Free => "free",
        Order::Rate => "rate",
        Order::TimeToFull => "time to full",
        Order::Size => "size",
        Order::Name => "name",
    };
    let keys = format!("by {by}: u f r t s n   / filter   p problems   d details   ↑↓ select   q quit");
    spans.push(Span::styled(keys, Modifier::DIM));
    Line::from(spans)
}

fn bad(text: String) -> Span<'static> {
    Span::styled(text, Style::new().fg(Color::Red))
}
