//! Names as Prometheus gives them to what comes by OTLP: its translation strategy `UnderscoreEscapingWithSuffixes`
//! (<https://prometheus.io/docs/guides/opentelemetry/>), which follows OpenTelemetry's "Prometheus and OpenMetrics
//! Compatibility".

/// What a suffix depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// All others.
    Other,
}

/// A metric's name.
pub(super) fn metric(name: &str, unit: &str, shape: Shape) -> String {
    let mut tokens: Vec<&str> = name
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
        .filter(|token| !token.is_empty())
        .collect();
    let (main, per) = unit_words(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    let main: Vec<&str> = main.iter().map(String::as_str).collect();
    if is_new(&main, &tokens) {
        tokens.extend(&main);
    }
    let per: Vec<&str> = per.iter().map(String::as_str).collect();
    if is_new(&per, &tokens) {
        tokens.push("per");
        tokens.extend(&per);
    }
    let last = match shape {
        Shape::Counter => Some("total"),
        Shape::Gauge if unit.trim() == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    let joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// Whether the name does not say the unit already.
fn is_new(unit: &[&str], tokens: &[&str]) -> bool {
    match unit {
        [] => false,
        [word] => !tokens.contains(word),
        _ => true,
    }
}

/// A label's name.
pub(super) fn label(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{clean}") } else { clean }
}

/// The unit as Prometheus' metadata has it.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    let words = cleaned(&main).join("_");
    let per = cleaned(&per).join("_");
    match (words.is_empty(), per.is_empty()) {
        (_, true) => words,
        (true, false) => format!("per_{per}"),
        (false, false) => format!("{words}_per_{per}"),
    }
}

fn cleaned(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What is measured, and per what. What stands in braces is a remark.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |text: &str, known: &[(&str, &str)]| {
        let text = text.trim();
        if text.contains(['{', '}']) {
            return String::new();
        }
        known.iter().find(|(short, _)| *short == text).map_or(text, |(_, long)| *long).to_owned()
    };
    (word(main, &UNITS), word(per, &PER))
}

const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus() {
        for (name, unit, shape, expected) in [
            ("http.server.duration", "ms", Shape::Other, "http_server_duration_milliseconds"),
            ("system.io", "By", Shape::Counter, "system_io_bytes_total"),
            ("system.io.bytes", "By", Shape::Counter, "system_io_bytes_total"),
            ("requests", "1", Shape::Counter, "requests_total"),
            ("requests_total", "{requests}", Shape::Counter, "requests_total"),
            ("memory.utilization", "1", Shape::Gauge, "memory_utilization_ratio"),
            ("memory_ratio", "1", Shape::Gauge, "memory_ratio"),
            ("speed", "m/s", Shape::Gauge, "speed_meters_per_second"),
            ("errors", "{err}/s", Shape::Other, "errors_per_second"),
            ("foo_total", "s", Shape::Counter, "foo_seconds_total"),
            ("1st.thing", "", Shape::Other, "_1st_thing"),
            ("a__b..c", "", Shape::Other, "a_b_c"),
            ("job:rate:sum", "", Shape::Other, "job:rate:sum"),
            ("power", "W", Shape::Gauge, "power_watts"),
            ("odd", "foo bar", Shape::Gauge, "odd_foo_bar"),
        ] {
            assert_eq!(metric(name, unit, shape), expected, "{name} in {unit}");
        }
        assert_eq!(label("http.status_code"), "http_status_code");
        assert_eq!(label("2xx"), "key_2xx");
        assert_eq!(super::unit("By/s"), "bytes_per_second");
    }
}
