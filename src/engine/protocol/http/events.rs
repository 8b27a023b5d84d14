//! Reader that divides the body of an answer, as it comes, into events: server-sent events as in
//! the HTML standard, or lines.
//!
//! Pure: no socket and no clock here. Bytes may be cut anywhere.

mod assembly;
pub(crate) mod completion;
pub(crate) mod streaming;
mod vendor;

use serde_json::{Value, json};

use crate::plan::StreamFormat;

/// Longest event in bytes.
pub(crate) const MAX_EVENT: usize = 1024 * 1024;

/// Returns the events of a whole body as JSON, each with its name, its data and, if that is JSON, what
/// it holds. An event too long ends the list.
pub(crate) fn listed(format: StreamFormat, body: &[u8]) -> Value {
    let mut all = Vec::new();
    let mut each = |event: Event<'_>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all.push(json!({
            "event": text(event.name),
            "data": text(event.data),
            "json": serde_json::from_slice::<Value>(event.data).unwrap_or_default(),
        }));
    };
    let mut events = Events::new(format);
    if events.feed(body, &mut each).is_ok() {
        events.end(&mut each);
    }
    all.into()
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Name of the event; empty if it has none.
    pub(crate) name: &'a [u8],
    /// Data of the event, its lines joined by line feeds.
    pub(crate) data: &'a [u8],
}

/// Error of an event longer than [`MAX_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Reader of events from a body that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Events {
    format: StreamFormat,
    /// Bytes so far of an unfinished line.
    line: Vec<u8>,
    /// Data so far of the unfinished event, each line with a line feed.
    data: Vec<u8>,
    name: Vec<u8>,
    /// True if the last byte was a carriage return that ended a line; a line feed after it belongs
    /// to that end.
    after_return: bool,
    /// True once a line has come, so that no byte order mark can follow.
    begun: bool,
}

impl Events {
    /// Creates a reader of a body in this format.
    pub(crate) fn new(format: StreamFormat) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// Takes the next part of the body and calls `each` for every event that it completes. Fails if
    /// an event is too long.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let is_sse = self.format == StreamFormat::Sse;
            let Some(end) = bytes
                .iter()
                .position(|byte| *byte == b'\n' || *byte == b'\r' && is_sse)
            else {
                self.line.extend_from_slice(bytes);
                return self.bounded();
            };
            let (line, rest) = bytes.split_at(end);
            self.after_return = rest[0] == b'\r';
            bytes = &rest[1..];
            if self.line.is_empty() {
                self.take_line(line, each);
            } else {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, each);
                self.line = line;
                self.line.clear();
            }
            self.bounded()?;
        }
        Ok(())
    }

    /// Takes the proper end of the body and calls `each` for an event that it completes.
    ///
    /// The standard drops an event that no empty line follows. Clients that read line by line, such
    /// as those of language models, would see it, so it counts here.
    pub(crate) fn end(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, each);
        }
        if self.format == StreamFormat::Sse {
            self.take_line(&[], each);
        }
    }

    fn bounded(&self) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() > MAX_EVENT {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    fn take_line(&mut self, mut line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        match self.format {
            StreamFormat::Lines => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !line.is_empty() {
                    each(Event {
                        name: &[],
                        data: line,
                    });
                }
            }
            StreamFormat::Sse if line.is_empty() => {
                if let Some(data) = self.data.strip_suffix(b"\n") {
                    each(Event {
                        name: &self.name,
                        data,
                    });
                }
                self.data.clear();
                self.name.clear();
            }
            StreamFormat::Sse => self.take_field(line),
        }
    }

    fn take_field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // a comment (its name is empty), an id, a time to wait before connecting again, or what
            // nobody knows
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Vec<(String, String)>;

    /// What is read of `body` when it comes in pieces cut at `cuts`.
    fn read(format: StreamFormat, body: &[u8], cuts: &[usize]) -> Result<Read, TooLong> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = Vec::new();
        let mut each = |event: Event<'_>| found.push((text(event.name), text(event.data)));
        let mut events = Events::new(format);
        let mut from = 0;
        for to in cuts.iter().copied().chain([body.len()]) {
            events.feed(&body[from..to], &mut each)?;
            from = to;
        }
        events.end(&mut each);
        Ok(found)
    }

    fn sse(body: &str) -> Vec<(String, String)> {
        read(StreamFormat::Sse, body.as_bytes(), &[]).unwrap()
    }

    fn data(body: &str) -> Vec<String> {
        sse(body).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn an_endless_event_is_refused_and_holds_no_memory() {
        for format in [StreamFormat::Sse, StreamFormat::Lines] {
            let mut events = Events::new(format);
            let mut fed = 0;
            while events
                .feed(&[b'x'; 1000], &mut |_| panic!("there is none"))
                .is_ok()
            {
                fed += 1000;
                assert!(fed <= MAX_EVENT);
            }
        }
        let mut events = Events::new(StreamFormat::Sse);
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let lines = (0..2000)
            .take_while(|_| events.feed(&line, &mut |_| panic!("there is none")).is_ok())
            .count();
        assert!((1000..1060).contains(&lines), "{lines}");
    }

    #[test]
    fn what_is_no_event_is_none() {
        assert_eq!(
            sse(": a comment\n\n\nid: 7\n\nevent: ping\n\nretry: 10\nunknown: x\n\n"),
            []
        );
        assert_eq!(data("event: a\n\ndata: x\n\n"), ["x"]);
        assert_eq!(
            sse("event: a\n\ndata: x\n\n")[0].0,
            "",
            "the name of an event without data is that of no other"
        );
    }

    #[test]
    fn lines_end_in_each_way_the_standard_knows() {
        for end in ["\n", "\r\n", "\r"] {
            let body = [
                "\u{feff}data: a",
                "data:b",
                ": comment",
                "",
                "event: e",
                "id: 1",
                "data:  c",
                "data",
                "",
                "data:",
                "",
                "",
            ];
            let expected = [("", "a\nb"), ("e", " c\n"), ("", "")]
                .map(|(name, data)| (name.to_owned(), data.to_owned()));
            assert_eq!(sse(&body.join(end)), expected, "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_one_only_at_the_beginning() {
        assert_eq!(data("data: a\n\n\u{feff}data: b\n\n"), ["a"]);
    }

    #[test]
    fn the_last_event_counts_also_without_an_empty_line() {
        assert_eq!(data("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
        assert_eq!(
            read(StreamFormat::Lines, b"\xef\xbb\xbf{}\r\n\r\n\nx\ry\nz", &[])
                .unwrap()
                .len(),
            3
        );
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "data: ",
            "data:",
            "data",
            ":",
            "event: e",
            "id: 1",
            "\n",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            "x",
            " ",
            "\u{feff}",
            "{\"a\": 1}",
            "[DONE]",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn cut_at_every_byte_it_reads_the_same(body in bodies(), lines in any::<bool>()) {
            let format = if lines { StreamFormat::Lines } else { StreamFormat::Sse };
            let whole = read(format, &body, &[]).unwrap();
            for cut in 0..=body.len() {
                prop_assert_eq!(&read(format, &body, &[cut]).unwrap(), &whole, "cut at {}", cut);
            }
            let every: Vec<usize> = (0..body.len()).collect();
            prop_assert_eq!(&read(format, &body, &every).unwrap(), &whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300), lines in any::<bool>()) {
            let format = if lines { StreamFormat::Lines } else { StreamFormat::Sse };
            read(format, &body, &[]).unwrap();
        }
    }
}
