//! Git: mirrors, facts of commits, undo commits, release packs.
