//! What every long-lived role needs: signals, the admin server, logging, backoff.
