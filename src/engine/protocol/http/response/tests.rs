//! Answers whole, cut at every byte, malformed, endless, and arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::engine::answer::capture::{Wanted, headers};

/// A parser with the answer that it fills.
#[derive(Default)]
struct Reader {
    response: Response,
    answer: Received,
}

impl Reader {
    fn begin(&mut self, to_head: bool, wanted: Wanted) {
        self.response.begin(to_head, HeadLimits::default());
        self.answer.begin(wanted);
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        self.response.feed(bytes, &mut self.answer)
    }

    fn end_of_stream(&mut self) -> Ended {
        self.response.end_of_stream(&self.answer)
    }

    fn droppable(&self) -> u64 {
        self.response.droppable(&self.answer)
    }

    fn dropped(&mut self, count: u64) {
        self.response.dropped(count, &mut self.answer);
    }
}

impl std::ops::Deref for Reader {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.answer
    }
}

/// Feeds `bytes` in pieces cut at `cuts`; whether the response is complete, and the reader.
fn read(bytes: &[u8], cuts: &[usize]) -> Result<(bool, Reader), Malformed> {
    let mut response = Reader::default();
    response.begin(false, Wanted::default());
    let mut done = false;
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        done |= response.feed(&bytes[from..to])?;
        from = to;
    }
    Ok((done, response))
}

fn whole(bytes: &str) -> Result<(bool, Reader), Malformed> {
    read(bytes.as_bytes(), &[])
}

const MAX_HEAD: usize = 64 * 1024;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: v\r\n\r\n";

#[test]
fn an_answer_may_have_many_header_fields() {
    let with = |count: usize| {
        let fields: String = (0..count).map(|i| format!("a{i}: b\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")
    };
    for count in [1, 127, 128, 150, 4095] {
        let (done, answer) = whole(&with(count)).unwrap();
        assert!(done && answer.status == 200, "{count}");
    }
    let wrong = whole(&with(4096)).err().unwrap();
    assert_eq!(wrong, Malformed::TooManyFields(4096));
    assert!(
        wrong
            .to_string()
            .contains("the limit of http.maxHeaderFields")
    );
}

#[test]
fn a_target_that_speaks_another_protocol_is_recognised() {
    let alert = "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{16}";
    assert_eq!(whole(alert).err(), Some(Malformed::Tls));
    let settings = "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d";
    assert_eq!(whole(settings).err(), Some(Malformed::Http2));
}

#[test]
fn what_is_not_http_is_refused() {
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
    for (text, wrong) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", None),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            Some(Malformed::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            Some(Malformed::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            Some(Malformed::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            Some(Malformed::Length),
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n", Some(Malformed::Upgrade)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Some(Malformed::Chunk),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            Some(Malformed::Chunk),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            Some(Malformed::Chunk),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
            Some(Malformed::Chunk),
        ),
        (&endless, Some(Malformed::HeadTooLong(65536))),
        (
            &format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(4_200)),
            Some(Malformed::TooManyFields(4096)),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            Some(Malformed::Length),
        ),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", None),
        ("HTTP/1.1 2000 OK\r\n\r\n", None),
        ("HTTP/2.0 200 OK\r\n\r\n", None),
    ] {
        let error = whole(text).err();
        assert!(
            error.is_some() && (wrong.is_none() || error == wrong),
            "{text:.40?} gave {error:?}"
        );
    }
}

#[test]
fn a_response_may_be_cut_at_every_byte() {
    for at in 0..=CHUNKED.len() {
        let (done, response) = read(CHUNKED.as_bytes(), &[at]).unwrap();
        assert!(
            done && response.response.keep_alive && response.bytes == CHUNKED.len() as u64,
            "cut at {at}"
        );
    }
    let every: Vec<usize> = (1..CHUNKED.len()).collect();
    assert!(read(CHUNKED.as_bytes(), &every).unwrap().0);
    assert!(
        !read(&CHUNKED.as_bytes()[..CHUNKED.len() - 1], &[])
            .unwrap()
            .0
    );
}

#[test]
fn the_end_of_the_stream_is_the_end_of_a_body_only_without_a_length() {
    let (_, mut until_close) = whole("HTTP/1.0 200 OK\r\n\r\nhel").unwrap();
    assert_eq!(
        (until_close.end_of_stream(), until_close.response.keep_alive),
        (Ended::Complete, false)
    );
    let (_, mut short) = whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    assert_eq!(short.end_of_stream(), Ended::Broken);
    let (_, mut nothing) = whole("").unwrap();
    assert_eq!(nothing.end_of_stream(), Ended::Unanswered);
    let (_, mut head) = whole("HTTP/1.1 2").unwrap();
    assert_eq!(head.end_of_stream(), Ended::Broken);
}

