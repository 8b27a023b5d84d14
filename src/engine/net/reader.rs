//! Readers of an answer while it comes on a session, for any protocol above.

use http::HeaderMap;

use crate::engine::attempt::failure::Failure;

/// Reader of an answer from the bytes of a connection that carries one request at a time.
pub(crate) trait ByteReader {
    /// Takes bytes that were read and returns whether the answer is complete.
    fn feed(&mut self, bytes: &[u8]) -> Result<bool, Failure>;

    /// Takes the end of the connection and returns whether that completes the answer.
    fn end_of_stream(&mut self) -> bool;

    /// Returns the number of bytes of the answer so far.
    fn received(&self) -> u64;

    /// Returns how many bytes are sure to come and not needed, so that they may be dropped unread.
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
