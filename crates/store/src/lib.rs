//! The only SQL: migrations, one file an aggregate, the sealed ledger.
