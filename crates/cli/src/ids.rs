//! Ids on the command line: whole, or a piece that fits one thing alone.

use std::fmt::Display;

use backstay_types::{ErrorCode, Id};

use crate::error::CliError;

const SHORTEST: usize = 4;

/// The last 8 digits: the random ones, so that things made at the same time differ.
pub(crate) fn short<I: Id>(id: I) -> String {
    let text = id.uuid().simple().to_string();
    text[text.len() - 8..].to_owned()
}

/// Whether `text` could be a piece of an id.
pub(crate) fn is_piece(text: &str) -> bool {
    text.len() >= SHORTEST && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// The one of `candidates` that `text` is the beginning or the end of.
///
/// # Errors
/// When it fits none, or several; those are listed.
pub(crate) fn pick<I: Id + Display + PartialEq>(text: &str, candidates: &[I]) -> Result<I, CliError> {
    let wanted = text.trim().to_ascii_lowercase();
    let fits = |id: &&I| {
        let (dashed, plain) = (id.to_string(), id.uuid().simple().to_string());
        [dashed, plain].iter().any(|whole| whole.starts_with(&wanted) || whole.ends_with(&wanted))
    };
    if !is_piece(&wanted) {
        return Err(unfit(format!(
            "`{text}` is not a {}: expected a UUID, or at least {SHORTEST} of its first or last digits",
            I::WHAT
        )));
    }
    let found: Vec<&I> = candidates.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(*one),
        [] => Err(unfit(format!("no {} begins or ends with `{text}`", I::WHAT))),
        _ => {
            let all = found.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("\n");
            Err(unfit(format!("`{text}` fits more than one {}", I::WHAT))
                .hint(format!("give more of it:\n{all}")))
        }
    }
}

fn unfit(detail: String) -> CliError {
    CliError::new(ErrorCode::BS8012, detail)
}

#[cfg(test)]
mod tests {
    use backstay_types::ConversationId;

    use super::*;

    fn ids() -> Vec<ConversationId> {
        [
            "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
            "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c",
            "019b0000-0000-7000-8000-0000000000ff",
        ]
        .map(|text| text.parse().unwrap())
        .into()
    }

    #[test]
    fn a_piece_finds_the_one_it_fits() {
        let ids = ids();
        assert_eq!(pick("3f4a5b", &ids).unwrap(), ids[0]);
        assert_eq!(pick("019B0000", &ids).unwrap(), ids[2]);
        assert_eq!(pick("019b00000000", &ids).unwrap(), ids[2]);
        assert_eq!(pick(&short(ids[1]), &ids).unwrap(), ids[1]);
    }

    #[test]
    fn says_when_it_fits_several_or_none() {
        let text = |text: &str| pick(text, &ids()).unwrap_err().to_string();
        assert!(text("019a2b3c").contains("more than one"));
        assert!(text("ffff").contains("no conversation id"));
        assert!(text("ff").contains("at least 4"));
        assert!(text("zzzz").contains("expected a UUID"));
    }
}
