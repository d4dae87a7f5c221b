//! Attempts per second of the runner, next to what the machine allows: `/bin/true` in a bare loop of
//! vfork-style spawn and wait on one pinned thread a slot.
//!
//! `cargo run --release -p orchd-worker --example spawn_rate [SLOTS] [ATTEMPTS] [ROUNDS]`; rounds of both
//! sides alternate, medians are printed.

#![expect(unsafe_code, reason = "the bare loop is made of system calls")]

use orchd_api::{Assignment, Work};
use orchd_model::{AttemptNumber, Span, TaskId, Token};
use orchd_worker::runner::{AttemptEvent, Runner, RunnerSettings};
use orchd_worker::{CgroupPlace, StatePaths};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::time::Instant;

const PROGRAM: &CStr = c"/bin/true";

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().unwrap_or(0));
    let slots = arguments.next().unwrap_or(2).max(1);
    let attempts = arguments.next().unwrap_or(10_000).max(1);
    let rounds = arguments.next().unwrap_or(7).max(1);
    let directory = tempfile::tempdir()?;
    let (sender, events) = crossbeam_channel::unbounded();
    let settings = RunnerSettings {
        paths: StatePaths::new(directory.path()),
        socket: "/nowhere".into(),
        slots: u32::try_from(slots).unwrap_or(u32::MAX),
        output_bytes: 1 << 30,
        cgroup: CgroupPlace::Auto,
    };
    let runner = Runner::start(settings, move |event| sender.send(event).unwrap_or_default())?;
    let (mut bare, mut run) = (Vec::new(), Vec::new());
    let mut token = 0;
    for _ in 0..rounds {
        bare.push(attempts as f64 / seconds(|| bare_loop(slots, attempts)));
        run.push(attempts as f64 / seconds(|| assigned(&runner, &events, &mut token, attempts)));
    }
    let (bare, run) = (median(&mut bare), median(&mut run));
    println!("bare loop L: {bare:.0}/s   runner: {run:.0}/s   ratio: {:.3}", run / bare);
    Ok(())
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn assigned(
    runner: &Runner,
    events: &crossbeam_channel::Receiver<AttemptEvent>,
    token: &mut u64,
    attempts: usize,
) {
    for _ in 0..attempts {
        *token += 1;
        runner.assign(Assignment {
            task: TaskId(*token),
            attempt: AttemptNumber(1),
            token: Token(*token),
            name: "true".to_owned(),
            work: Work::Command {
                argv: vec!["/bin/true".to_owned()],
                env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
                cwd: None,
                stdin: None,
            },
            timeout: None,
            order: (0, 0),
            grace: Span::from_secs(10),
            bounds: None,
            variant: None,
            inputs: None,
        });
    }
    let mut ended = 0;
    for event in events {
        if let AttemptEvent::Ended(report) = event {
            runner.forget(report.token);
            ended += 1;
        }
        if ended == attempts {
            return;
        }
    }
}

fn bare_loop(threads: usize, attempts: usize) {
    std::thread::scope(|scope| {
        for core in 0..threads {
            scope.spawn(move || bare_thread(core, attempts / threads));
        }
    });
}

fn bare_thread(core: usize, attempts: usize) {
    let mut stack = vec![0_u8; 64 << 10];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    // SAFETY: the set is plain data; the child runs `child` alone on a stack that this thread keeps, while
    // CLONE_VFORK makes it wait; descriptors are those that the kernel has just given.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&all), &raw mut all);
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % libc::CPU_COUNT(&all) as usize, &mut one);
        libc::sched_setaffinity(0, size_of_val(&one), &raw const one);
        for _ in 0..attempts {
            let mut pidfd: c_int = -1;
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
            let pid = libc::clone(
                child,
                top.wrapping_byte_sub(top as usize % 16),
                flags,
                ptr::null_mut(),
                &raw mut pidfd,
            );
            assert!(pid > 0, "clone");
            libc::sched_setaffinity(pid, size_of_val(&all), &raw const all);
            let mut information: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &raw mut information, libc::WEXITED);
            libc::close(pidfd);
        }
    }
}

extern "C" fn child(_: *mut c_void) -> c_int {
    let argv = [PROGRAM.as_ptr(), ptr::null()];
    let envp = [c"PATH=/usr/bin:/bin".as_ptr(), ptr::null()];
    // SAFETY: the arrays end with null, and execve only reads them.
    unsafe {
        libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), envp.as_ptr());
        libc::_exit(127)
    }
}
