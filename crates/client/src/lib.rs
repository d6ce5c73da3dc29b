//! Typed HTTP client made from the endpoint declarations.
