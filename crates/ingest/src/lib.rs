//! What tools and Git hosts send, turned into events: bytes in, values out.
//!
//! Three steps, in this order. [`verify()`] says whether a delivery comes from who it claims, from its
//! raw bytes, before anything in it is parsed. [`delivery_key`] says which delivery it is, so that a
//! replay changes nothing. [`normalise()`] turns it into [`Normalised`] events with one adapter for each
//! tool; what an adapter does not understand becomes [`What::Unrecognised`] and is kept and shown.
//!
//! Pure: the time is passed in, nothing is fetched, nothing panics on any input.

mod adapters;
mod commits;
mod delivery;
mod incoming;
mod json;
mod normalised;
mod sample;
mod summary;
mod verify;

pub use adapters::{Source, normalise};
pub use delivery::delivery_key;
pub use incoming::Incoming;
pub use normalised::{ConversationRef, Normalised, RepositoryPushed, SessionEvent, What, canonical_url};
pub use sample::{Sample, sample};
pub use verify::{Refused, Scheme, TOLERANCE, sign_standard, verify};
