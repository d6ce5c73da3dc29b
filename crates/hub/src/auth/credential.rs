//! Bearer credentials: `<kind>.<id>.<secret>`. The hub keeps only the SHA-256 of the secret,
//! which is 256 random bits, so that nothing slower is needed.

use backstay_types::{Digest, Id, Secret, World};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;

/// What a credential opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The API, for people and programs.
    Api,
    /// The agent's endpoints, for one node.
    Agent,
    /// Joining, once.
    Join,
    /// The API, from one browser, for a while.
    Session,
    /// Signing in, once.
    Link,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Api => "bst",
            Self::Agent => "bsa",
            Self::Join => "bsj",
            Self::Session => "bss",
            Self::Link => "bsl",
        }
    }
}

/// A credential as it was presented: whose it says it is, and the hash of its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presented<I> {
    /// The id in it.
    pub(crate) id: I,
    hash: Digest,
}

impl<I: Id + std::str::FromStr> Presented<I> {
    /// Reads a credential of `kind`; nothing when it is of another kind or malformed.
    pub(crate) fn read(kind: Kind, text: &Secret) -> Option<Self> {
        let mut parts = text.expose().trim().split('.');
        let (prefix, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let length_fits = match kind {
            Kind::Join => {
                parts.next().is_some_and(|pin| pin.parse::<Digest>().is_ok()) && parts.next().is_none()
            }
            Kind::Api | Kind::Agent | Kind::Session | Kind::Link => parts.next().is_none(),
        };
        let canonical = id.len() == 36;
        (prefix == kind.prefix() && length_fits && canonical && secret.len() == 43)
            .then(|| id.parse().ok())
            .flatten()
            .map(|id| Self { id, hash: Digest::of(secret.as_bytes()) })
    }

    /// The hash of its secret.
    pub(crate) fn hash(&self) -> Digest {
        self.hash
    }

    /// Whether the secret is the one whose hash is kept. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, kept: &Digest) -> bool {
        self.hash.as_bytes().ct_eq(kept.as_bytes()).into()
    }
}

/// A new credential, and the hash to keep of it. Join tokens also carry the fingerprint of the hub's key.
pub(crate) fn mint(
    kind: Kind,
    id: impl Id + std::fmt::Display,
    pin: Option<Digest>,
    world: &World,
) -> (Secret, Digest) {
    let secret = BASE64_URL_SAFE_NO_PAD.encode(world.random::<32>());
    let hash = Digest::of(secret.as_bytes());
    let pin = pin.map(|pin| format!(".{pin}")).unwrap_or_default();
    (Secret::new(format!("{}.{id}.{secret}{pin}", kind.prefix())), hash)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backstay_types::{FixedClock, NodeId, SeededEntropy, Timestamp, TokenId};

    use super::*;

    fn world() -> World {
        World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(1)))
    }

    #[test]
    fn what_was_minted_matches_and_nothing_near_it_does() {
        let world = world();
        let id: TokenId = world.mint();
        let (text, hash) = mint(Kind::Api, id, None, &world);
        let presented = Presented::<TokenId>::read(Kind::Api, &text).unwrap();
        assert_eq!(presented.id, id);
        assert!(presented.matches(&hash));
        let secret_at = text.expose().rfind('.').unwrap() + 1;
        for at in secret_at..text.expose().len() {
            let mut bytes = text.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let near = Secret::new(String::from_utf8(bytes).unwrap());
            assert!(!Presented::<TokenId>::read(Kind::Api, &near).unwrap().matches(&hash));
        }
    }

    #[test]
    fn kinds_do_not_open_each_other() {
        let world = world();
        let id: NodeId = world.mint();
        let (agent, _) = mint(Kind::Agent, id, None, &world);
        let (join, _) = mint(Kind::Join, id, Some(Digest::of(b"key")), &world);
        assert!(Presented::<TokenId>::read(Kind::Api, &agent).is_none());
        assert!(Presented::<TokenId>::read(Kind::Agent, &join).is_none());
        assert!(Presented::<TokenId>::read(Kind::Join, &agent).is_none());
        assert!(Presented::<TokenId>::read(Kind::Join, &join).is_some());
        for text in ["", ".", "..", "bsa..", "bsa.x.y", &format!("bsa.{id}."), &format!("bsa.{id}.short")] {
            assert!(Presented::<NodeId>::read(Kind::Agent, &Secret::new(text)).is_none(), "{text}");
        }
    }
}
