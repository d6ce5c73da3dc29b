//! The agent's I/O: disk, runtimes, probes, poll loop.
