//! Output for people: headings, the commands that are run, and waiting that can be seen.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints a heading that says what happens next.
pub fn heading(text: &str) {
    if std::io::stdout().is_terminal() {
        println!("\n\x1b[1m▸ {text}\x1b[0m");
    } else {
        println!("\n▸ {text}");
    }
}

/// Prints a command as a reader would type it.
pub fn command(line: &str) {
    println!("$ {line}");
}

/// Calls `probe` until it returns a value or `limit` is over; shows what is awaited while it takes.
///
/// # Errors
/// The last reason `probe` gave for not being done, when the time is up.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let started = Instant::now();
    let mut shown = String::new();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if started.elapsed() > limit => {
                anyhow::bail!("{what}: not after {} s: {reason}", limit.as_secs())
            }
            Err(reason) => show_once(&mut shown, what, reason),
        }
        // The poll interval of a wait on a condition, not a guess at how long it takes.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn show_once(shown: &mut String, what: &str, reason: String) {
    if *shown != reason {
        eprintln!("  … {what}: {reason}");
        let _ = std::io::stderr().flush();
        *shown = reason;
    }
}
