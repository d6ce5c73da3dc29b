//! Which series fit matchers, over an index of label values.

use roaring::RoaringBitmap;

use super::StoreError;
use crate::Matcher;

/// An index: for each pair of name and value, the numbers of the series that have it.
pub(super) trait Index {
    /// All series.
    fn all(&self) -> RoaringBitmap;
    /// The series with that pair.
    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError>;
    /// The series whose value of `name` passes.
    fn where_value(
        &self,
        name: &str,
        passes: &mut dyn FnMut(&str) -> bool,
    ) -> Result<RoaringBitmap, StoreError>;
}

/// The series that fit all of the matchers.
pub(super) fn find(index: &impl Index, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
    let (taking, giving): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| matcher.matches_empty());
    let mut found: Option<RoaringBitmap> = None;
    for matcher in giving {
        let fits = fitting(index, matcher)?;
        let both = match found {
            None => fits,
            Some(before) => before & fits,
        };
        if both.is_empty() {
            return Ok(both);
        }
        found = Some(both);
    }
    let mut found = found.unwrap_or_else(|| index.all());
    // Those fit also where the label is not there: what does not fit goes.
    for matcher in taking {
        if found.is_empty() {
            break;
        }
        found -= index.where_value(matcher.name(), &mut |value| !matcher.matches(value))?;
    }
    Ok(found)
}

fn fitting(index: &impl Index, matcher: &Matcher) -> Result<RoaringBitmap, StoreError> {
    match matcher.fixed_values() {
        Some(values) => {
            let mut fits = RoaringBitmap::new();
            for value in values {
                fits |= index.with(matcher.name(), value)?;
            }
            Ok(fits)
        }
        None => index.where_value(matcher.name(), &mut |value| matcher.matches(value)),
    }
}

/// The series that fit any of the lists of matchers; all, when there is no list.
pub(super) fn find_any(index: &impl Index, any_of: &[Vec<Matcher>]) -> Result<RoaringBitmap, StoreError> {
    if any_of.is_empty() {
        return Ok(index.all());
    }
    let mut found = RoaringBitmap::new();
    for matchers in any_of {
        found |= find(index, matchers)?;
    }
    Ok(found)
}
