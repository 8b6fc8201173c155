//! What is written as a text in a manifest, and is something else from the moment it is parsed.

/// Makes a type that has `FromStr` and `Display` one that is written as a text: read from a string, turned into one, and in
/// a schema a string of at most so many characters, of which one CEL rule over `self` must hold, with what is said where it
/// does not.
macro_rules! written_as_text {
    ($type:ident, max_length: $length:literal, rule: $rule:expr, message: $message:expr $(,)?) => {
        impl TryFrom<String> for $type {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "maxLength": $length,
                    "x-kubernetes-validations": [{ "rule": $rule, "message": $message }],
                })
            }
        }
    };
}

pub(crate) use written_as_text;
