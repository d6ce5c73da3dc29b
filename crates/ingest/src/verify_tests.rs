use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_790_000_000;
const BODY: &[u8] = br#"{"events":[{"id":"1","hook":"session_start"}]}"#;

fn secret(byte: u8) -> Secret {
    Secret::new(format!("whsec_{}", STANDARD.encode([byte; 24])))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn standard_headers(secrets: &[Secret], timestamp: i64) -> Vec<(String, String)> {
    let signatures: Vec<_> =
        secrets.iter().map(|secret| sign_standard(secret, "msg_1", timestamp, BODY).unwrap()).collect();
    headers(&[
        ("Webhook-Id", "msg_1"),
        ("webhook-timestamp", &timestamp.to_string()),
        ("webhook-signature", &signatures.join(" ")),
    ])
}

fn check(
    scheme: Scheme,
    secrets: &[Secret],
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(), Refused> {
    verify(scheme, secrets, &Incoming { headers, body }, at(NOW))
}

type Sample = (Scheme, Secret, Vec<(String, String)>);

/// A valid delivery of each scheme, with its secret.
fn samples() -> Vec<Sample> {
    let plain = Secret::new("It's a Secret to Everybody");
    let hex = hex::encode(mac(plain.expose().as_bytes(), &[BODY]));
    vec![
        (Scheme::StandardWebhooks, secret(1), standard_headers(&[secret(1)], NOW)),
        (Scheme::GitHub, plain.clone(), headers(&[("X-Hub-Signature-256", &format!("sha256={hex}"))])),
        (Scheme::Gitea, plain.clone(), headers(&[("X-Gitea-Signature", &hex)])),
        (Scheme::GitLab, plain.clone(), headers(&[("X-Gitlab-Token", plain.expose())])),
        (Scheme::Bearer, plain.clone(), headers(&[("Authorization", &format!("Bearer {}", plain.expose()))])),
    ]
}

#[test]
fn the_published_test_vectors_hold() {
    // GitHub's documentation gives this one.
    let documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let given = headers(&[("X-Hub-Signature-256", documented)]);
    let key = Secret::new("It's a Secret to Everybody");
    assert_eq!(check(Scheme::GitHub, &[key], &given, b"Hello, World!"), Ok(()));
    // The Standard Webhooks specification's example.
    let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signature =
        sign_standard(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
    assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn every_scheme_takes_its_own() {
    for (scheme, key, given) in samples() {
        assert_eq!(check(scheme, std::slice::from_ref(&key), &given, BODY), Ok(()), "{scheme:?}");
        assert_eq!(check(scheme, &[secret(9), key], &given, BODY), Ok(()), "{scheme:?} after a new secret");
        assert_eq!(check(scheme, &[secret(9)], &given, BODY), Err(Refused::Mismatch), "{scheme:?}");
        assert_eq!(check(scheme, &[], &given, BODY), Err(Refused::NoSecret));
        assert_eq!(check(scheme, &[Secret::new("")], &given, BODY), Err(Refused::NoSecret));
        assert!(matches!(check(scheme, &[secret(9)], &[], BODY), Err(Refused::Header(_))), "{scheme:?}");
        let twice = [given.clone(), given].concat();
        assert!(matches!(check(scheme, &[secret(9)], &twice, BODY), Err(Refused::Header(_))), "{scheme:?}");
    }
}

#[test]
fn several_signatures_and_secrets_overlap() {
    let both = standard_headers(&[secret(1), secret(2)], NOW);
    for known in [[secret(1)], [secret(2)]] {
        assert_eq!(check(Scheme::StandardWebhooks, &known, &both, BODY), Ok(()));
    }
    let other =
        headers(&[("webhook-id", "m"), ("webhook-timestamp", "1"), ("webhook-signature", "v1a,AAAA")]);
    assert!(matches!(
        check(Scheme::StandardWebhooks, &[secret(1)], &other, BODY),
        Err(Refused::Malformed(..))
    ));
}

#[test]
fn old_and_future_deliveries_are_refused() {
    for (shift, ok) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        let given = standard_headers(&[secret(1)], NOW + shift);
        let result = check(Scheme::StandardWebhooks, &[secret(1)], &given, BODY);
        assert_eq!(result.is_ok(), ok, "{shift}: {result:?}");
    }
    let given = standard_headers(&[secret(1)], i64::MIN);
    assert!(matches!(
        check(Scheme::StandardWebhooks, &[secret(1)], &given, BODY),
        Err(Refused::Stale { .. })
    ));
}

#[test]
fn signed_parts_cannot_be_moved() {
    // The same bytes with the id's end moved into the timestamp's place.
    let signature = sign_standard(&secret(1), "a", NOW, b"5.x").unwrap();
    let id = format!("a.{NOW}");
    let given =
        headers(&[("webhook-id", &id), ("webhook-timestamp", "5"), ("webhook-signature", &signature)]);
    assert!(matches!(
        check(Scheme::StandardWebhooks, &[secret(1)], &given, b"x"),
        Err(Refused::Malformed(..))
    ));
}

#[test]
fn every_mutated_byte_is_refused() {
    for (scheme, key, given) in samples() {
        let keys = [key];
        let signed = matches!(scheme, Scheme::StandardWebhooks | Scheme::GitHub | Scheme::Gitea);
        for at in (0..BODY.len()).filter(|_| signed) {
            for bit in 0..8 {
                let mut body = BODY.to_vec();
                body[at] ^= 1 << bit;
                assert!(check(scheme, &keys, &given, &body).is_err(), "{scheme:?} body {at}");
            }
        }
        for header in 0..given.len() {
            for at in 0..given[header].1.len() {
                for bit in 0..7 {
                    let mut bytes = given[header].1.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    let mut changed = given.clone();
                    changed[header].1 = String::from_utf8(bytes).unwrap();
                    // The word `Bearer` may be written in any case; what it introduces may not.
                    let same_word = scheme == Scheme::Bearer
                        && changed[header].1.eq_ignore_ascii_case(&given[header].1)
                        && at < 6;
                    assert!(
                        same_word || check(scheme, &keys, &changed, BODY).is_err(),
                        "{scheme:?} {:?}",
                        changed[header]
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_change_to_a_signed_delivery_is_refused(
        body in prop::collection::vec(any::<u8>(), 0..200), other in prop::collection::vec(any::<u8>(), 0..200),
        id in "[a-z0-9_]{1,20}", key in any::<[u8; 24]>(),
    ) {
        let key = Secret::new(STANDARD.encode(key));
        let signature = sign_standard(&key, &id, NOW, &body).unwrap();
        let now = NOW.to_string();
        let given = headers(&[("webhook-id", &id), ("webhook-timestamp", &now), ("webhook-signature", &signature)]);
        prop_assert_eq!(check(Scheme::StandardWebhooks, std::slice::from_ref(&key), &given, &body), Ok(()));
        if body != other {
            prop_assert_eq!(check(Scheme::StandardWebhooks, &[key], &given, &other), Err(Refused::Mismatch));
        }
    }

    #[test]
    fn never_panics(pairs in prop::collection::vec(("(?i)(webhook-(id|timestamp|signature)|x-hub-signature-256|x-gitlab-token|x-gitea-signature|authorization)", ".{0,40}"), 0..6), body in prop::collection::vec(any::<u8>(), 0..50)) {
        for (scheme, key, _) in samples() {
            prop_assert!(check(scheme, &[key], &pairs, &body).is_err());
        }
    }
}
