//! What the tests of the whole share: a fleet of real programs on this machine.
