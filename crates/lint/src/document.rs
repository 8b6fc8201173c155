//! A YAML document as a tree in which every value knows where it stands.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};
use serde_saphyr::{Budget, Location, MessageFormatter as _, NonFiniteFloatPolicy, Spanned, UserMessageFormatter};

/// A place in a text. Lines and columns count from 1, columns and lengths in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The column of its first character.
    pub column: usize,
    /// How many characters it has, as far as they are on that line; at least 1.
    pub length: usize,
}

impl From<Location> for Span {
    fn from(location: Location) -> Self {
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Self { line: whole(location.line()), column: whole(location.column()), length: whole(location.span().len()) }
    }
}

/// A value with its place, and that of its key where it is a field.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub key: Option<Span>,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why a text cannot be read, and where.
#[derive(Debug)]
pub(crate) struct Broken {
    pub span: Span,
    pub message: String,
}

/// What a person writes or a chart renders is far below this. The parser's own limits are made for small configurations.
fn limits() -> Option<Budget> {
    serde_saphyr::budget! {
        max_events: 40_000_000,
        max_nodes: 10_000_000,
        max_documents: 100_000,
        max_depth: 192,
    }
}

/// Every document of a text that is not empty.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Broken> {
    let options = serde_saphyr::options! {
        budget: limits(),
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Broken {
        span: error.location().map_or(Span { line: 1, column: 1, length: 1 }, |at| Span { length: 1, ..at.into() }),
        message: UserMessageFormatter.format_message(&error).into_owned(),
    })
}

impl Node {
    /// The value at a path such as `spec.template.spec`. A null is as good as absent, as it is to the API server.
    pub fn get(&self, path: &str) -> Option<&Self> {
        let found = path.split('.').try_fold(self, |node, name| node.field(name))?;
        (!matches!(found.content, Content::Null)).then_some(found)
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let Content::Map(fields) = &self.content else { return None };
        fields.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// Is the field there, even if there is nothing in it?
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The text at a path.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.get(path)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value at a path.
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.get(path)?.content {
            Content::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The whole number at a path.
    pub fn whole(&self, path: &str) -> Option<i64> {
        match &self.get(path)?.content {
            Content::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The values of the list at a path; none where there is no list.
    pub fn items(&self, path: &str) -> &[Self] {
        match self.get(path).map(|node| &node.content) {
            Some(Content::List(items)) => items,
            _ => &[],
        }
    }

    /// The fields of the map at a path; none where there is no map.
    pub fn fields(&self, path: &str) -> &[(String, Self)] {
        match self.get(path).map(|node| &node.content) {
            Some(Content::Map(fields)) => fields,
            _ => &[],
        }
    }

    /// A scalar as it would be in quotes.
    pub fn scalar(&self) -> Option<String> {
        match &self.content {
            Content::Text(text) => Some(text.clone()),
            Content::Number(number) => Some(number.to_string()),
            Content::Bool(flag) => Some(flag.to_string()),
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// Where the value at a path stands, or else the key of the innermost map around it.
    pub fn place(&self, path: &str) -> Span {
        let mut node = self;
        for name in path.split('.') {
            match node.field(name) {
                Some(field) => node = field,
                None => return node.head(),
            }
        }
        match node.content {
            Content::List(_) | Content::Map(_) => node.head(),
            _ => node.span,
        }
    }

    /// The key of a value, or the value itself where it has none.
    pub fn head(&self) -> Span {
        self.key.unwrap_or(self.span)
    }

    /// The value without its places.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(flag) => Value::Bool(*flag),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(fields) => fields.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { span: spanned.referenced.into(), key: None, content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Content, E> {
        Ok(Number::from_f64(number).map_or(Content::Null, Content::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Content, E> {
        Ok(Content::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            fields.push((key.value, Node { key: Some(key.referenced.into()), ..node }));
        }
        Ok(Content::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Node {
        parse(text).unwrap().remove(0)
    }

    fn at(line: usize, column: usize, length: usize) -> Span {
        Span { line, column, length }
    }

    #[test]
    fn a_value_knows_its_place_and_its_keys_place() {
        let node = only("spec:\n  replicas: 3\n  name: 'a b'\n  modes: [x, yz]\n");
        assert_eq!(node.place("spec.replicas"), at(2, 13, 1));
        assert_eq!(node.place("spec.name"), at(3, 9, 5));
        assert_eq!(node.items("spec.modes")[1].span, at(4, 14, 2));
        assert_eq!(node.get("spec.replicas").unwrap().head(), at(2, 3, 8));
        assert_eq!(node.place("spec.template.metadata"), at(1, 1, 4), "what is not there stands at what is around it");
        assert_eq!(node.place("spec.modes"), at(4, 3, 5), "a list at its key");
    }

    #[test]
    fn json_with_tabs_is_read_like_yaml() {
        let node = only("{\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"replicas\": 2}\n\t]\n}\n");
        assert_eq!(node.text("kind"), Some("List"));
        assert_eq!(node.items("items")[0].whole("replicas"), Some(2));
    }

    #[test]
    fn scalars_have_the_types_that_the_api_server_sees() {
        let node = only("{a: Off, b: \"Off\", c: 10, d: 1.5, e: null, f: 512Mi, g: 1e999}");
        assert_eq!(node.flag("a"), Some(false));
        assert_eq!(node.text("b"), Some("Off"));
        assert_eq!((node.whole("c"), node.whole("d")), (Some(10), None));
        assert!(node.get("e").is_none());
        assert_eq!(node.text("f"), Some("512Mi"));
        assert!(node.get("g").is_some());
    }

    #[test]
    fn what_is_written_once_and_used_again_stands_where_it_is_used() {
        let node = only("a: &x\n  size: 1\nb: *x\nc:\n  <<: *x\n");
        assert_eq!(node.whole("b.size"), Some(1));
        assert_eq!(node.whole("c.size"), Some(1));
        assert_eq!(node.get("b").unwrap().head(), at(3, 1, 1));
    }

    #[test]
    fn documents_are_read_one_after_the_other_and_empty_ones_passed_over() {
        let documents = parse("---\n# nothing\n---\na: 1\n---\nb: 2\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].place("b"), at(6, 4, 1));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_has_its_place() {
        for (text, line) in [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 1\na: 2\n", 2), ("a: b: c\n", 1)] {
            let broken = parse(text).unwrap_err();
            assert_eq!(broken.span.line, line, "{text:?}: {}", broken.message);
        }
    }
}
