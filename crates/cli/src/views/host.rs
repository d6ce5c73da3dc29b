//! A machine: what it is, and what it measured.

use backstay_api::v1::NodeView;
use backstay_types::{HostCondition, HostFacts, HostFigures, Room};

use super::fields::{Fields, section};
use crate::ui::{Frame, Table, style};

/// Adds what a machine is to the fields of its node.
pub(crate) fn facts(facts: &HostFacts, fields: &mut Fields) {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    fields.maybe("model", some(&facts.model));
    fields.maybe("system", some(&facts.system));
    fields.maybe("kernel", some(&facts.kernel));
    if facts.cpus > 0 {
        fields.add("processors", facts.cpus.to_string());
    }
    fields.maybe("network", network(facts));
    fields.maybe("flash worn", facts.flash_worn_percent.map(|percent| format!("up to {percent} %")));
}

/// The network of its default route and what leads there, and from where the hub sees it.
fn network(facts: &HostFacts) -> Option<String> {
    let own = match (facts.network.as_str(), facts.link.as_str()) {
        ("", "") => None,
        (network, "") => Some(network.to_owned()),
        ("", link) => Some(format!("over {link}")),
        (network, link) => Some(format!("{network} over {link}")),
    };
    let seen = Some(&facts.seen_from).filter(|from| !from.is_empty() && **from != facts.network);
    let seen = seen.map(|from| format!("the hub sees it from {from}"));
    let both: Vec<_> = own.into_iter().chain(seen).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

/// What a machine measured last; nothing when it has not since the hub started.
pub(crate) fn figures(view: &NodeView, frame: &Frame) -> String {
    let (Some(figures), Some(at)) = (&view.figures, view.figures_at) else { return String::new() };
    let mut fields = Fields::default();
    fields.add("measured", frame.when(at));
    fields.maybe("processor", figures.cpu_percent.map(|percent| format!("{percent} % busy")));
    fields.maybe("load", figures.load.map(|[one, five, fifteen]| format!("{one} {five} {fifteen}")));
    fields.maybe("memory", figures.memory.map(|room| free(room, bytes)));
    fields.maybe("swap", figures.swap.map(|room| free(room, bytes)));
    fields.maybe("disk", figures.disk.map(|room| free(room, bytes)));
    fields.maybe("inodes", figures.inodes.map(|room| free(room, |count| count.to_string())));
    fields.maybe("temperature", figures.temperature_celsius.map(|degrees| format!("{degrees} °C")));
    fields.maybe("power", power(figures));
    fields.maybe("clock", figures.clock_offset_ms.map(|ms| format!("{ms:+} ms against the hub")));
    fields.maybe("up for", figures.uptime_seconds.map(uptime));
    fields.maybe("agent", figures.agent_memory_bytes.map(|memory| format!("{} of memory", bytes(memory))));
    let mut text = section("Machine");
    let bad = style::BAD;
    for condition in &view.conditions {
        text.push_str(&format!("  {bad}{}{bad:#}\n", words(*condition)));
    }
    text.push_str(&fields.render());
    let mut table = Table::new(["  STACK", "SERVICE", "PROCESSOR", "MEMORY"]);
    for one in &figures.containers {
        table.row([
            format!("  {}", one.stack).into(),
            one.service.clone().into(),
            one.cpu_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")).into(),
            one.memory_bytes.map_or_else(|| "-".to_owned(), bytes).into(),
        ]);
    }
    if !table.is_empty() {
        text.push_str(&frame.table(&table));
    }
    text
}

/// A condition in words.
pub(crate) fn words(condition: HostCondition) -> &'static str {
    match condition {
        HostCondition::DiskOver80 => "the disk is over 80 % full",
        HostCondition::DiskOver90 => "the disk is over 90 % full",
        HostCondition::InodesOver90 => "over 90 % of the inodes are used",
        HostCondition::MemoryUnder10 => "less than 10 % of the memory is free",
        HostCondition::LoadHigh => "the load is over twice the number of processors",
        HostCondition::Over70Degrees => "it is hotter than 70 °C",
        HostCondition::Over80Degrees => "it is hotter than 80 °C",
        HostCondition::UnderVoltage => "the supply voltage is too low",
        HostCondition::Throttled => "the machine slows itself down",
        HostCondition::ClockOff => "its clock is wrong",
    }
}

fn power(figures: &HostFigures) -> Option<String> {
    let throttling = figures.throttling?;
    let said = [
        (throttling.under_voltage, "voltage too low"),
        (!throttling.under_voltage && throttling.under_voltage_before, "voltage was too low since the start"),
        (throttling.throttled, "slowed down"),
        (!throttling.throttled && throttling.throttled_before, "was slowed down since the start"),
    ];
    let said: Vec<_> = said.into_iter().filter_map(|(holds, text)| holds.then_some(text)).collect();
    Some(if said.is_empty() { "good".to_owned() } else { said.join(", ") })
}

fn free(room: Room, show: impl Fn(u64) -> String) -> String {
    format!("{} of {} free", show(room.free), show(room.total))
}

fn bytes(bytes: u64) -> String {
    let mebis = bytes >> 20;
    if mebis < 1024 { format!("{mebis} MiB") } else { format!("{:.1} GiB", mebis as f64 / 1024.0) }
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 { format!("{days} d {hours} h") } else { format!("{hours} h {minutes} min") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_with_what_leads_there_and_where_the_hub_sees_it() {
        let with = |network: &str, link: &str, seen_from: &str| {
            let [network, link, seen_from] = [network, link, seen_from].map(str::to_owned);
            super::network(&HostFacts { network, link, seen_from, ..HostFacts::default() })
        };
        assert_eq!(with("", "", ""), None);
        assert_eq!(
            with("192.168.7.0/24", "wifi", "203.0.113.0/24").unwrap(),
            "192.168.7.0/24 over wifi, the hub sees it from 203.0.113.0/24"
        );
        assert_eq!(with("10.0.0.0/24", "", "10.0.0.0/24").unwrap(), "10.0.0.0/24");
        assert_eq!(with("", "cellular", "").unwrap(), "over cellular");
    }

    #[test]
    fn power_says_now_before_earlier() {
        let with = |bits| HostFigures {
            throttling: Some(backstay_types::Throttling::from_bits(bits)),
            ..HostFigures::default()
        };
        assert_eq!(power(&HostFigures::default()), None);
        assert_eq!(power(&with(0)).unwrap(), "good");
        assert_eq!(power(&with(0x50005)).unwrap(), "voltage too low, slowed down");
        assert_eq!(power(&with(0x10000)).unwrap(), "voltage was too low since the start");
        assert_eq!(uptime(93_784), "1 d 2 h");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
