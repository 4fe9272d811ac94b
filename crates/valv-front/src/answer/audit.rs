//! The sink of audit records: one writer thread behind a bounded queue.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

/// Lines that may wait for the writer.
const QUEUE: usize = 8_192;
/// How long a request waits for its line to be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines that nobody waits for are gathered so long: a writer woken for each of them costs a request as much as
/// its TLS and HTTP together.
const GATHER: Duration = Duration::from_millis(2);
/// Pause before a failed sink is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Where audit lines go. Clones share one sink.
#[derive(Clone)]
pub struct Audit {
    /// None: nowhere.
    queue: Option<SyncSender<Entry>>,
    required: bool,
    failed: Arc<AtomicBool>,
}

struct Entry {
    line: String,
    written: Option<oneshot::Sender<()>>,
}

/// A file that lines are appended to; opened again after a failure.
pub struct AuditFile {
    path: PathBuf,
    file: Option<File>,
}

impl AuditFile {
    /// Opens or creates the file, to fail early.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let mut file = Self { path: path.into(), file: None };
        file.file()?;
        Ok(file)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(OpenOptions::new().create(true).append(true).open(&self.path)?)),
        }
    }
}

impl Write for AuditFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file()?.write(bytes);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Audit {
    /// No audit log.
    #[must_use]
    pub fn off() -> Self {
        Self { queue: None, required: false, failed: Arc::default() }
    }

    /// Lines go to `sink`. With `required` an answer leaves only after its line was written, and requests are
    /// refused while the sink fails; without, lines that find the queue full are dropped and counted.
    pub fn to(sink: impl Write + Send + 'static, required: bool) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let gather = if required { Duration::ZERO } else { GATHER };
        let writer = move || write_all(sink, &lines, gather, &flag);
        std::thread::Builder::new().name("valv-audit".into()).spawn(writer)?;
        Ok(Self { queue: Some(queue), required, failed })
    }

    /// May a request be worked on?
    pub(crate) fn is_ready(&self) -> bool {
        !(self.required && self.failed.load(Ordering::Acquire))
    }

    /// Waits until all lines handed over so far are written, but not for ever.
    pub(crate) async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (written, done) = oneshot::channel();
        if queue.try_send(Entry { line: String::new(), written: Some(written) }).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, done).await;
        }
    }

    /// Hands over a line that no answer waits for.
    pub(crate) fn note(&self, line: String) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(Entry { line, written: None }).is_err() {
            metrics::counter!("valv_audit_lost_total").increment(1);
        }
    }

    /// Hands a line over; false: it is required and was not written.
    pub(crate) async fn write(&self, line: String) -> bool {
        let Some(queue) = &self.queue else { return true };
        let (written, done) = oneshot::channel();
        let entry = Entry { line, written: self.required.then_some(written) };
        match queue.try_send(entry) {
            Ok(()) if !self.required => true,
            Ok(()) => tokio::time::timeout(PATIENCE, done).await.is_ok_and(|done| done.is_ok()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                metrics::counter!("valv_audit_lost_total").increment(1);
                !self.required
            }
        }
    }
}

/// Writes what waits, many lines at a time, until the last sender is gone.
fn write_all(mut sink: impl Write, lines: &Receiver<Entry>, gather: Duration, failed: &AtomicBool) {
    while let Ok(first) = lines.recv() {
        std::thread::sleep(gather);
        let mut text = first.line;
        let mut waiting: Vec<_> = first.written.into_iter().collect();
        while text.len() < 256 * 1024
            && let Ok(next) = lines.try_recv()
        {
            text += &next.line;
            waiting.extend(next.written);
        }
        persist(&mut sink, text.as_bytes(), failed);
        for written in waiting {
            // The request may have given up.
            let _ = written.send(());
        }
    }
}

/// Goes on where a failure left off, so that no line is written by half.
fn persist(sink: &mut impl Write, mut rest: &[u8], failed: &AtomicBool) {
    loop {
        let outcome = if rest.is_empty() { sink.flush().map(|()| 0) } else { sink.write(rest) };
        match outcome {
            Ok(0) if rest.is_empty() => break,
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            outcome => {
                if !failed.swap(true, Ordering::AcqRel) {
                    let reason = outcome.err().map_or("it takes nothing".to_owned(), |e| e.to_string());
                    tracing::error!(reason, "the audit log cannot be written; trying again");
                }
                metrics::counter!("valv_audit_failures_total").increment(1);
                std::thread::sleep(PAUSE);
            }
        }
    }
    if failed.swap(false, Ordering::AcqRel) {
        tracing::info!("the audit log is written again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A sink that fails while told to, and takes three bytes at a time.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.load(Ordering::SeqCst) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let some = &bytes[..bytes.len().min(3)];
            self.0.lock().unwrap().extend_from_slice(some);
            Ok(some.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_required_line_is_written_before_the_answer_leaves() {
        let sink = Sink::default();
        let audit = Audit::to(sink.clone(), true).unwrap();
        assert!(audit.write("one\n".into()).await);
        assert_eq!(*sink.0.lock().unwrap(), b"one\n");
    }

    #[tokio::test]
    async fn a_failing_sink_refuses_until_it_heals_and_tears_no_line() {
        let sink = Sink::default();
        let audit = Audit::to(sink.clone(), true).unwrap();
        sink.1.store(true, Ordering::SeqCst);
        assert!(!audit.write("first line\n".into()).await);
        assert!(!audit.is_ready());
        sink.1.store(false, Ordering::SeqCst);
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !audit.is_ready() && std::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(audit.write("second\n".into()).await);
        assert_eq!(*sink.0.lock().unwrap(), b"first line\nsecond\n");
    }

    #[tokio::test]
    async fn without_required_nobody_waits_for_the_sink() {
        let sink = Sink::default();
        sink.1.store(true, Ordering::SeqCst);
        let audit = Audit::to(sink, false).unwrap();
        for _ in 0..QUEUE + 10 {
            assert!(audit.write("line\n".into()).await);
        }
        assert!(audit.is_ready());
    }

    #[tokio::test]
    async fn what_was_handed_over_is_there_after_a_flush() {
        let sink = Sink::default();
        let audit = Audit::to(sink.clone(), false).unwrap();
        for _ in 0..100 {
            audit.write("line\n".into()).await;
        }
        audit.flush().await;
        assert_eq!(sink.0.lock().unwrap().len(), 500);
    }

    #[test]
    fn a_file_is_appended_to_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut file = AuditFile::open(&path).unwrap();
        file.write_all(b"a\n").unwrap();
        file.file = None;
        file.write_all(b"b\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nb\n");
        assert!(AuditFile::open(dir.path()).is_err());
    }
}
