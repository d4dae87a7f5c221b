//! What the machine has: the ground of every capacity that nobody configures.

use std::io;

/// What the machine has (cgroup limits respected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its cores.
    pub cores: u32,
    /// Its memory, bytes.
    pub memory: u64,
}

impl Machine {
    /// Looks.
    ///
    /// # Errors
    /// When its memory cannot be read.
    pub fn look() -> io::Result<Self> {
        let mut system = sysinfo::System::new()
            .map_err(|error| io::Error::other(format!("the machine's memory cannot be read: {error}")))?;
        system.refresh_memory();
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
        let memory = limit.min(system.total_memory());
        let cores =
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Ok(Self { cores, memory })
    }
}
