//! Passwords: what may be one, and their hashes. Argon2id with the first of the settings that the OWASP Password
//! Storage Cheat Sheet names: 19 MiB, two passes, one lane.

use std::{sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use backstay_store::users::PasswordHash;
use backstay_types::{ErrorCode, Secret, UserName, World};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::http::ApiError;

/// The fewest characters of a password.
const SHORTEST: usize = 12;
/// The most bytes of a password.
const LONGEST: usize = 1024;
/// How many are hashed at once: each takes 19 MiB and a core.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes and verifies, a few at a time, off the threads that serve.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Verified where there is no password, so that this takes as long. Nothing has this hash.
    nobody: PasswordHash,
}

impl Passwords {
    /// With a hash that belongs to nobody.
    pub(crate) fn new(world: &World) -> Self {
        let encode = |bytes: &[u8]| {
            use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
            BASE64_STANDARD_NO_PAD.encode(bytes)
        };
        let (salt, hash) = (encode(&world.random::<16>()), encode(&world.random::<32>()));
        let nobody = PasswordHash(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}"));
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), nobody }
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// BS4008 when too many wait for theirs.
    pub(crate) async fn hash(&self, password: &Secret, world: &World) -> Result<PasswordHash, ApiError> {
        let (password, salt) = (password.clone(), world.random::<16>());
        let permit = self.turn().await?;
        let work = spawn_blocking(move || {
            let _permit = permit;
            argon2().hash_password_with_salt(password.expose().as_bytes(), &salt).map(|hash| hash.to_string())
        });
        let hash = work.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(PasswordHash(hash))
    }

    /// Whether a password is the one whose hash is kept. Takes as long where none is kept, and says no.
    ///
    /// # Errors
    /// BS4008 when too many wait for theirs.
    pub(crate) async fn verify(
        &self,
        password: &Secret,
        kept: Option<PasswordHash>,
    ) -> Result<bool, ApiError> {
        let is_kept = kept.is_some();
        let hash = kept.unwrap_or_else(|| self.nobody.clone());
        let mut password = password.clone();
        if password.expose().len() > LONGEST {
            // Cannot be anyone's, and must not cost more.
            password = Secret::new("");
        }
        let permit = self.turn().await?;
        let work = spawn_blocking(move || {
            let _permit = permit;
            argon2().verify_password(password.expose().as_bytes(), hash.0.as_str()).is_ok()
        });
        Ok(work.await.map_err(ApiError::internal)? && is_kept)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(PATIENCE, self.turns.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(ApiError::internal),
            Err(_) => Err(ApiError::new(ErrorCode::BS4008, "too many people sign in at this moment")
                .retry_after(PATIENCE)),
        }
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// Whether a text may be a user's password.
///
/// # Errors
/// BS4018 with what is wrong with it; the text itself is not said.
pub(crate) fn check(name: &UserName, password: &Secret) -> Result<(), ApiError> {
    let text = password.expose();
    let wrong = |detail: String| Err(ApiError::new(ErrorCode::BS4018, detail));
    if text.chars().count() < SHORTEST {
        return wrong(format!("expected {SHORTEST} characters or more"));
    }
    if text.len() > LONGEST {
        return wrong(format!("expected {LONGEST} bytes or fewer"));
    }
    let rest = text.to_lowercase().replace(name.as_str(), "");
    if !rest.chars().any(char::is_alphanumeric) {
        return wrong("the name is no password, however often it stands there".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use backstay_types::{FixedClock, SeededEntropy, Timestamp};

    use super::*;

    fn world() -> World {
        World::new(Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH)), Arc::new(SeededEntropy::new(1)))
    }

    #[tokio::test]
    async fn a_password_opens_its_own_hash_and_no_other() {
        let (world, right) = (world(), Secret::new("correct horse battery"));
        let passwords = Passwords::new(&world);
        let hash = passwords.hash(&right, &world).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert_ne!(hash, passwords.hash(&right, &world).await.unwrap(), "each has a salt of its own");
        assert!(passwords.verify(&right, Some(hash.clone())).await.unwrap());
        for wrong in ["", "correct horse batter", "correct horse battery ", &"x".repeat(LONGEST + 1)] {
            assert!(!passwords.verify(&Secret::new(wrong), Some(hash.clone())).await.unwrap(), "{wrong}");
        }
        assert!(!passwords.verify(&right, None).await.unwrap());
    }

    #[tokio::test]
    async fn the_hash_of_nobody_is_one_that_takes_its_time() {
        let nobody = Passwords::new(&world()).nobody.0;
        let parsed = argon2::PasswordHash::new(&nobody).unwrap();
        assert_eq!(parsed.hash.unwrap().as_bytes().len(), 32);
        assert!(argon2().verify_password(b"x", &parsed).is_err());
        let (found, usual) = (Params::try_from(&parsed).unwrap(), Params::DEFAULT);
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(costs(&found), costs(&usual));
        assert_eq!(costs(&usual), (19_456, 2, 1));
    }

    #[test]
    fn short_ones_long_ones_and_the_name_are_refused() {
        let name: UserName = "alexandra.b".parse().unwrap();
        for bad in ["", "elevenchars", "alexandra.b!!", "Alexandra.Balexandra.b", &"ä".repeat(600)] {
            let error = check(&name, &Secret::new(bad)).unwrap_err();
            assert_eq!(error.problem().code, ErrorCode::BS4018, "{bad}");
        }
        for good in ["twelve chars", "ääääääääääää", "alexandra.b likes tea"] {
            check(&name, &Secret::new(good)).unwrap();
        }
    }
}
