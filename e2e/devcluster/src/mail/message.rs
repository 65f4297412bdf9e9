//! A mail, and as much of MIME as its reader needs.

/// Headers that this server writes before a mail in a file, for what only the envelope holds.
const ENVELOPE_FROM: &str = "X-Envelope-From";
const ENVELOPE_TO: &str = "X-Envelope-To";

/// One mail as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Who sent it, from the envelope.
    pub from: String,
    /// Who gets it, from the envelope.
    pub to: Vec<String>,
    /// Headers and body; each line ends with `\n`.
    pub content: String,
}

impl Mail {
    /// The value of a header, its folded lines joined, as it was sent: words outside of ASCII stay encoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.split().0.lines();
        let value = lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })?;
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        Some(folded.fold(value, |value, line| format!("{value} {}", line.trim())))
    }

    /// The body, its transfer encoding undone.
    pub fn body(&self) -> String {
        let body = self.split().1;
        let encoding = self.header("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
        let bytes = match encoding.as_str() {
            "quoted-printable" => quoted_printable(body),
            "base64" => base64(body),
            _ => return body.to_owned(),
        };
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }

    fn split(&self) -> (&str, &str) {
        self.content.split_once("\n\n").unwrap_or((&self.content, ""))
    }

    /// The mail with its envelope as headers, as mail programs read it.
    pub(super) fn to_file(&self) -> String {
        format!("{ENVELOPE_FROM}: {}\n{ENVELOPE_TO}: {}\n{}", self.from, self.to.join(", "), self.content)
    }

    /// Undoes [`Mail::to_file`].
    pub(super) fn from_file(text: &str) -> Self {
        let mail = Self { from: String::new(), to: Vec::new(), content: text.to_owned() };
        let from = mail.header(ENVELOPE_FROM).unwrap_or_default();
        let to = mail.header(ENVELOPE_TO).unwrap_or_default().split(", ").map(str::to_owned).collect();
        let content = text.splitn(3, '\n').nth(2).unwrap_or_default().to_owned();
        Self { from, to, content }
    }
}

/// RFC 2045, 6.7.
fn quoted_printable(text: &str) -> Vec<u8> {
    let text = text.replace("=\n", "");
    let mut parts = text.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part.bytes().skip(2));
            }
            // Not valid; shown as it came.
            None => bytes.extend(format!("={part}").bytes()),
        }
    }
    bytes
}

/// RFC 2045, 6.8: characters outside of the alphabet are skipped.
fn base64(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.bytes().filter_map(base64_digit).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let word = group.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - group.len()));
        let whole = word.to_be_bytes();
        bytes.extend(whole.iter().skip(1).take(group.len().saturating_sub(1)));
    }
    bytes
}

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(digit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(content: &str) -> Mail {
        Mail { from: "a@x.test".to_owned(), to: vec!["b@x.test".to_owned()], content: content.to_owned() }
    }

    #[test]
    fn a_folded_header_is_one_line() {
        let mail = mail("Subject: a long\n story\nTo: b\n\nSubject: not this\n");

        assert_eq!(mail.header("subject").as_deref(), Some("a long story"));
        assert_eq!(mail.header("cc"), None);
    }

    #[test]
    fn encoded_bodies_are_decoded() {
        let quoted =
            mail("Content-Transfer-Encoding: quoted-printable\n\n25 =E2=82=AC, a soft=\n break, 1 =3D 1\n");
        let base64 = mail("Content-Transfer-Encoding: base64\n\nMjUg4oKs\nCg==\n");

        assert_eq!(quoted.body(), "25 €, a soft break, 1 = 1\n");
        assert_eq!(base64.body(), "25 €\n");
    }

    #[test]
    fn a_file_gives_back_the_mail() {
        let mut original = mail("Subject: x\n\nbody\n");
        original.to.push("c@x.test".to_owned());

        assert_eq!(Mail::from_file(&original.to_file()), original);
    }
}
