//! Questions to agents: they go out with a check-in, answers come back as requests of their own.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use backstay_api::agent::{AgentRequest, Answer, Question};
use backstay_types::{NodeId, RequestId};
use tokio::sync::oneshot;

/// Questions that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<HashMap<RequestId, Open>>);

#[derive(Debug)]
struct Open {
    node: NodeId,
    /// Until it has gone out.
    question: Option<Question>,
    answer: oneshot::Sender<Answer>,
}

impl Questions {
    /// Puts a question to a node. Dropping the result takes it back.
    pub(crate) fn ask(&self, node: NodeId, id: RequestId, question: Question) -> Asked<'_> {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id, Open { node, question: Some(question), answer: sender });
        Asked { questions: self, id, answer }
    }

    /// Takes the questions that have not gone out to a node yet.
    pub(crate) fn take(&self, node: NodeId) -> Vec<AgentRequest> {
        let mut all = self.lock();
        let mine = all.iter_mut().filter(|(_, open)| open.node == node);
        mine.filter_map(|(id, open)| Some(AgentRequest { id: *id, question: open.question.take()? }))
            .collect()
    }

    /// Hands an answer to who asked. False when nobody waits for it, or another node was asked.
    pub(crate) fn answer(&self, node: NodeId, id: RequestId, answer: Answer) -> bool {
        let mut all = self.lock();
        if all.get(&id).is_none_or(|open| open.node != node) {
            return false;
        }
        all.remove(&id).is_some_and(|open| open.answer.send(answer).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question whose answer is waited for.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    questions: &'a Questions,
    id: RequestId,
    answer: oneshot::Receiver<Answer>,
}

impl Asked<'_> {
    /// The answer, when it comes.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn only_the_node_that_was_asked_can_answer_and_once() {
        let questions = Questions::default();
        let (node, other) = (NodeId::from_uuid(Uuid::from_u128(1)), NodeId::from_uuid(Uuid::from_u128(2)));
        let id = RequestId::from_uuid(Uuid::from_u128(3));
        let question = Question::Logs { stack: "shop".parse().unwrap(), service: None, lines: 5 };
        let mut asked = questions.ask(node, id, question);
        assert!(questions.take(other).is_empty());
        assert_eq!(questions.take(node).len(), 1);
        assert!(questions.take(node).is_empty());
        let answer = Answer::Logs { lines: Vec::new() };
        assert!(!questions.answer(other, id, answer.clone()));
        assert!(questions.answer(node, id, answer.clone()));
        assert!(!questions.answer(node, id, answer.clone()));
        assert_eq!(asked.answer().await, Some(answer));
        drop(asked);
        assert!(questions.lock().is_empty());
    }
}
