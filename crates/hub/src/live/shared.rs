//! One answer for many who ask at once.

use std::{future::Future, time::Instant};

use tokio::sync::Mutex;

/// An answer that is made once for all who ask while another is being made. Whoever asks gets one whose making began
/// after that: nothing is kept, and nothing is told that was not so.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Shared<T> {
    /// The answer, made by `make` unless someone else has made it meanwhile.
    ///
    /// # Errors
    /// What `make` fails with.
    pub(crate) async fn get<E>(&self, make: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((began, answer)) = last.as_ref().filter(|(began, _)| *began >= asked) {
            tracing::trace!(age = ?began.elapsed(), "an answer is shared");
            return Ok(answer.clone());
        }
        let began = Instant::now();
        let answer = make.await?;
        *last = Some((began, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn many_at_once_share_and_one_later_does_not() {
        let (shared, made) = (Arc::new(Shared::<u32>::default()), Arc::new(AtomicU32::new(0)));
        let ask = || {
            let (shared, made) = (shared.clone(), made.clone());
            async move {
                let make = async {
                    let number = made.fetch_add(1, Ordering::SeqCst) + 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok::<_, ()>(number)
                };
                shared.get(make).await.unwrap()
            }
        };
        let all: Vec<_> = (0..100).map(|_| tokio::spawn(ask())).collect();
        for one in all {
            assert!(one.await.unwrap() <= 2, "those that asked after the first began share the second");
        }
        let before = made.load(Ordering::SeqCst);
        assert_eq!(ask().await, before + 1, "what was made before one asked is not told");
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let shared = Shared::<u32>::default();
        assert_eq!(shared.get(async { Err("no") }).await, Err("no"));
        assert_eq!(shared.get(async { Ok::<_, &str>(1) }).await, Ok(1));
    }
}
