//! Lines as services write them: a few hundred forms of line, some of them much more often than others, with numbers, ids,
//! addresses and now and then a stack trace.

use std::sync::Arc;

use backstay_telemetry::logs::{Field, LogRecord};

const SERVICES: [&str; 12] = [
    "gateway",
    "shop",
    "cart",
    "payments",
    "search",
    "mail",
    "auth",
    "inventory",
    "assistant",
    "worker",
    "db",
    "cache",
];
const VERBS: [&str; 10] = [
    "handled",
    "fetched",
    "stored",
    "refreshed",
    "skipped",
    "scheduled",
    "retried",
    "closed",
    "opened",
    "checked",
];
const THINGS: [&str; 14] = [
    "request",
    "session",
    "order",
    "invoice",
    "message",
    "conversation",
    "token budget",
    "index segment",
    "lease",
    "connection",
    "cache entry",
    "tool call",
    "webhook delivery",
    "snapshot",
];

/// Numbers that look random, and are the same in each run.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Beginning with a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next, of 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next, below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A line at a time in nanoseconds. One in so many has a text that no other line has.
pub(crate) fn line(numbers: &mut Numbers, time: i64) -> LogRecord {
    // Small numbers are more frequent: a few services write most.
    let service = (numbers.below(12) * numbers.below(12) / 12) as usize;
    let node = numbers.below(20);
    let mut record = LogRecord { time, observed: time + 1_000_000, severity: 9, ..LogRecord::default() };
    let text = |text: String| Arc::<str>::from(text);
    record.set(Field::Node, &text(format!("web-{node}")));
    record.set(Field::Stack, &text(format!("stack-{}", service / 3)));
    record.set(Field::Service, &text(SERVICES[service].to_owned()));
    // A deployment a day and stack; a conversation for one line in five.
    let day = time / 86_400_000_000_000;
    record.set(Field::Deployment, &text(format!("{:08x}-4d5e-7f60-8a9b-{:012x}", day, service / 3)));
    if numbers.below(5) == 0 {
        record.set(Field::Conversation, &text(conversation(day, numbers.below(200))));
    }
    if numbers.below(3) == 0 {
        record.set(Field::Trace, &text(format!("{:016x}{:016x}", numbers.next(), numbers.next())));
        record.set(Field::Span, &text(format!("{:016x}", numbers.next())));
    }
    record.body = body(numbers, &mut record.severity);
    if numbers.below(4) == 0 {
        record.attributes = format!(
            r#"{{"http.request.method":"GET","http.response.status_code":{},"thread":"pool-{}"}}"#,
            200 + numbers.below(4) * 100,
            numbers.below(16)
        );
    }
    record
}

/// One of a day's conversations.
pub(crate) fn conversation(day: i64, n: u64) -> String {
    format!("{day:08x}-2b3c-7000-8000-{n:012x}")
}

fn body(numbers: &mut Numbers, severity: &mut u8) -> String {
    let (verb, thing) = (numbers.pick(&VERBS), numbers.pick(&THINGS));
    match numbers.below(100) {
        0..=44 => {
            let (path, status) = (numbers.below(60), 200 + numbers.below(4) / 3 * 204);
            let (took, bytes) = (numbers.below(900), numbers.below(60_000));
            format!(
                "10.{}.{}.{} \"GET /api/v{}/{}/{} HTTP/1.1\" {status} {bytes} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\" {took}ms",
                numbers.below(4),
                numbers.below(255),
                numbers.below(255),
                path % 3,
                thing.replace(' ', "-"),
                numbers.below(10_000),
            )
        }
        45..=79 => format!(
            "{verb} {thing} {} in {} ms, {} left",
            numbers.below(100_000),
            numbers.below(500),
            numbers.below(40)
        ),
        80..=91 => format!(
            "msg=\"{verb} {thing}\" id={:08x} queue=q{} attempt={}",
            numbers.below(1 << 32),
            numbers.below(8),
            numbers.below(4)
        ),
        92..=96 => {
            *severity = 13;
            format!("slow {thing}: took {} ms, expected at most 250", 250 + numbers.below(4000))
        }
        97 | 98 => {
            *severity = 17;
            format!(
                "could not {} {thing} {}: connection refused by 10.0.{}.{}:5432",
                &verb[..4],
                numbers.below(100_000),
                numbers.below(8),
                numbers.below(255)
            )
        }
        _ => {
            *severity = 17;
            let frame = |n: u64| {
                format!(
                    "\n    at com.example.shop.{}.Handler{n}.handle(Handler{n}.java:{})",
                    verb,
                    20 + n * 7
                )
            };
            let frames: String = (0..6 + numbers.below(8)).map(frame).collect();
            format!("java.lang.IllegalStateException: {thing} was {verb} twice{frames}")
        }
    }
}
