//! The keys that an issuer publishes (RFC 7517), and which of them a token may be signed with.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::token::Refusal;

/// The keys of an issuer that tokens can be checked with.
pub(super) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    kid: Option<String>,
    /// A key speaks for these only: a token must not choose how the key of its issuer is used.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// Of each key is read later whether it is of use: one that is not must not take the others with it.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads what an issuer published, without what is no use here.
    ///
    /// # Errors
    /// It is no set of keys at all.
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let published: Published = serde_json::from_slice(json)?;
        Ok(Self { keys: published.keys.into_iter().filter_map(Key::read).collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a token names. A token that names none means the only one there is.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, Refusal> {
        let named: Vec<&Key> = match (kid, self.keys.as_slice()) {
            (Some(_), keys) => keys.iter().filter(|key| key.kid.as_deref() == kid).collect(),
            (None, [only]) => vec![only],
            (None, _) => Vec::new(),
        };
        if named.is_empty() {
            return Err(Refusal::UnknownKey);
        }
        // Keys of different kinds may share a name (RFC 7517, 4.5).
        let fitting = named.into_iter().find(|key| key.algorithms.contains(&algorithm));
        fitting.map(|key| key.decoding.clone()).ok_or(Refusal::Algorithm)
    }
}

impl Key {
    fn read(published: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(published).ok()?;
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let verifies =
            jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let algorithms = algorithms(&jwk);
        if !signs || !verifies || algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { kid: jwk.common.key_id, algorithms, decoding })
    }
}

/// What a key of this kind can be used for, and of that only what its issuer wants it for, where that is stated.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let able: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            EllipticCurve::P521 | EllipticCurve::Ed25519 => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        AlgorithmParameters::OctetKeyPair(_) | AlgorithmParameters::OctetKey(_) => &[],
    };
    let stated = jwk.common.key_algorithm.map(|stated| stated.to_string());
    let wanted = |able: &&Algorithm| stated.as_ref().is_none_or(|stated| *stated == format!("{able:?}"));
    able.iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};
    use rstest::rstest;
    use serde_json::json;

    use super::super::token::Unverified;
    use super::*;

    const ALL: [&str; 12] = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
        "EdDSA",
    ];

    /// The example of RFC 7515, A.2.
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    fn rsa(changes: Value) -> Value {
        let mut key = json!({"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB"});
        key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    #[rstest]
    #[case(rsa(json!({})), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])]
    #[case(rsa(json!({"use": "sig", "alg": "PS256"})), &["PS256"])]
    #[case(rsa(json!({"key_ops": ["verify"]})), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])]
    #[case(rsa(json!({"use": "enc"})), &[])]
    #[case(rsa(json!({"use": "tls"})), &[])]
    #[case(rsa(json!({"key_ops": ["encrypt"]})), &[])]
    #[case(rsa(json!({"alg": "RSA-OAEP"})), &[])]
    #[case(rsa(json!({"alg": "ES256"})), &[])]
    #[case(rsa(json!({"alg": "HS256"})), &[])]
    #[case(rsa(json!({"alg": "of tomorrow"})), &[])]
    #[case(json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), &["ES256"])]
    #[case(json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}), &["ES384"])]
    #[case(json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), &[])]
    #[case(json!({"kty": "EC", "crv": "P-256", "x": "!", "y": "AA"}), &[])]
    #[case(json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), &["EdDSA"])]
    #[case(json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), &[])]
    #[case(json!({"kty": "oct", "k": "c2VjcmV0"}), &[])]
    #[case(json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), &[])]
    #[case(json!({"kty": "of tomorrow"}), &[])]
    #[case(json!("no key"), &[])]
    fn a_key_is_good_for_what_its_kind_and_its_issuer_say(#[case] key: Value, #[case] expected: &[&str]) {
        let set = set(&[key]);

        let fits = |name: &&&str| set.find(None, name.parse().unwrap()).is_ok();
        assert_eq!(ALL.iter().filter(fits).copied().collect::<Vec<_>>(), expected);
        assert_eq!(set.is_empty(), expected.is_empty());
    }

    #[test]
    fn a_key_that_is_no_use_takes_no_other_with_it() {
        let set =
            set(&[json!({"kty": "of tomorrow"}), rsa(json!({"kid": "one"})), rsa(json!({"use": "enc"}))]);

        assert!(set.find(Some("one"), Algorithm::RS256).is_ok());
        assert!(set.find(None, Algorithm::RS256).is_ok(), "it is the only one of use");
    }

    #[test]
    fn a_key_is_found_by_its_name_and_its_kind() {
        let elliptic = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": "AA", "y": "AA"});
        let set = set(&[rsa(json!({"kid": "one"})), elliptic, rsa(json!({"kid": "two"})), rsa(json!({}))]);
        let find = |kid, algorithm| set.find(kid, algorithm).map(|_key| ());

        assert_eq!(find(Some("one"), Algorithm::RS256), Ok(()));
        assert_eq!(find(Some("one"), Algorithm::ES256), Ok(()));
        assert_eq!(find(Some("two"), Algorithm::ES256), Err(Refusal::Algorithm));
        assert_eq!(find(Some("three"), Algorithm::RS256), Err(Refusal::UnknownKey));
        assert_eq!(find(None, Algorithm::RS256), Err(Refusal::UnknownKey), "there are several");
    }

    #[test]
    fn what_is_no_set_of_keys_is_an_error() {
        assert!(KeySet::read(b"{}").is_err());
        assert!(KeySet::read(b"<html>").is_err());
    }

    #[test]
    fn the_example_of_the_rfc_is_signed_by_its_rsa_key() {
        let token = Unverified::read(RSA_TOKEN).unwrap();
        let key = set(&[rsa(json!({}))]).find(token.kid(), token.algorithm()).unwrap();

        assert_eq!(token.verify(&key).unwrap().iss.as_deref(), Some("joe"));
    }

    #[rstest]
    #[case(&PKCS_ED25519, Algorithm::EdDSA)]
    #[case(&PKCS_ECDSA_P384_SHA384, Algorithm::ES384)]
    fn other_curves_sign_as_well(#[case] kind: &'static SignatureAlgorithm, #[case] algorithm: Algorithm) {
        use base64::Engine as _;
        let encoded = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let pair = KeyPair::generate_for(kind).unwrap();
        let (der, public) = (pair.serialize_der(), pair.public_key_raw());
        let (private, jwk) = if algorithm == Algorithm::EdDSA {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(public)});
            (jsonwebtoken::EncodingKey::from_ed_der(&der), jwk)
        } else {
            let (x, y) = (encoded(&public[1..49]), encoded(&public[49..97]));
            let jwk = json!({"kty": "EC", "crv": "P-384", "x": x, "y": y});
            (jsonwebtoken::EncodingKey::from_ec_der(&der), jwk)
        };
        let header = jsonwebtoken::Header::new(algorithm);
        let text = jsonwebtoken::encode(&header, &json!({"iss": "joe"}), &private).unwrap();

        let token = Unverified::read(&text).unwrap();
        let key = set(&[jwk]).find(token.kid(), token.algorithm()).unwrap();

        assert_eq!(token.verify(&key).unwrap().iss.as_deref(), Some("joe"));
    }
}
