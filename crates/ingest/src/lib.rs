//! Pure: webhook payloads in, events out; one adapter a file.
