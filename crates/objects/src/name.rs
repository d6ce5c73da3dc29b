//! Names of files: never a way out of their folder.

use std::{fmt, str::FromStr};

use crate::ObjectError;

/// A name with `/` between its parts. None of them is empty, `.` or `..`, or begins with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The same with another part behind it.
    ///
    /// # Errors
    /// When that cannot be part of a name.
    pub fn join(&self, part: &str) -> Result<Self, ObjectError> {
        format!("{}/{part}", self.0).parse()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        let fits = |part: &str| {
            (1..=128).contains(&part.len())
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if text.len() <= 512 && text.split('/').all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ObjectError::Name(text.chars().take(200).collect()))
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        for good in ["config", "data/ab/abcdef", "nodes/0190-x/keys/1.age"] {
            assert_eq!(good.parse::<ObjectName>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "/etc", "a//b", "a/", "..", "a/../b", "a/.b", "a\\b", "a b", "a\0", "ä"] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
    }
}