#[test]
fn only_seconds_or_a_date_are_kept_of_retry_after() {
    for (value, kept) in [
        ("7", true),
        ("Sun, 06 Nov 1994 08:49:37 GMT", true),
        ("Bearer canary", false),
        ("", false),
        ("99999999999", false),
    ] {
        let (_, response) = whole(&format!(
            "HTTP/1.1 503 No\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
        ))
        .unwrap();
        assert_eq!(
            response.retry_after.map(|after| after.to_string()),
            kept.then(|| value.to_owned())
        );
    }
}

#[test]
fn interim_answers_are_skipped() {
    let (done, response) = whole(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
    )
    .unwrap();
    assert_eq!(
        (done, response.status, response.response.keep_alive),
        (true, 201, true)
    );
}

#[test]
fn there_may_be_any_number_of_interim_answers() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let text = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (done, response) = whole(&text).unwrap();
    assert_eq!((done, response.status), (true, 200));
}

#[test]
fn whatever_a_recipient_must_read_is_read() {
    const LENGTH: &str = "Content-Length: 2\r\n\r\nok";
    for text in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_owned(),
        format!("\r\nHTTP/1.1 200 OK\r\n{LENGTH}"),
        format!("HTTP/1.1 200\r\n{LENGTH}"),
        format!("HTTP/1.1 200 \r\n{LENGTH}"),
        format!("HTTP/1.1  200  OK\r\n{LENGTH}"),
        format!("HTTP/1.1 200 Très bien\r\n{LENGTH}"),
        format!("HTTP/1.2 200 OK\r\n{LENGTH}"),
        "HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok".into(),
        "HTTP/1.1 200 OK\r\nCONTENT-LENGTH :\t2 \t\r\n\r\nok".into(),
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2,\r\n\r\nok".into(),
        format!("HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\tvalue\r\n{LENGTH}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n{LENGTH}"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n CHUNKED\r\n\r\n2 ; a=\"b;c\"\r\nok\r\n000\r\nA: b\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n".into(),
    ] {
        for cut in 0..text.len() {
            let mut response = Reader::default();
            let body = Wanted { body: true, ..Wanted::default() };
            response.begin(false, body);
            let (first, rest) = text.as_bytes().split_at(cut);
            let done = response.feed(first).unwrap() || response.feed(rest).unwrap();
            assert!(done && response.response.keep_alive, "{text:?} cut at {cut}");
            assert_eq!(response.capture.body, b"ok", "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn a_folded_field_is_one_line_of_what_is_kept() {
    let mut response = Reader::default();
    response.begin(
        false,
        Wanted {
            head: true,
            ..Wanted::default()
        },
    );
    response
        .feed(b"HTTP/1.1 200 OK\r\nX-Folded : a\r\n b\n\tc\r\nY: z\r\n\r\n")
        .unwrap();
    let kept: Vec<_> = headers(&response.capture.head).collect();
    assert_eq!(kept, [(&b"X-Folded"[..], &b"a   b \tc"[..]), (b"Y", b"z")]);
}

#[test]
fn an_encoding_goes_before_any_length() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (done, response) = whole(text).unwrap();
    assert!(done && !response.response.keep_alive);
    let old =
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (done, response) = whole(old).unwrap();
    assert!(
        done && !response.response.keep_alive,
        "HTTP/1.0 has no encodings"
    );
    let (done, mut response) =
        whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok").unwrap();
    assert!(!done && response.end_of_stream() == Ended::Complete);
    assert!(
        whole("HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n")
            .unwrap()
            .0
    );
}

#[test]
fn limits_of_a_head_are_named_when_they_are_exceeded() {
    let limits = HeadLimits {
        bytes: 1024,
        fields: 3,
    };
    let told = |fields: &str| {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let mut response = Response::default();
        response.begin(false, limits);
        let fed = response.feed(text.as_bytes(), &mut Received::default());
        fed.map_err(|wrong| wrong.to_string())
    };
    assert!(told("a: b\r\nc: d\r\ne: f\r\n").is_ok());
    let many = told("a: b\r\nc: d\r\ne: f\r\ng: h\r\n").unwrap_err();
    assert!(many.contains("more than 3 header fields"), "{many}");
    let long = told(&format!("a: {}\r\n", "x".repeat(1024))).unwrap_err();
    assert!(
        long.contains("longer than 1024 bytes") && long.contains("http.maxHeaderBytes"),
        "{long}"
    );
}

#[test]
fn the_time_for_which_a_target_keeps_an_idle_connection_is_heeded() {
    for (fields, timeout, kept) in [
        ("Keep-Alive: timeout=5\r\n", Some(5), true),
        ("keep-alive: Timeout = 5 , max=100\r\n", Some(5), true),
        ("Keep-Alive: max=0, timeout=5\r\n", Some(5), false),
        ("Keep-Alive: timeout=soon\r\n", None, true),
        (
            "Connection: close, keep-alive\r\nKeep-Alive: timeout=5\r\n",
            Some(5),
            false,
        ),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        let (_, answer) = whole(&text).unwrap();
        let Response {
            idle_timeout,
            keep_alive,
            ..
        } = answer.response;
        assert_eq!(
            (idle_timeout.map(|time| time.as_secs()), keep_alive),
            (timeout, kept),
            "{fields}"
        );
    }
}

#[test]
fn some_answers_have_no_body() {
    assert!(whole("HTTP/1.1 204 No Content\r\n\r\n").unwrap().0);
    assert!(
        whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
            .unwrap()
            .0
    );
    let mut head = Reader::default();
    head.begin(true, Wanted::default());
    assert_eq!(
        head.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Ok(true)
    );
    assert!(head.response.keep_alive);
}

#[test]
fn a_connection_is_kept_only_when_both_sides_can_go_on() {
    for (text, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, Close\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let (done, response) = whole(text).unwrap();
        assert_eq!(
            (done, response.response.keep_alive),
            (true, kept),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_wanted_of_an_answer_is_kept_however_it_comes() {
    for at in 0..=CHUNKED.len() {
        let mut response = Reader::default();
        response.begin(
            false,
            Wanted {
                body: true,
                ..Wanted::default()
            },
        );
        response.feed(&CHUNKED.as_bytes()[..at]).unwrap();
        assert!(
            at == CHUNKED.len() || response.droppable() == 0,
            "a body that is wanted is not dropped"
        );
        response.feed(&CHUNKED.as_bytes()[at..]).unwrap();
        assert_eq!(
            response.capture.body, b"helloabcdefghijklmnopqrstuvwxyz",
            "cut at {at}"
        );
        assert!(
            response.capture.head.ends_with(b"chunked\r\n\r\n"),
            "cut at {at}"
        );
    }
}

#[test]
fn a_body_beyond_the_limit_is_dropped() {
    let mut response = Reader::default();
    response.begin(
        false,
        Wanted {
            body: true,
            ..Wanted::default()
        },
    );
    response
        .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
        .unwrap();
    response.feed(&vec![b'x'; 2_000_000]).unwrap();
    assert_eq!(
        (response.capture.body.len(), response.capture.truncated),
        (1024 * 1024, true)
    );
    assert_eq!(response.droppable(), 999_999);
}

#[test]
fn a_head_is_kept_for_its_cookies_or_its_redirect_only_when_it_has_them() {
    let kept = |text: &str| {
        let mut response = Reader::default();
        response.begin(
            false,
            Wanted {
                cookies: true,
                redirects: true,
                ..Wanted::default()
            },
        );
        response.feed(text.as_bytes()).unwrap();
        !response.capture.head.is_empty()
    };
    assert!(!kept("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert!(kept(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    ));
    assert!(kept(
        "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
    ));
}

#[test]
fn all_but_the_last_byte_of_a_body_may_be_dropped() {
    let (_, mut response) = whole("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab").unwrap();
    assert_eq!(response.droppable(), 97);
    response.dropped(97);
    assert_eq!(response.feed(b"x"), Ok(true));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let _unused = read(&bytes, &[cut.index(bytes.len() + 1)]);
        let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        chunked.extend_from_slice(&bytes);
        let _unused = read(&chunked, &[cut.index(chunked.len() + 1)]);
    }

    #[test]
    fn what_is_kept_of_a_head_is_bounded(line in "[ -~]{0,20}", size in 1usize..5000) {
        let mut response = Reader::default();
        response.begin(false, Wanted::default());
        let piece = format!("{line}\r\n").repeat(size);
        let mut fed = response.feed(b"HTTP/1.1 200 OK\r\nA: b\r\nB: ");
        for _ in 0..100 {
            fed = fed.and_then(|done| if done { Ok(true) } else { response.feed(piece.as_bytes()) });
            prop_assert!(response.response.partial_head.len() <= MAX_HEAD + piece.len());
        }
    }

    #[test]
    fn chunks_may_have_any_size_and_be_cut_anywhere(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (done, response) = read(&bytes, &cuts).unwrap();
        prop_assert!(done && response.response.keep_alive);
        prop_assert_eq!(response.bytes, bytes.len() as u64);
        prop_assert!(!read(&bytes[..bytes.len() - 1], &[]).unwrap().0);
    }
}
