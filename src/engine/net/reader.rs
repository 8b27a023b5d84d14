//! Traits of whoever reads an answer while it comes on a session, whatever the protocol above.

use http::HeaderMap;

use crate::engine::attempt::failure::Failure;

/// Reader of an answer from the bytes of a connection that carries one request at a time.
pub(crate) trait ByteReader {
    /// Takes bytes that were read; true when the answer is complete.
    fn feed(&mut self, bytes: &[u8]) -> Result<bool, Failure>;

    /// Takes the end of the connection; whether the answer is whole with it.
    fn end_of_stream(&mut self) -> bool;

    /// Bytes of the answer so far.
    fn received(&self) -> u64;

    /// Bytes that are sure to come and that nobody looks at: they may be dropped unread.
    fn droppable(&self) -> u64;

    /// Takes the number of [`droppable`](Self::droppable) bytes that were dropped.
    fn dropped(&mut self, count: u64);
}

/// Reader of an answer from a stream of HTTP/2.
pub(crate) trait StreamReader {
    /// Takes the head of the answer.
    fn take_head(&mut self, status: u16, headers: &HeaderMap) -> Result<(), Failure>;

    /// Takes a part of the body.
    fn take_data(&mut self, data: &[u8]) -> Result<(), Failure>;
}
