//! Names that people give. They become folder names, Compose project names and
//! label values, so they hold nothing that any of those would have to escape.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be the name of a {what}: expected 1 to 63 characters from a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit"
)]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// The text that was refused.
    pub text: String,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    first && rest && text.len() <= 63
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, text: text.to_owned() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> { text.parse() }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self { name.0 }
        }
    )*};
}

names! {
    /// A stack: the folder's name in the repository, unique in a hub.
    StackName = "stack";
    /// A node, unique in a hub.
    NodeName = "node";
    /// A repository, unique in a hub.
    RepositoryName = "repository";
    /// An environment of a fleet repository, such as `staging`.
    EnvironmentName = "fleet environment";
    /// A part of a stack, unique in it.
    PartName = "part";
    /// A person with an account, unique in a hub.
    UserName = "user";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_path_or_a_shell_would_misread() {
        for text in ["", ".", "..", "-x", "a/b", "a b", "$(x)", "A", "a\0", &"a".repeat(64)] {
            assert!(text.parse::<StackName>().is_err(), "{text:?}");
        }
        for text in ["a", "0", "web-1.prod_eu", &"a".repeat(63)] {
            assert!(text.parse::<StackName>().is_ok(), "{text:?}");
        }
    }
}
