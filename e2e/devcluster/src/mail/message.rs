//! A mail as its reader needs it.

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

    /// The text that a person reads: the plain part where there are several, its transfer encoding undone.
    pub fn body(&self) -> String {
        let parsed = mailparse::parse_mail(self.content.as_bytes());
        let text = parsed.ok().and_then(|mail| {
            let plain = mail.parts().find(|part| part.ctype.mimetype == "text/plain")?;
            plain.get_body().ok()
        });
        // What is no mail is shown as it came.
        text.unwrap_or_else(|| self.split().1.to_owned()).replace("\r\n", "\n")
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
        let quoted = mail(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n25 =E2=82=AC, a soft=\n break, 1 =3D 1\n",
        );
        let base64 = mail(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nMjUg4oKs\nCg==\n",
        );

        assert_eq!(quoted.body(), "25 €, a soft break, 1 = 1\n");
        assert_eq!(base64.body(), "25 €\n");
    }

    #[test]
    fn of_several_parts_the_plain_one_is_read() {
        let mail = mail(
            "Content-Type: multipart/alternative; boundary=\"x\"\n\n--x\nContent-Type: text/plain; charset=utf-8\n\n\
             Hello\n--x\nContent-Type: text/html\n\n<p>Hello</p>\n--x--\n",
        );

        assert_eq!(mail.body().trim_end(), "Hello");
    }

    #[test]
    fn a_file_gives_back_the_mail() {
        let mut original = mail("Subject: x\n\nbody\n");
        original.to.push("c@x.test".to_owned());

        assert_eq!(Mail::from_file(&original.to_file()), original);
    }
}
