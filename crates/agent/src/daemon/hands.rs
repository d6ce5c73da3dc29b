//! What the driver needs done on the spot.

use backstay_agent_core::{Links, Task, TaskId, Transaction};
use backstay_api::agent::Report;
use backstay_types::StackName;

use crate::AgentError;

/// The acts of the core. A machine's, or a simulation's.
pub(crate) trait Hands: Send {
    /// Makes changes durable before it returns.
    fn persist(&mut self, transaction: &Transaction) -> Result<(), AgentError>;
    /// Points a stack's links.
    fn set_links(&mut self, stack: &StackName, links: Links, back: bool) -> Result<(), AgentError>;
    /// Starts a task; its end comes as an event.
    fn start(&mut self, id: TaskId, task: Task);
    /// Ends the task that runs; nothing of it happens afterwards.
    fn abort(&mut self, id: TaskId);
    /// The oldest reports that the hub does not have.
    fn spooled(&self, limit: usize) -> Result<Vec<Report>, AgentError>;
}
