//! Statements while the hub is away: which are due to be looked for, and which are taken.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use backstay_agent_core::Input;
use backstay_api::{
    agent::Have,
    statement::{SignedStatement, Statement},
};
use backstay_types::NodeId;
use ed25519_dalek::VerifyingKey;

/// What is known of the hub's absence.
#[derive(Debug)]
pub(super) struct Elsewhere {
    node: NodeId,
    /// When the hub last answered, or the agent began.
    heard: Instant,
    looked: Option<Instant>,
    /// What was refused; each is told of once.
    refused: BTreeSet<String>,
}

impl Elsewhere {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, heard: Instant::now(), looked: None, refused: BTreeSet::new() }
    }

    pub(super) fn hub_answered(&mut self) {
        (self.heard, self.looked) = (Instant::now(), None);
    }

    /// Whether to look now. Looked is once for each span of patience.
    pub(super) fn is_due(&mut self, patience: Duration) -> bool {
        let since = self.looked.unwrap_or(self.heard);
        let due = since.elapsed() >= patience;
        if due {
            self.looked = Some(Instant::now());
        }
        due
    }

    /// What to make of statements from elsewhere: the newest that is signed, for this node and newer than what is held;
    /// and what is refused, by name, each once.
    pub(super) fn judge(
        &mut self,
        found: Vec<(String, SignedStatement)>,
        key: &VerifyingKey,
        have: Option<&Have>,
    ) -> Vec<Input> {
        let mut newest: Option<Statement> = None;
        let mut inputs = Vec::new();
        for (from, signed) in found {
            match self.usable(&signed, key, have) {
                Ok(Some(statement)) => {
                    if newest.as_ref().is_none_or(|known| order(known) < order(&statement)) {
                        tracing::warn!(
                            from,
                            epoch = statement.epoch,
                            generation = statement.generation,
                            "the hub is away; a newer statement comes from Git"
                        );
                        newest = Some(statement);
                    }
                }
                Ok(None) => {}
                Err(reason) => {
                    let reason = format!("from Git ({from}): {reason}");
                    if self.refused.insert(reason.clone()) {
                        tracing::warn!(reason, "a statement is refused");
                        inputs.push(Input::Unreadable { reason });
                    }
                }
            }
        }
        inputs.extend(newest.map(|statement| Input::Statement(Box::new(statement))));
        inputs
    }

    /// A statement that is news; none when it is known.
    fn usable(
        &self,
        signed: &SignedStatement,
        key: &VerifyingKey,
        have: Option<&Have>,
    ) -> Result<Option<Statement>, String> {
        let statement = signed.open(key).map_err(|error| error.to_string())?;
        if statement.node != self.node {
            return Err(format!("it is for node {}, this is {}", statement.node, self.node));
        }
        let Some(have) = have else { return Ok(Some(statement)) };
        let (known, comes) = ((have.epoch, have.generation), (statement.epoch, statement.generation));
        if comes < known {
            return Err(format!(
                "epoch {}, generation {} is older than epoch {}, generation {}, which this node holds",
                comes.0, comes.1, known.0, known.1
            ));
        }
        // The core knows what to make of another digest under the same generation.
        let same = comes == known && statement.digest == have.digest && statement.issued_at <= have.issued_at;
        Ok((!same).then_some(statement))
    }
}

fn order(statement: &Statement) -> (u64, u64, backstay_types::Timestamp) {
    (statement.epoch, statement.generation, statement.issued_at)
}

#[cfg(test)]
mod tests {
    use backstay_api::statement::STATEMENT_VERSION;
    use backstay_types::{Digest, Id as _, LedgerHead, Timestamp};
    use ed25519_dalek::SigningKey;

    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn statement(n: u128, epoch: u64, generation: u64) -> Statement {
        Statement {
            version: STATEMENT_VERSION,
            node: node(n),
            epoch,
            generation,
            digest: Statement::digest_of(&[]),
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            ledger: LedgerHead { seq: 0, hash: Digest::from_bytes([0; 32]) },
            stacks: Vec::new(),
            leave_safe_mode: None,
            agent: None,
        }
    }

    #[test]
    fn the_newest_valid_one_is_taken_and_others_are_refused_by_name_once() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let forger = SigningKey::from_bytes(&[8; 32]);
        let mut elsewhere = Elsewhere::new(node(1));
        let Statement { epoch, generation, digest, issued_at, .. } = statement(1, 1, 5);
        let have = Have { epoch, generation, digest, issued_at };
        let found = || {
            let all = [
                statement(1, 1, 6).sign(&key),
                statement(1, 2, 1).sign(&key),
                statement(1, 9, 9).sign(&forger),
                statement(2, 3, 1).sign(&key),
                statement(1, 1, 4).sign(&key),
                statement(1, 1, 5).sign(&key),
            ];
            all.into_iter().enumerate().map(|(at, signed)| (format!("git-{at}"), signed)).collect()
        };
        let inputs = elsewhere.judge(found(), &key.verifying_key(), Some(&have));
        let refused: Vec<_> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::Unreadable { reason } => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].starts_with("from Git (git-2): the statement is not signed by the hub"));
        assert!(refused[1].starts_with("from Git (git-3): it is for node 0000"));
        assert!(refused[2].contains("git-4") && refused[2].contains("generation 4 is older than"));
        let Some(Input::Statement(taken)) = inputs.last() else { panic!("{inputs:?}") };
        assert_eq!((taken.epoch, taken.generation), (2, 1));
        let again = elsewhere.judge(found(), &key.verifying_key(), Some(&have));
        assert_eq!(again.len(), 1, "what was refused is told of once");
    }

    #[test]
    fn it_is_looked_for_after_patience_and_not_while_the_hub_answers() {
        let mut elsewhere = Elsewhere::new(node(1));
        assert!(!elsewhere.is_due(Duration::from_secs(60)));
        assert!(elsewhere.is_due(Duration::ZERO));
        assert!(!elsewhere.is_due(Duration::from_secs(60)), "once for each span");
        elsewhere.hub_answered();
        assert!(!elsewhere.is_due(Duration::from_secs(60)));
    }
}
