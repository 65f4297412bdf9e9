//! One connection of a client that delivers mail.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;

use super::{MAX_MAIL_BYTES, MAX_RECIPIENTS, Mail, Shared};

/// RFC 5321 allows 1000 for text and 512 for commands; some clients send longer lines.
const MAX_LINE_BYTES: u64 = 8_192;
/// A client that gets this many commands wrong is not one that delivers mail.
const MAX_MISTAKES: u32 = 20;

/// Tells a client that there are too many.
pub(super) fn turn_away(mut stream: &TcpStream) {
    // The client may be gone already.
    stream.write_all(b"421 too many sessions\r\n").ok();
}

/// Serves one client until it leaves.
pub(super) fn run(reader: impl BufRead, writer: impl Write, shared: &Shared) -> io::Result<()> {
    let mut session = Session { reader, writer, from: None, to: Vec::new() };
    session.reply("220 devcluster keeps your mail")?;
    let mut mistakes = 0;
    while mistakes < MAX_MISTAKES {
        let Some(line) = session.line()? else { return Ok(()) };
        let answer = match Command::parse(&line) {
            Command::Hello => format!("250-devcluster\r\n250-8BITMIME\r\n250 SIZE {MAX_MAIL_BYTES}"),
            Command::From(address) => session.mail_from(address),
            Command::To(address) => session.rcpt_to(address),
            Command::Data => session.data(shared)?,
            Command::Reset => session.reset(),
            Command::Nothing => "250 fine".to_owned(),
            Command::Quit => return session.reply("221 good bye"),
            Command::Unknown => "500 what?".to_owned(),
        };
        mistakes += u32::from(answer.starts_with("50"));
        session.reply(&answer)?;
    }
    session.reply("421 too many mistakes")
}

enum Command {
    Hello,
    From(String),
    To(String),
    Data,
    Reset,
    Nothing,
    Quit,
    Unknown,
}

impl Command {
    fn parse(line: &str) -> Self {
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => Self::Hello,
            "MAIL" => address(rest).map_or(Self::Unknown, Self::From),
            "RCPT" => address(rest).map_or(Self::Unknown, Self::To),
            "DATA" => Self::Data,
            "RSET" => Self::Reset,
            "NOOP" => Self::Nothing,
            "QUIT" => Self::Quit,
            _ => Self::Unknown,
        }
    }
}

/// What stands between the angle brackets of `FROM:<address> SIZE=…`.
fn address(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    let (address, _) = rest.split_once('>')?;
    Some(address.to_owned())
}

struct Session<R, W> {
    reader: R,
    writer: W,
    from: Option<String>,
    to: Vec<String>,
}

impl<R: BufRead, W: Write> Session<R, W> {
    fn reply(&mut self, text: &str) -> io::Result<()> {
        // In one piece: a client may wait for the whole line.
        self.writer.write_all(format!("{text}\r\n").as_bytes())?;
        self.writer.flush()
    }

    /// The next line without its end; `None` when the client has left.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn mail_from(&mut self, address: String) -> String {
        self.reset();
        self.from = Some(address);
        "250 fine".to_owned()
    }

    fn rcpt_to(&mut self, address: String) -> String {
        if self.from.is_none() {
            return "503 from whom?".to_owned();
        }
        if self.to.len() >= MAX_RECIPIENTS {
            return "452 too many recipients".to_owned();
        }
        self.to.push(address);
        "250 fine".to_owned()
    }

    fn reset(&mut self) -> String {
        self.from = None;
        self.to.clear();
        "250 fine".to_owned()
    }

    fn data(&mut self, shared: &Shared) -> io::Result<String> {
        let (Some(from), false) = (self.from.clone(), self.to.is_empty()) else {
            return Ok("503 for whom?".to_owned());
        };
        self.reply("354 end with a dot")?;
        let content = self.content()?;
        let to = std::mem::take(&mut self.to);
        self.reset();
        let Some(content) = content else { return Ok("552 too large".to_owned()) };
        Ok(match shared.keep(Mail { from, to, content }) {
            Ok(()) => "250 kept".to_owned(),
            // The client keeps the mail and tries again.
            Err(error) => format!("451 could not keep it: {}", error.kind()),
        })
    }

    /// The text up to the lone dot, with `\n` at the end of each line; `None` when it is too large.
    fn content(&mut self) -> io::Result<Option<String>> {
        let mut content = Some(String::new());
        loop {
            let Some(line) = self.line()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            if line == "." {
                return Ok(content);
            }
            // Clients double a dot at the start of a line (RFC 5321, 4.5.2).
            let line = line.strip_prefix('.').unwrap_or(&line);
            content = content.filter(|content| content.len() + line.len() < MAX_MAIL_BYTES);
            if let Some(content) = &mut content {
                content.push_str(line);
                content.push('\n');
            }
        }
    }
}
