//! A delivery as it arrived.

/// Headers and body of a request, untouched.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Names and values; names in any case.
    pub headers: &'a [(String, String)],
    /// The body's bytes, exactly as signed.
    pub body: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// The value of a header, when it is there exactly once. A header that is there twice is as good
    /// as none: two readers could disagree on which one counts.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value.trim()),
            _ => None,
        }
    }
}
