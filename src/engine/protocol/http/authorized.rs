//! Requests that are always the same except for credentials, which are refreshed during the load.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use crate::engine::auth::{NoCredentials, RefreshedCredentials};
use crate::engine::protocol::http::request::http2::Form;

/// Request with the current credentials.
pub(crate) struct AuthorizedRequest {
    version: u64,
    /// Whole message, as HTTP/1.1 writes it.
    pub(crate) bytes: Vec<u8>,
    /// Form of the request for HTTP/2, once it was sent that way.
    pub(crate) http2: OnceLock<Form>,
}

/// Requests of one thread, by step; rebuilt only when the credentials have changed.
#[derive(Default)]
pub(crate) struct AuthorizedRequests(RefCell<Vec<Option<Rc<AuthorizedRequest>>>>);

impl AuthorizedRequests {
    /// Returns `message`, which is always the same for `step`, with credentials.
    pub(crate) fn get(
        &self,
        step: u16,
        message: &[u8],
        credentials: &RefreshedCredentials,
    ) -> Result<Rc<AuthorizedRequest>, NoCredentials> {
        let step = usize::from(step);
        let version = credentials.version();
        let mut all = self.0.borrow_mut();
        if all.len() <= step {
            all.resize_with(step + 1, || None);
        }
        if let Some(request) = all[step]
            .as_ref()
            .filter(|request| request.version == version)
        {
            return Ok(request.clone());
        }
        let mut bytes = Vec::with_capacity(message.len() + 256);
        credentials.add_to(message, &mut bytes)?;
        let request = Rc::new(AuthorizedRequest {
            version,
            bytes,
            http2: OnceLock::new(),
        });
        all[step] = Some(request.clone());
        Ok(request)
    }
}
