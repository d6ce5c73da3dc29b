//! The owner's recovery key: passwords are sealed to its public part, so that nobody here can open them.

use std::{io::Write as _, iter::once, str::FromStr as _};

use age::{
    Encryptor,
    armor::{ArmoredWriter, Format},
    x25519,
};
use backstay_types::Secret;

/// Whether a text is the public part of a recovery key.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_recipient(text: &str) -> Result<(), String> {
    x25519::Recipient::from_str(text).map(drop).map_err(|why| {
        format!(
            "`{}…` is no public key of age ({why}): expected `age1…`",
            text.chars().take(12).collect::<String>()
        )
    })
}

/// A secret, sealed to a recovery key, as armored text that `age -d` opens.
///
/// # Errors
/// When that is no key.
pub(crate) fn seal(secret: &Secret, recipient: &str) -> Result<Vec<u8>, String> {
    let recipient = x25519::Recipient::from_str(recipient).map_err(str::to_owned)?;
    let recipient: &dyn age::Recipient = &recipient;
    let encryptor = Encryptor::with_recipients(once(recipient)).map_err(|error| error.to_string())?;
    let write = || -> std::io::Result<Vec<u8>> {
        let armored = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut sealed = encryptor.wrap_output(armored)?;
        sealed.write_all(secret.expose().as_bytes())?;
        sealed.finish().and_then(ArmoredWriter::finish)
    };
    write().map_err(|error| error.to_string())
}

/// Opens what was sealed to a recovery key.
///
/// # Errors
/// When the identity is not the right one, or the text was changed.
pub fn open(sealed: &[u8], identity: &Secret) -> Result<Secret, String> {
    let key = identity.expose().lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-"));
    let key = key.ok_or("no line begins with `AGE-SECRET-KEY-`")?;
    let key = x25519::Identity::from_str(key).map_err(str::to_owned)?;
    let opened = age::decrypt(&key, sealed).map_err(|error| error.to_string())?;
    String::from_utf8(opened).map(Secret::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_the_owner_opens_what_was_sealed() {
        let (owner, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let text = |key: &x25519::Identity| {
            Secret::new(format!("# a comment\n{}\n", key.to_string().expose_secret()))
        };
        let recipient = owner.to_public().to_string();
        check_recipient(&recipient).unwrap();
        let sealed = seal(&Secret::new("s3cret"), &recipient).unwrap();
        assert!(sealed.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"));
        assert_eq!(open(&sealed, &text(&owner)).unwrap().expose(), "s3cret");
        assert!(open(&sealed, &text(&other)).is_err());
        assert!(check_recipient("age1nonsense").unwrap_err().contains("expected"));
        assert!(check_recipient(owner.to_string().expose_secret()).is_err(), "never the secret part");
    }
}
