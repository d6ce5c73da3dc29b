//! What Linux says of a process.

use std::fs;

/// Ticks a second in `/proc`: 100 on every Linux that Backstay runs on.
const TICKS: f64 = 100.0;

/// Resident memory in megabytes.
pub(crate) fn rss_mb(pid: u32) -> Result<f64, String> {
    field_kb(pid, "VmRSS:").map(|kb| kb * 1024.0 / 1e6)
}

/// The most resident memory that it ever had, in megabytes.
pub(crate) fn peak_mb(pid: u32) -> Result<f64, String> {
    field_kb(pid, "VmHWM:").map(|kb| kb * 1024.0 / 1e6)
}

fn field_kb(pid: u32, name: &str) -> Result<f64, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("there is no such figure")?;
    line.split_whitespace().next().unwrap_or_default().parse().map_err(|_| format!("`{line}`"))
}

/// Processor time so far in seconds, that of children that ended included.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    let after = text.rsplit_once(") ").ok_or("a line without a name")?.1;
    let fields = after.split(' ').skip(11).take(4);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}
