//! Knowing a process again, in this run or a later one.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::POLL;

/// A pid together with the time its process started, which no later process with this pid shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid.
    pub pid: i32,
    /// In clock ticks since the boot, from `/proc/PID/stat`.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has `pid` now; `None` when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self { pid, start_time: stat(pid)?.start_time })
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_running(self) -> bool {
        stat(self.pid).is_some_and(|now| now.start_time == self.start_time && !matches!(now.state, 'Z' | 'X'))
    }

    /// Sends `signal`; a process that is gone is left alone, and so is whoever has its pid now.
    pub fn signal(self, signal: Signal) {
        if self.is_running() {
            // Gone in between is what most signals are for.
            kill(Pid::from_raw(self.pid), signal).ok();
        }
    }

    /// Asks it to end, and kills it after `grace`. Returns when it is gone.
    pub fn stop(self, grace: Duration) {
        self.signal(Signal::SIGTERM);
        // A paused process cannot hear that it should end.
        self.signal(Signal::SIGCONT);
        if !self.wait_gone(grace) {
            self.signal(Signal::SIGKILL);
            self.wait_gone(grace);
        }
    }

    fn wait_gone(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }
}

struct Stat {
    state: char,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc_pid_stat(5): the name (field 2) may hold anything, so fields are counted from its last `)`.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_stat_are_counted_behind_a_name_with_brackets() {
        let line = "7 (a) S b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";

        let stat = parse_stat(line).unwrap();

        assert_eq!((stat.state, stat.start_time), ('S', 4242));
    }
}
