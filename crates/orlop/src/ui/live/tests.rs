use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use orlop_operator::inspect::{Document, Fleet, Order};
use ratatui::{Terminal, backend::TestBackend};

use super::{State, Wish, draw};

fn answered() -> State {
    let document: Document<Fleet> = serde_json::from_str(include_str!("../../../tests/inspect/fleet.json")).unwrap();
    let (fleet, at) = document.open().unwrap();
    let mut state = State::default();
    state.answered(fleet, at);
    state
}

fn press(state: &mut State, keys: &str) -> Wish {
    let press = |key: char| {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    };
    keys.chars().map(press).last().unwrap()
}

fn picture(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_claims_are_listed_with_what_was_decided_about_the_selected_one() {
    insta::assert_snapshot!(picture(&answered(), 120, 20));
}

#[test]
fn a_small_terminal_shows_the_claims_alone() {
    insta::assert_snapshot!(picture(&answered(), 80, 10));
}

#[test]
fn before_the_first_answer_it_says_what_it_waits_for() {
    let mut state = State::default();
    assert!(picture(&state, 60, 6).contains("asking the operator"));
    state.failed("no operator leads".to_owned());
    assert!(picture(&state, 60, 6).contains("no operator leads"));
}

#[test]
fn a_failure_is_shown_beside_what_was_known_before_and_goes_with_the_next_answer() {
    let mut state = answered();
    state.failed("the operator does not answer".to_owned());
    let shown = picture(&state, 120, 20);
    assert!(shown.contains("the operator does not answer") && shown.contains("data-0"), "{shown}");
    let (fleet, at) = state.fleet.clone().unwrap();
    state.answered(fleet, at);
    assert!(!picture(&state, 120, 20).contains("does not answer"));
}

#[test]
fn what_is_written_after_a_slash_filters_until_it_is_cleared() {
    let mut state = answered();
    assert_eq!(press(&mut state, "/"), Wish::Nothing);
    assert_eq!(press(&mut state, "dqx\u{8}"), Wish::Ask, "a letter is not a command now");
    assert_eq!(state.filter, "dq");
    assert!(picture(&state, 120, 20).contains("/dq█"));
    assert_eq!(press(&mut state, "\n"), Wish::Nothing);
    assert_eq!(press(&mut state, "q"), Wish::End);
    assert_eq!(press(&mut state, "\u{1b}"), Wish::Ask);
    assert_eq!(state.filter, "");
}

#[test]
fn a_key_sorts_and_asks_anew() {
    let mut state = answered();
    for (key, order) in
        [("f", Order::Free), ("r", Order::Rate), ("t", Order::TimeToFull), ("s", Order::Size), ("n", Order::Name)]
    {
        assert_eq!((press(&mut state, key), state.order), (Wish::Ask, order));
    }
    assert_eq!(press(&mut state, "x"), Wish::Nothing);
}

#[test]
fn the_selected_claim_stays_selected_when_the_order_changes_under_it() {
    let mut state = answered();
    press(&mut state, "j");
    let selected = state.claims()[state.place()].name.clone();
    let (mut fleet, at) = state.fleet.clone().unwrap();
    fleet.claims.rotate_left(1);
    state.answered(fleet.clone(), at);
    assert_eq!((state.place(), &state.claims()[0].name), (0, &selected));
    fleet.claims.remove(0);
    state.answered(fleet, at);
    assert_eq!(state.place(), 0, "one that is gone leaves the first selected");
    press(&mut state, "kkk");
    assert_eq!(state.place(), 0);
}
