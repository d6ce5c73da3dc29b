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

/// Processor time of the whole machine so far, in ticks: wanted by someone, and of that withheld by a host that gave it
/// to others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    wanted: f64,
    stolen: f64,
}

impl Machine {
    /// As it is now.
    pub(crate) fn now() -> Result<Self, String> {
        let text = fs::read_to_string("/proc/stat").map_err(|error| error.to_string())?;
        Self::parse(text.lines().next().unwrap_or_default()).ok_or("/proc/stat has another form".to_owned())
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<f64> =
            line.strip_prefix("cpu ")?.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // user, nice, system, idle, waiting, interrupts, soft interrupts, stolen; guests are in user already.
        let stolen = *fields.get(7)?;
        let wanted = fields.iter().take(8).sum::<f64>() - fields.get(3)? - fields.get(4)?;
        Some(Self { wanted, stolen })
    }

    /// How much of what was wanted since `before` was withheld, in percent.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let wanted = self.wanted - before.wanted;
        if wanted > 0.0 { (self.stolen - before.stolen) / wanted * 100.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_withheld_is_a_part_of_what_was_wanted() {
        let before = Machine::parse("cpu  100 0 50 1000 10 0 0 20 0 0").unwrap();
        let after = Machine::parse("cpu  130 0 60 2000 90 5 5 70 30 0").unwrap();
        assert_eq!(after.stolen_since(before), 50.0);
        assert_eq!(before.stolen_since(before), 0.0);
        assert!(Machine::parse("cpu0 1 2").is_none());
    }
}
