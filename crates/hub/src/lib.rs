//! HTTP, authentication and the composition root.
