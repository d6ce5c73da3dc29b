//! Dev only: real parts, test hub, crash injection.
