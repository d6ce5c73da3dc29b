//! The `backstay` program: one command a file.
