//! The terminal of a one-off container, over an upgraded connection.

use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use super::Supervisor;

pub async fn run(_: &Rc<Supervisor>, _: &str, _: impl AsyncRead + AsyncWrite) {
}
