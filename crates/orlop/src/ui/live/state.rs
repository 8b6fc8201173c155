//! What the live view shows, and what a key does to it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::Timestamp;
use orlop_operator::inspect::{ClaimRow, Fleet, Order};

/// How far a page is.
const PAGE: usize = 10;

/// What the view shows.
#[derive(Debug, Default)]
pub struct State {
    /// Which claims come first.
    pub order: Order,
    /// What the claims are filtered by.
    pub filter: String,
    /// Are only those listed that somebody must look at?
    pub problems: bool,
    /// The latest answer, and when it was so.
    pub(super) fleet: Option<(Fleet, Timestamp)>,
    /// Why the last question was not answered, where it was not.
    pub(super) failure: Option<String>,
    /// The claim that is selected, by its name: another place in the order does not change which it is.
    selected: Option<(String, String)>,
    /// Is the filter being written?
    pub(super) writing: bool,
    /// Is what was decided about the selected claim hidden?
    pub(super) bare: bool,
}

/// What a key asks for beside another picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// Ask anew at once: the question is another.
    Ask,
    /// End.
    End,
}

impl State {
    /// A view that has no answer yet.
    pub fn new(order: Order, filter: String, problems: bool) -> Self {
        Self { order, filter, problems, ..Self::default() }
    }

    /// An answer has come.
    pub fn answered(&mut self, fleet: Fleet, at: Timestamp) {
        self.fleet = Some((fleet, at));
        self.failure = None;
    }

    /// The question was not answered. What was known before stays.
    pub fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// The claims that are listed.
    pub(super) fn claims(&self) -> &[ClaimRow] {
        self.fleet.as_ref().map_or(&[], |(fleet, _)| &fleet.claims)
    }

    /// The place of the selected claim: the first where it is not listed.
    pub(super) fn place(&self) -> usize {
        let is_selected = |row: &ClaimRow| {
            self.selected.as_ref().is_some_and(|(namespace, name)| row.namespace == *namespace && row.name == *name)
        };
        self.claims().iter().position(is_selected).unwrap_or(0)
    }

    fn select(&mut self, place: usize) {
        let place = place.min(self.claims().len().saturating_sub(1));
        self.selected = self.claims().get(place).map(|row| (row.namespace.clone(), row.name.clone()));
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::End } else { Wish::Nothing };
        }
        if self.writing { self.write(key.code) } else { self.command(key.code) }
    }

    fn write(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => {
                self.filter.clear();
                self.writing = false;
            }
            KeyCode::Enter => {
                self.writing = false;
                return Wish::Nothing;
            }
            _ => return Wish::Nothing,
        }
        Wish::Ask
    }

    fn command(&mut self, key: KeyCode) -> Wish {
        let place = self.place();
        match key {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Down | KeyCode::Char('j') => self.select(place + 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(place.saturating_sub(1)),
            KeyCode::PageDown => self.select(place + PAGE),
            KeyCode::PageUp => self.select(place.saturating_sub(PAGE)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Enter | KeyCode::Char('d') => self.bare = !self.bare,
            KeyCode::Char('/') => self.writing = true,
            KeyCode::Esc => {
                self.filter.clear();
                self.problems = false;
                return Wish::Ask;
            }
            KeyCode::Char('p') => {
                self.problems = !self.problems;
                return Wish::Ask;
            }
            KeyCode::Char(letter) => return self.sort(letter),
            _ => {}
        }
        Wish::Nothing
    }

    fn sort(&mut self, letter: char) -> Wish {
        let Some((order, ..)) = ORDERS.into_iter().find(|(_, key, _)| *key == letter) else { return Wish::Nothing };
        self.order = order;
        // What comes first now is what was asked for.
        self.selected = None;
        Wish::Ask
    }
}

/// The orders, each with its key and the column that it goes by.
pub(super) const ORDERS: [(Order, char, &str); 6] = [
    (Order::Urgency, 'u', "REASON"),
    (Order::Free, 'f', "FREE"),
    (Order::Rate, 'r', "RATE"),
    (Order::TimeToFull, 't', "FULL IN"),
    (Order::Size, 's', "SIZE"),
    (Order::Name, 'n', "NAME"),
];
