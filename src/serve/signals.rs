//! What a process is told from outside: to stop, or to read its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a server, listened for from the first moment on, so that none is lost between two waits.
pub(super) struct Signals(Option<(Signal, Signal)>);

impl Signals {
    pub(super) fn listen() -> Signals {
        let heard = |kind| signal(kind).ok();
        Signals(heard(SignalKind::terminate()).zip(heard(SignalKind::interrupt())))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some((terminate, interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            None => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
}

/// What asks for the configuration to be read again, listened for from the first moment on: a process that does not
/// would be ended by it.
pub(super) struct Hangups(Option<Signal>);

impl Hangups {
    pub(super) fn listen() -> Hangups {
        Hangups(signal(SignalKind::hangup()).ok())
    }

    /// Waits for the next one; several that come at once are one.
    pub(super) async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(hangups) => hangups.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending().await
        }
    }
}
