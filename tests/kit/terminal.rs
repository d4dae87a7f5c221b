//! A terminal of its own for a program, and somebody who reads it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::PATIENCE;

/// How high a terminal is.
pub const ROWS: u16 = 24;

/// A terminal that somebody reads.
pub struct Terminal {
    /// What is written to `terminal` comes out here.
    controller: fs::File,
    terminal: fs::File,
}

impl Terminal {
    /// One that is so many columns wide, and [`ROWS`] high.
    pub fn open(columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        Self { controller: controller.into(), terminal }
    }

    pub fn spawn(&self, mut command: Command) -> Child {
        command.stdin(Stdio::null()).stdout(self.terminal.try_clone().unwrap()).spawn().unwrap()
    }

    /// Starts a program that reads what is typed here.
    pub fn spawn_interactive(&self, mut command: Command) -> Child {
        command.stdin(self.terminal.try_clone().unwrap()).stdout(self.terminal.try_clone().unwrap());
        command.env("TERM", "xterm").spawn().unwrap()
    }

    /// Types.
    pub fn press(&self, keys: &str) {
        (&self.controller).write_all(keys.as_bytes()).unwrap();
    }

    /// What is written until it is enough.
    pub fn read_until(&self, is_enough: impl Fn(&str) -> bool) -> String {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        while !is_enough(&String::from_utf8_lossy(&bytes)) {
            let read = (&self.controller).read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..read]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until what is seen on the screen is what is waited for.
    pub fn until_seen(&self, screen: &mut vt100::Parser, what: &str, is_seen: impl Fn(&str) -> bool) {
        let mut piece = [0; 4096];
        let give_up = Instant::now() + PATIENCE;
        while !is_seen(&screen.screen().contents()) {
            let mut ready = [PollFd::new(&self.controller, PollFlags::IN)];
            let patience = Timespec::try_from(give_up.saturating_duration_since(Instant::now())).unwrap();
            let is_ready = poll(&mut ready, Some(&patience)).unwrap() > 0;
            assert!(is_ready, "waited in vain: {what}\n{}", screen.screen().contents());
            let read = (&self.controller).read(&mut piece).unwrap();
            screen.process(&piece[..read]);
        }
    }

    /// What is written until the last program has closed it.
    pub fn read_to_end(self) -> String {
        let Self { mut controller, terminal } = self;
        drop(terminal);
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        // The last one to close the terminal makes this an error.
        while let Ok(read @ 1..) = controller.read(&mut piece) {
            bytes.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }
}
