//! Probes: what says whether a stack is healthy.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    LogPattern, Variables, code,
    interpolate::{InterpolationError, expand},
    read::Table,
};

/// One question whose answer says whether a stack is healthy, and how often it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// What is asked. `${NAME}` in its texts stands for values of the stack's environment.
    #[serde(flatten)]
    pub kind: ProbeKind,
    /// How long to wait between two questions.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// How long one answer may take.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// How many good answers in a row are needed.
    pub successes: u32,
    /// How long after the start the stack may take to become healthy, `start_grace` included.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// How long after the start nothing is asked.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub start_grace: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProbeKind {
    /// Every container of the stack runs and, where it has a health check, is healthy.
    Container,
    /// A GET of this address answers with the status, or with any from 200 to 399.
    Http {
        /// The address, `http://` or `https://`.
        url: String,
        /// The status that is wanted.
        status: Option<u16>,
    },
    /// Something accepts connections here.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A command ends with exit code 0.
    Command {
        /// Program and arguments; never a shell's line.
        argv: Vec<String>,
    },
    /// A systemd unit of the node is active.
    Systemd {
        /// The unit's name; `.service` when it has no suffix.
        unit: String,
    },
    /// A line with this pattern was logged since the start.
    Log {
        /// The pattern.
        pattern: LogPattern,
        /// The service or process whose log is meant; any of them when absent.
        service: Option<String>,
    },
}

impl Probe {
    /// A probe with the default times: every 2 s, each answer within 5 s, once, within 60 s, no grace.
    pub fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            every: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            successes: 1,
            within: Duration::from_secs(60),
            start_grace: Duration::ZERO,
        }
    }

    /// The probe with every `${NAME}` replaced.
    ///
    /// # Errors
    /// As [`crate::interpolate::expand`].
    pub fn rendered(&self, variables: &Variables) -> Result<Self, InterpolationError> {
        let kind = match &self.kind {
            ProbeKind::Http { url, status } => {
                ProbeKind::Http { url: expand(url, variables)?, status: *status }
            }
            ProbeKind::Tcp { address } => ProbeKind::Tcp { address: expand(address, variables)? },
            ProbeKind::Command { argv } => ProbeKind::Command {
                argv: argv.iter().map(|text| expand(text, variables)).collect::<Result<_, _>>()?,
            },
            ProbeKind::Systemd { unit } => ProbeKind::Systemd { unit: expand(unit, variables)? },
            kind @ (ProbeKind::Container | ProbeKind::Log { .. }) => kind.clone(),
        };
        Ok(Self { kind, ..self.clone() })
    }
}

impl ProbeKind {
    /// What is asked, in a few words for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Container => "container health".to_owned(),
            Self::Http { url, .. } => url.clone(),
            Self::Tcp { address } => format!("tcp {address}"),
            Self::Command { argv } => format!("command {}", argv.join(" ")),
            Self::Systemd { unit } => format!("systemd {unit}"),
            Self::Log { pattern, .. } => format!("log `{pattern}`"),
        }
    }
}

/// Reads one `[[probe]]`.
pub(crate) fn read(mut table: Table<'_, '_>) -> Option<Probe> {
    let kind = read_kind(&mut table);
    let default = Probe::new(ProbeKind::Container);
    let every = positive(&mut table, "every", default.every);
    let timeout = positive(&mut table, "timeout", default.timeout);
    let within = positive(&mut table, "within", default.within);
    let start_grace = table.duration("start_grace").unwrap_or_default();
    let successes = table.number("successes", 1..=1000).unwrap_or(default.successes);
    if start_grace >= within {
        let message = "`start_grace` must be shorter than `within`, which includes it";
        let key = if table.has("start_grace") { "start_grace" } else { "within" };
        table.wrong::<()>(key, code::WRONG_VALUE, message);
    }
    table.finish();
    Some(Probe { kind: kind?, every, timeout, successes, within, start_grace })
}

fn positive(table: &mut Table<'_, '_>, key: &'static str, default: Duration) -> Duration {
    match table.duration(key) {
        Some(Duration::ZERO) => {
            table.wrong::<()>(key, code::WRONG_VALUE, "expected more than nothing");
            default
        }
        other => other.unwrap_or(default),
    }
}

fn read_kind(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    const KINDS: [&str; 6] = ["container", "http", "tcp", "command", "systemd", "log"];
    let present: Vec<&'static str> = KINDS.into_iter().filter(|kind| table.has(kind)).collect();
    let [kind] = present[..] else {
        let expected = "exactly one of `container`, `http`, `tcp`, `command`, `systemd` and `log`";
        match present.get(1) {
            None => table.missing("http", expected),
            Some(second) => {
                let message = format!("expected {expected}, found {}", present.join(" and "));
                table.wrong::<()>(second, code::WRONG_VALUE, message);
            }
        }
        // So that they are not called unknown as well.
        for key in ["status", "service"] {
            table.has(key);
        }
        return None;
    };
    match kind {
        "container" => read_container(table),
        "http" => read_http(table),
        "tcp" => read_tcp(table),
        "command" => read_command(table),
        "systemd" => read_systemd(table),
        _ => read_log(table),
    }
}

fn read_container(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    if table.boolean("container")? {
        Some(ProbeKind::Container)
    } else {
        table.wrong("container", code::WRONG_VALUE, "expected true; leave the whole probe out instead")
    }
}

fn read_http(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    let status = table.number("status", 100..=599).and_then(|status| u16::try_from(status).ok());
    let url = table.string("http")?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace))
    {
        let message = format!("`{url}` is not an address: expected http://host:port/path");
        return table.wrong("http", code::WRONG_VALUE, message);
    }
    Some(ProbeKind::Http { url, status })
}

fn read_tcp(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    let address = table.string("tcp")?;
    let is_port = |port: &str| port.starts_with("${") || port.parse::<u16>().is_ok_and(|port| port > 0);
    if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port)) {
        let message = format!("`{address}`: expected host:port such as \"127.0.0.1:5432\"");
        return table.wrong("tcp", code::WRONG_VALUE, message);
    }
    Some(ProbeKind::Tcp { address })
}

fn read_command(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    let argv = table.strings("command")?;
    if argv.first().is_none_or(String::is_empty) {
        let message = "expected a program and its arguments, such as [\"./check\", \"--fast\"]";
        return table.wrong("command", code::WRONG_VALUE, message);
    }
    Some(ProbeKind::Command { argv })
}

fn read_systemd(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    let unit = table.string("systemd")?;
    // What systemd allows in a name, and the signs of `${NAME}`.
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@${}".contains(c);
    if unit.is_empty() || unit.len() > 255 || unit.starts_with('-') || !unit.chars().all(plain) {
        let message = format!("`{}` is not the name of a unit", unit.escape_debug());
        return table.wrong("systemd", code::WRONG_VALUE, message);
    }
    Some(ProbeKind::Systemd { unit })
}

fn read_log(table: &mut Table<'_, '_>) -> Option<ProbeKind> {
    let service = table.string("service");
    let text = table.string("log")?;
    match LogPattern::new(&text) {
        Some(pattern) => Some(ProbeKind::Log { pattern, service }),
        None => table.wrong("log", code::WRONG_VALUE, "expected a text to look for"),
    }
}
