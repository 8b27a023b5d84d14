//! An open connection, whichever way requests go on it.

use std::rc::Rc;

use crate::engine::net::http1;
use crate::engine::net::http2;

/// Connection that a request can be sent on.
pub(crate) enum Connection {
    /// Carries one request at a time, and belongs to whoever holds it.
    Http1(http1::Session),
    /// Carries several at a time; others may send on it, too.
    Http2(Rc<http2::Session>),
}
