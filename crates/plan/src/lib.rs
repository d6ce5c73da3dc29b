//! Pure: desired state, constraints, undo selection.
