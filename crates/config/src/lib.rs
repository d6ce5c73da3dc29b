//! Settings of hub and agent: one file a section, with schema and example.
