//! Server-sent events as they come (HTML Living Standard, section 9.2).

use std::{collections::VecDeque, time::Duration};

use reqwest::Response;

use crate::ClientError;

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name; `message` when the hub gave none.
    pub name: String,
    /// Its position, where the stream has such.
    pub id: Option<String>,
    /// What it says.
    pub data: String,
}

/// Events as they happen. Dropping it tells the hub that nobody listens any more.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    quiet: Duration,
    parser: Parser,
    ready: VecDeque<ServerEvent>,
}

impl EventStream {
    pub(crate) fn new(response: Response, quiet: Duration, max_event_bytes: u64) -> Self {
        let limit = usize::try_from(max_event_bytes).unwrap_or(usize::MAX);
        Self { response, quiet, parser: Parser::new(limit), ready: VecDeque::new() }
    }

    /// The next event; `None` when the hub ended the stream.
    ///
    /// # Errors
    /// When the connection breaks, is silent for too long, or an event is larger than an answer may be.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(self.quiet, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| ClientError::Silent { after: self.quiet })?;
            match chunk.map_err(ClientError::from_transport)? {
                None => return Ok(None),
                Some(bytes) => self.ready.extend(self.parser.feed(&bytes)?),
            }
        }
    }
}

/// Bytes in, events out: sans I/O.
#[derive(Debug)]
struct Parser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    returned: bool,
    name: String,
    id: Option<String>,
    data: Option<String>,
    limit: usize,
}

impl Parser {
    fn new(limit: usize) -> Self {
        Self { line: Vec::new(), returned: false, name: String::new(), id: None, data: None, limit }
    }

    /// The events that these bytes complete.
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, ClientError> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ if self.line.len() + self.data.as_ref().map_or(0, String::len) >= self.limit => {
                    return Err(ClientError::TooLarge { limit: self.limit as u64 });
                }
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<ServerEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return self.data.take().map(|data| ServerEvent { name, id: self.id.clone(), data });
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((line.as_ref(), ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments are signs of life; other fields are for later versions.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b": alive\n\nid: 7\nevent: gap\ndata: {\"a\":1}\n\ndata: one\r\ndata: two\r\n\r\ndata\n\n\
        event: nothing\n\ndata:  kept\n\ndata: unfinished";

    fn event(name: &str, data: &str) -> ServerEvent {
        ServerEvent { name: name.into(), id: Some("7".into()), data: data.into() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let expected = [
            event("gap", "{\"a\":1}"),
            event("message", "one\ntwo"),
            event("message", ""),
            event("message", " kept"),
        ];
        for size in 1..=TEXT.len() {
            let mut parser = Parser::new(1000);
            let found: Vec<_> = TEXT.chunks(size).flat_map(|bytes| parser.feed(bytes).unwrap()).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut parser = Parser::new(10);
        assert!(parser.feed(b"data: 12345").is_err());
        let mut parser = Parser::new(10);
        let error = parser.feed(b"data: 12\ndata: 345678\n").unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { limit: 10 }));
    }
}
