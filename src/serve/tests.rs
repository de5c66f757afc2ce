//! What a start shows and leaves, seen from inside: it can be given up, and it says how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

/// What was traced on this thread.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<u8>>>);

impl Traces {
    /// Runs a future on this thread and returns what it gave and the lines that it traced.
    async fn of<T>(future: impl Future<Output = T>) -> (T, Vec<String>) {
        let traces = Traces::default();
        let writer = traces.clone();
        let listening = subscriber(move || writer.clone());
        // With a second one alive, tests on other threads that reach a trace first cannot switch it off.
        let _second = subscriber(io::sink);
        let guard = tracing::dispatcher::set_default(&listening);
        let came = future.await;
        drop(guard);
        let text = String::from_utf8(traces.0.lock().unwrap().clone()).unwrap();
        (came, text.lines().map(str::to_owned).collect())
    }
}

impl io::Write for Traces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subscriber<W>(writer: W) -> tracing::Dispatch
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_target(false).without_time();
    tracing::Dispatch::new(subscriber.with_writer(writer).finish())
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_says_so_and_leaves_nothing_running() {
    let gone = Arc::new(AtomicBool::new(false));
    let held = Dropped(gone.clone());
    let starting = async move {
        let _held = held;
        std::future::pending::<Result<(), ServeError>>().await
    };
    let (given_up, lines) = Traces::of(unless(std::future::ready(()), starting)).await;
    assert!(matches!(given_up, Ok(None)));
    assert_eq!(lines, [" INFO given up before the start was done"], "it has not served, so it does not stop");
    assert!(gone.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_start_that_no_signal_meets_gives_what_it_gives() {
    let never = std::future::pending;
    assert!(matches!(unless(never(), async { Ok(7) }).await, Ok(Some(7))));
    let failed = unless(never(), async { Err::<(), _>(ServeError::ClientRejected) }).await;
    assert!(matches!(failed, Err(ServeError::ClientRejected)));
}

#[tokio::test]
async fn a_signal_between_two_waits_is_not_lost() {
    let mut signals = Signals::listen();
    drop(signals.next());
    // To this process: while somebody listens, it does nothing else.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT).unwrap();
    tokio::time::timeout(Duration::from_secs(30), signals.next()).await.unwrap();
}
