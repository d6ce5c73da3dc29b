//! Image references.

/// An image reference, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef<'a> {
    /// Registry and repository.
    pub name: &'a str,
    /// The tag, when written.
    pub tag: Option<&'a str>,
    /// The digest, when written.
    pub digest: Option<&'a str>,
}

/// How firmly a reference names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// By digest: always the same image.
    Digest,
    /// By a tag that looks like a version.
    Version,
    /// By a tag that is meant to move, or by none.
    Floating,
}

impl<'a> ImageRef<'a> {
    /// Splits a reference; it is not checked any further.
    pub fn parse(text: &'a str) -> Self {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        // A colon before a slash belongs to a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name, tag, digest }
    }

    /// How firmly it names an image. A tag with a digit counts as a version.
    pub fn pinning(&self) -> Pinning {
        match (self.digest, self.tag) {
            (Some(_), _) => Pinning::Digest,
            (None, Some(tag)) if tag.bytes().any(|b| b.is_ascii_digit()) => Pinning::Version,
            _ => Pinning::Floating,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_references() {
        for (text, tag, pinning) in [
            ("nginx", None, Pinning::Floating),
            ("nginx:latest", Some("latest"), Pinning::Floating),
            ("host:5000/team/web", None, Pinning::Floating),
            ("host:5000/team/web:1.2", Some("1.2"), Pinning::Version),
            ("nginx:1.27@sha256:abc", Some("1.27"), Pinning::Digest),
            ("nginx@sha256:abc", None, Pinning::Digest),
        ] {
            let image = ImageRef::parse(text);
            assert_eq!((image.tag, image.pinning()), (tag, pinning), "{text}");
        }
    }
}
