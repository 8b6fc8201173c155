//! Pages of a list: all lists are in the order of their ids, so a page starts with the id that its token is, or with the
//! one that follows it by now. Nothing is remembered between pages, and what comes or goes meanwhile does no harm.

use std::str::FromStr;

use super::status::Refusal;

/// What part of a list is asked for.
#[derive(Debug)]
pub(super) struct Page<Id> {
    first: Option<Id>,
    most: usize,
}

impl<Id: FromStr + Ord + ToString> Page<Id> {
    /// Reads a request's token, and how many entries it wants at most, 0 for all.
    pub(super) fn read(starting_token: &str, max_entries: i32) -> Result<Self, Refusal> {
        let first = match starting_token {
            "" => None,
            token => Some(token.parse().map_err(|_| Refusal::Token(token.to_owned()))?),
        };
        let most = match usize::try_from(max_entries) {
            Ok(0) => usize::MAX,
            Ok(most) => most,
            Err(_) => return Err(Refusal::Invalid("`max_entries` is negative".into())),
        };
        Ok(Self { first, most })
    }

    /// The page's part of a list, and the token of the next page, which is empty if there is none.
    pub(super) fn of<T>(self, list: impl IntoIterator<Item = T>, id: impl Fn(&T) -> &Id) -> (Vec<T>, String) {
        let mut rest = list.into_iter().filter(|entry| self.first.as_ref().is_none_or(|first| id(entry) >= first));
        let page = rest.by_ref().take(self.most).collect();
        (page, rest.next().map_or_else(String::new, |next| id(&next).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(token: &str, most: i32) -> (Vec<u32>, String) {
        Page::read(token, most).unwrap().of([1, 3, 5, 7], |number| number)
    }

    #[test]
    fn pages_follow_each_other_also_when_the_first_of_a_page_is_gone() {
        assert_eq!(page("", 2), (vec![1, 3], "5".into()));
        assert_eq!(page("5", 2), (vec![5, 7], String::new()));
        assert_eq!(page("4", 1), (vec![5], "7".into()));
        assert_eq!(page("9", 1), (vec![], String::new()));
        assert_eq!(page("", 0), (vec![1, 3, 5, 7], String::new()));
    }

    #[test]
    fn a_token_of_somebody_else_and_a_negative_number_are_refused() {
        assert!(matches!(Page::<u32>::read("x", 0), Err(Refusal::Token(_))));
        assert!(matches!(Page::<u32>::read("", -1), Err(Refusal::Invalid(_))));
    }
}
