//! Open connection of HTTP/1.1 or HTTP/2.

use std::rc::Rc;

use crate::engine::net::http1;
use crate::engine::net::http2;

/// Connection that a request can be sent on.
pub(crate) enum Connection {
    /// Connection that carries one request at a time and belongs to its holder.
    Http1(http1::Session),
    /// Connection that carries several requests at a time and may be shared.
    Http2(Rc<http2::Session>),
}
