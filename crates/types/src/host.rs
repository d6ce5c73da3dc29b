//! What a machine measures of itself. Soft state, in the hub's memory alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::StackName;

/// A clock that differs from the hub's by more than this is called off, in milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 2_000;
/// More containers than this are not told of; those that use most memory are.
pub const MOST_CONTAINERS: usize = 64;

/// A machine's figures at one moment. What a machine does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostFigures {
    /// Busy time of all processors together since the figures before, in percent.
    pub cpu_percent: Option<f64>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory, in bytes.
    pub memory: Option<Room>,
    /// Swap, in bytes; none when there is no swap.
    pub swap: Option<Room>,
    /// The file system of the agent's data folder, in bytes.
    pub disk: Option<Room>,
    /// Its inodes; none when it does not count them.
    pub inodes: Option<Room>,
    /// The hottest sensor, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Whether the machine holds itself back (Raspberry Pi).
    pub throttling: Option<Throttling>,
    /// The node's clock minus the hub's, in milliseconds; as exact as the network is quick.
    pub clock_offset_ms: Option<i64>,
    /// Seconds since the machine was started.
    pub uptime_seconds: Option<u64>,
    /// What the agent itself holds in memory, in bytes.
    pub agent_memory_bytes: Option<u64>,
    /// What containers and processes of stacks use, at most [`MOST_CONTAINERS`].
    pub containers: Vec<ContainerFigures>,
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// In all.
    pub total: u64,
    /// Free for use.
    pub free: u64,
}

/// What a Raspberry Pi's firmware says of its power and heat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Throttling {
    /// The supply voltage is too low now.
    pub under_voltage: bool,
    /// It runs slower than it could now, for whatever reason.
    pub throttled: bool,
    /// The supply voltage was too low at some time since the machine was started.
    pub under_voltage_before: bool,
    /// It ran slower at some time since the machine was started.
    pub throttled_before: bool,
}

impl Throttling {
    /// From the firmware's bits, as `vcgencmd get_throttled` shows them: 0 under-voltage, 1 frequency capped,
    /// 2 throttled, 3 soft temperature limit; the same 16 higher for "has happened".
    pub fn from_bits(bits: u32) -> Self {
        const VOLTAGE: u32 = 1;
        const SLOW: u32 = 0b1110;
        Self {
            under_voltage: bits & VOLTAGE != 0,
            throttled: bits & SLOW != 0,
            under_voltage_before: bits & (VOLTAGE << 16) != 0,
            throttled_before: bits & (SLOW << 16) != 0,
        }
    }
}

/// What a container or process uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFigures {
    /// Its stack.
    pub stack: StackName,
    /// Its service.
    pub service: String,
    /// Busy time since the figures before, in percent of one processor.
    pub cpu_percent: Option<f64>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Something about a machine that someone should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostCondition {
    /// The disk is over 80 % full.
    DiskOver80,
    /// The disk is over 90 % full.
    DiskOver90,
    /// Over 90 % of the inodes are used.
    InodesOver90,
    /// Less than 10 % of the memory is free.
    MemoryUnder10,
    /// The load over 15 minutes is more than twice the number of processors.
    LoadHigh,
    /// Over 70 °C.
    Over70Degrees,
    /// Over 80 °C.
    Over80Degrees,
    /// The supply voltage is too low.
    UnderVoltage,
    /// The machine holds itself back.
    Throttled,
    /// The clock is off by more than [`CLOCK_TOLERANCE_MS`].
    ClockOff,
}

impl HostCondition {
    /// The word under which the API and `/metrics` write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::DiskOver80 => "disk_over80",
            Self::DiskOver90 => "disk_over90",
            Self::InodesOver90 => "inodes_over90",
            Self::MemoryUnder10 => "memory_under10",
            Self::LoadHigh => "load_high",
            Self::Over70Degrees => "over70_degrees",
            Self::Over80Degrees => "over80_degrees",
            Self::UnderVoltage => "under_voltage",
            Self::Throttled => "throttled",
            Self::ClockOff => "clock_off",
        }
    }
}

impl HostFigures {
    /// What someone should look at. `cpus` is the number of processors; 0 when it is not known.
    pub fn conditions(&self, cpus: u32) -> Vec<HostCondition> {
        use HostCondition as C;
        let used = |room: Option<Room>, percent: u128| {
            room.is_some_and(|room| {
                let used = u128::from(room.total.saturating_sub(room.free));
                room.total > 0 && used * 100 > u128::from(room.total) * percent
            })
        };
        let over = |degrees: f64| self.temperature_celsius.is_some_and(|found| found > degrees);
        let throttling = self.throttling.unwrap_or_default();
        let loaded = cpus > 0 && self.load.is_some_and(|[_, _, load]| load > f64::from(cpus) * 2.0);
        let found = [
            (C::DiskOver80, used(self.disk, 80) && !used(self.disk, 90)),
            (C::DiskOver90, used(self.disk, 90)),
            (C::InodesOver90, used(self.inodes, 90)),
            (C::MemoryUnder10, used(self.memory, 90)),
            (C::LoadHigh, loaded),
            (C::Over70Degrees, over(70.0) && !over(80.0)),
            (C::Over80Degrees, over(80.0)),
            (C::UnderVoltage, throttling.under_voltage),
            (C::Throttled, throttling.throttled),
            (C::ClockOff, self.clock_offset_ms.is_some_and(|ms| ms.unsigned_abs() > CLOCK_TOLERANCE_MS)),
        ];
        found.into_iter().filter_map(|(condition, holds)| holds.then_some(condition)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_says_nothing_is_in_no_condition() {
        assert_eq!(HostFigures::default().conditions(0), []);
        let empty = Some(Room::default());
        assert_eq!(HostFigures { disk: empty, memory: empty, ..HostFigures::default() }.conditions(4), []);
    }

    #[test]
    fn thresholds_are_told_once_each() {
        let room = |used: u64| Some(Room { total: 100, free: 100 - used });
        let of = |figures: HostFigures| figures.conditions(2);
        let base = HostFigures::default;
        assert_eq!(of(HostFigures { disk: room(80), ..base() }), []);
        assert_eq!(of(HostFigures { disk: room(81), ..base() }), [HostCondition::DiskOver80]);
        assert_eq!(of(HostFigures { disk: room(91), ..base() }), [HostCondition::DiskOver90]);
        assert_eq!(of(HostFigures { memory: room(91), ..base() }), [HostCondition::MemoryUnder10]);
        assert_eq!(
            of(HostFigures { temperature_celsius: Some(81.0), ..base() }),
            [HostCondition::Over80Degrees]
        );
        assert_eq!(of(HostFigures { load: Some([9.0, 9.0, 4.1]), ..base() }), [HostCondition::LoadHigh]);
        assert_eq!(of(HostFigures { clock_offset_ms: Some(-2001), ..base() }), [HostCondition::ClockOff]);
        assert_eq!(of(HostFigures { clock_offset_ms: Some(2000), ..base() }), []);
    }

    #[test]
    fn the_words_are_those_of_the_api() {
        for condition in [HostCondition::DiskOver80, HostCondition::Over70Degrees, HostCondition::ClockOff] {
            assert_eq!(serde_json::to_value(condition).unwrap(), condition.word());
        }
    }

    #[test]
    fn the_firmwares_bits_are_read() {
        let both = Throttling::from_bits(0x50005);
        assert!(both.under_voltage && both.throttled && both.under_voltage_before && both.throttled_before);
        let before = Throttling::from_bits(0x10000);
        assert!(!before.under_voltage && before.under_voltage_before && !before.throttled_before);
    }
}
