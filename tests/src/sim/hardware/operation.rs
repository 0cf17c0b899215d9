//! The log of operations of a machine. Every power cut is derived from it.

use crate::sim::hardware::history::{History, HistoryEvent};
use bootctl::efivars::{VarName, Variable};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An operation of the disk or the variables, or an event.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A write. The next flush makes it durable.
    Write {
        /// Byte offset on the disk.
        at: u64,
        /// The bytes.
        data: Arc<[u8]>,
    },
    /// A flush: all writes so far are durable.
    Flush,
    /// A variable was set or deleted, atomically and durably.
    Variable(VarName, Option<Variable>),
    /// An event outside of disk and variables.
    Event(HistoryEvent),
}

/// The log. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct OperationLog(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    ops: Vec<Operation>,
    history: History,
    backtraces: Option<Vec<String>>,
}

impl OperationLog {
    /// Returns an empty log for a machine with this history.
    #[must_use]
    pub fn after(history: History) -> Self {
        let operation_log = Self::default();
        operation_log.lock().history = history;
        operation_log
    }

    /// Also records a backtrace of each write from now on.
    pub fn record_backtraces(&self) {
        self.lock().backtraces = Some(Vec::new());
    }

    /// The history up to now.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history
    }

    /// Appends an operation.
    pub fn push(&self, op: Operation) {
        let mut entries = self.lock();
        if let (Some(backtraces), Operation::Write { .. } | Operation::Variable(..)) =
            (&mut entries.backtraces, &op)
        {
            backtraces.push(std::backtrace::Backtrace::force_capture().to_string());
        }
        match &op {
            Operation::Write { at, data } => entries.history.record_write(*at, data),
            Operation::Event(event) => entries.history.record_event(*event),
            Operation::Flush | Operation::Variable(..) => {}
        }
        entries.ops.push(op);
    }

    /// Removes and returns all operations.
    #[must_use]
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.lock().ops)
    }

    /// Removes and returns the backtraces of all writes.
    #[must_use]
    pub fn take_backtraces(&self) -> Vec<String> {
        self.lock()
            .backtraces
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
