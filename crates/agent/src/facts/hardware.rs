//! What `/sys` and the device tree say of the machine: model, heat, power, flash memory.

use std::path::Path;

use backstay_types::{HostFacts, Throttling};

use super::{names, read, text};

/// Where a Raspberry Pi's firmware says what `vcgencmd get_throttled` prints.
const THROTTLED: [&str; 2] = [
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc/soc:firmware/raspberrypi-hwmon/get_throttled",
];
/// Sensors lie in either direction when nobody is there to answer.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = -40.0..=150.0;

/// Fills in what changes slowly or never.
pub(super) fn fill(root: &Path, facts: &mut HostFacts) {
    facts.system = system(root).unwrap_or_default();
    facts.model = model(root).unwrap_or_default();
    facts.cpus = cpus(root);
    facts.memory_bytes = read(root, "proc/meminfo")
        .and_then(|meminfo| text::memory(&meminfo).0)
        .map_or(0, |memory| memory.total);
    facts.flash_worn_percent = flash_worn(root);
}

fn system(root: &Path) -> Option<String> {
    let release = read(root, "etc/os-release").or_else(|| read(root, "usr/lib/os-release"))?;
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']).chars().take(80).collect())
}

fn model(root: &Path) -> Option<String> {
    let tree =
        read(root, "proc/device-tree/model").or_else(|| read(root, "sys/firmware/devicetree/base/model"));
    let board = || {
        let part =
            |name: &str| read(root, &format!("sys/class/dmi/id/{name}")).filter(|text| !text.is_empty());
        let (vendor, product) = (part("sys_vendor"), part("product_name"));
        Some([vendor?, product?].join(" "))
    };
    let model = tree.filter(|text| !text.is_empty()).or_else(board)?;
    Some(model.chars().take(80).collect())
}

fn cpus(root: &Path) -> u32 {
    // `0-3` or `0,2-3`.
    let online = read(root, "sys/devices/system/cpu/online").unwrap_or_default();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    online.split(',').filter_map(count).sum()
}

/// How much of its life the most worn flash memory has behind it, as eMMC and newer SD cards say it in tenths.
fn flash_worn(root: &Path) -> Option<u8> {
    let worn = |device: &String| {
        let text = read(root, &format!("sys/block/{device}/device/life_time"))?;
        let tenths = text
            .split_whitespace()
            .filter_map(|field| u8::from_str_radix(field.trim_start_matches("0x"), 16).ok());
        // 0 says that it is not told, 11 that it is past its end.
        tenths.max().filter(|tenths| (1..=11).contains(tenths)).map(|tenths| tenths * 10)
    };
    names(root, "sys/block").iter().filter(|name| name.starts_with("mmcblk")).filter_map(worn).max()
}

/// The hottest sensor, in degrees Celsius.
pub(super) fn temperature(root: &Path) -> Option<f64> {
    let zones = names(root, "sys/class/thermal");
    let zones = zones.iter().filter(|name| name.starts_with("thermal_zone"));
    let mut found: Vec<f64> =
        zones.filter_map(|zone| degrees(root, &format!("sys/class/thermal/{zone}/temp"))).collect();
    if found.is_empty() {
        for chip in names(root, "sys/class/hwmon") {
            let dir = format!("sys/class/hwmon/{chip}");
            let inputs = names(root, &dir);
            let inputs = inputs.iter().filter(|name| name.starts_with("temp") && name.ends_with("_input"));
            found.extend(inputs.filter_map(|input| degrees(root, &format!("{dir}/{input}"))));
        }
    }
    found.into_iter().max_by(f64::total_cmp).map(text::tenths)
}

fn degrees(root: &Path, path: &str) -> Option<f64> {
    let thousandths: i32 = read(root, path)?.parse().ok()?;
    Some(f64::from(thousandths) / 1000.0).filter(|degrees| PLAUSIBLE.contains(degrees))
}

/// What a Raspberry Pi's firmware says; none elsewhere.
pub(super) fn throttling(root: &Path) -> Option<Throttling> {
    let bits = THROTTLED
        .iter()
        .find_map(|path| u32::from_str_radix(read(root, path)?.trim_start_matches("0x"), 16).ok());
    if let Some(bits) = bits {
        return Some(Throttling::from_bits(bits));
    }
    // Newer kernels have the voltage alone, as an alarm of a sensor.
    let chips = names(root, "sys/class/hwmon");
    let volt = chips
        .iter()
        .find(|chip| read(root, &format!("sys/class/hwmon/{chip}/name")).as_deref() == Some("rpi_volt"))?;
    let alarm = read(root, &format!("sys/class/hwmon/{volt}/in0_lcrit_alarm"))?;
    Some(Throttling { under_voltage: alarm == "1", ..Throttling::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::figures::tests::tree;

    #[test]
    fn a_raspberry_pi_says_what_it_is() {
        let root = tree(&[
            ("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("proc/meminfo", "MemTotal:        3884400 kB\nMemAvailable:    3000000 kB\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/block/mmcblk0/device/life_time", "0x02 0x03\n"),
            ("sys/block/mmcblk1/device/life_time", "0x00 0x00\n"),
            ("sys/block/sda/device/life_time", "0x0b 0x0b\n"),
        ]);
        let mut facts = HostFacts::default();
        fill(root.path(), &mut facts);
        assert_eq!(facts.system, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(facts.model, "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!((facts.cpus, facts.memory_bytes), (4, 3_884_400 * 1024));
        assert_eq!(facts.flash_worn_percent, Some(30));
    }

    #[test]
    fn a_server_says_its_board_and_nothing_of_flash() {
        let root = tree(&[
            ("sys/class/dmi/id/sys_vendor", "Hetzner\n"),
            ("sys/class/dmi/id/product_name", "vServer\n"),
            ("sys/devices/system/cpu/online", "0,2-3\n"),
        ]);
        let mut facts = HostFacts::default();
        fill(root.path(), &mut facts);
        assert_eq!(
            (facts.model.as_str(), facts.cpus, facts.flash_worn_percent),
            ("Hetzner vServer", 3, None)
        );
        assert_eq!(throttling(root.path()), None);
        assert_eq!(temperature(root.path()), None);
    }

    #[test]
    fn heat_is_that_of_the_hottest_sensor_that_makes_sense() {
        let root = tree(&[
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
            ("sys/class/thermal/thermal_zone1/temp", "61256\n"),
            ("sys/class/thermal/thermal_zone2/temp", "-274000\n"),
            ("sys/class/thermal/cooling_device0/temp", "99000\n"),
        ]);
        assert_eq!(temperature(root.path()), Some(61.3));
        let root = tree(&[
            ("sys/class/hwmon/hwmon1/temp1_input", "55000\n"),
            ("sys/class/hwmon/hwmon1/name", "k10temp\n"),
        ]);
        assert_eq!(temperature(root.path()), Some(55.0));
    }

    #[test]
    fn power_is_told_by_the_firmware_or_by_a_sensor() {
        let root = tree(&[(THROTTLED[0], "50005\n")]);
        assert_eq!(throttling(root.path()), Some(Throttling::from_bits(0x50005)));
        let root = tree(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
        ]);
        assert!(throttling(root.path()).unwrap().under_voltage);
        assert_eq!(throttling(tree(&[(THROTTLED[0], "what\n")]).path()), None);
    }
}
