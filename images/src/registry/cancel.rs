//! Giving up what waits for a network.

use std::sync::Arc;

use tokio::sync::watch;

/// Says to a pull or push that it is no longer wanted. Copies are one and the same.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Cancel {
    /// Gives up: whoever waits for a network, a disk or another pull stops soon and says that it was given up.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was given up.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it is given up.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as this borrow.
        let _ = receiver.wait_for(|cancelled| *cancelled).await;
    }
}
