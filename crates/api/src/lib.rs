//! Wire types, error codes, and every endpoint declared once.
