//! Pages of lists: how many, and from where on.

use std::{fmt::Display, str::FromStr};

use backstay_api::v1::Page;

use super::error::ApiError;

const DEFAULT: u32 = 100;
const MAX: u32 = 1000;

/// How many items a page has.
///
/// # Errors
/// When it is none or more than there may be.
pub(crate) fn limit(given: Option<u32>) -> Result<u32, ApiError> {
    match given {
        None => Ok(DEFAULT),
        Some(limit @ 1..=MAX) => Ok(limit),
        Some(other) => {
            Err(ApiError::invalid("limit", format!("{other} is out of range: expected 1 to {MAX}")))
        }
    }
}

/// Where the page begins: behind the item with this key.
///
/// # Errors
/// When it is not a cursor of this list.
pub(crate) fn cursor<K: FromStr<Err: Display>>(given: Option<&str>) -> Result<Option<K>, ApiError> {
    given.map(|text| text.parse().map_err(|e| ApiError::invalid("cursor", e))).transpose()
}

/// A page from items that were read with a limit of one more than it has.
pub(crate) fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(key);
    Page { items, next }
}

/// All of a list that has no pages.
pub(crate) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

/// Another kind of item, on the same page.
pub(crate) fn map<T, U>(page: Page<T>, items: impl FnOnce(Vec<T>) -> Vec<U>) -> Page<U> {
    Page { items: items(page.items), next: page.next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_begins_and_the_last_does_not() {
        let first = page(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2], Some("2")));
        let last = page(vec![3], 2, ToString::to_string);
        assert_eq!((last.items, last.next), (vec![3], None));
        assert!(limit(Some(0)).is_err() && limit(Some(1001)).is_err());
        assert_eq!(limit(None).unwrap(), 100);
        assert!(cursor::<u64>(Some("x")).unwrap_err().problem().detail.starts_with("cursor: "));
    }
}
