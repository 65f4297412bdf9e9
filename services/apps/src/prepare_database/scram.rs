//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677) in the form that PostgreSQL stores
//! (`SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`), so that a password itself never stands in
//! a statement.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// PostgreSQL's own default (`scram_iterations`).
const ITERATIONS: u32 = 4096;

/// The verifier of `password` with a salt of its own. The password has to be ASCII: others would have to be
/// normalised first (SASLprep), or no client could log in.
pub(super) fn verifier(password: &SecretString) -> String {
    verifier_with(password, &rand::random::<[u8; 16]>())
}

fn verifier_with(password: &SecretString, salt: &[u8]) -> String {
    let salted = salted_password(password.expose_secret().as_bytes(), salt);
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", base64(salt), base64(&stored_key), base64(&server_key))
}

/// `Hi` of RFC 5802: PBKDF2 with one block of output.
fn salted_password(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let first: Vec<u8> = salt.iter().copied().chain(1_u32.to_be_bytes()).collect();
    let mut block = hmac(password, &first);
    let mut result = block;
    for _ in 1..ITERATIONS {
        block = hmac(password, &block);
        result.iter_mut().zip(block).for_each(|(byte, next)| *byte ^= next);
    }
    result
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let key = if key.len() > BLOCK { Sha256::digest(key).to_vec() } else { key.to_vec() };
    let padded = |pad: u8| -> Vec<u8> {
        key.iter().copied().chain(std::iter::repeat(0)).take(BLOCK).map(|byte| byte ^ pad).collect()
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = (group >> (18 - 6 * at)) & 63;
            let letter = usize::try_from(letter).ok().and_then(|letter| ALPHABET.get(letter));
            text.push(if at > chunk.len() { '=' } else { letter.copied().map_or('=', char::from) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn base64_pads_as_rfc_4648_says() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_verifier_has_the_form_that_postgresql_stores() {
        let verifier = verifier_with(&SecretString::from("pencil"), b"0123456789abcdef");

        let (head, keys) = verifier.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==");
        assert_eq!(keys.split(':').map(str::len).collect::<Vec<_>>(), [44, 44]);
    }
}
