//! L, what the machine itself allows: one thread a core, and pinned to it, that starts a program with
//! `clone3`'s flags for a vfork and a pidfd, waits for it, and starts it again. The child begins on its parent's core
//! and may leave it once it is another program. Nothing else is done; with output it goes to a file of its own.

#![expect(unsafe_code, reason = "the loop is made of system calls")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers the files, so that each is a new one.
static FILES: AtomicU64 = AtomicU64::new(0);

/// Runs a command so many times on so many threads. With a directory, each run's output is kept there.
pub fn run(command: &[&str], count: usize, threads: usize, keep_in: Option<&Path>) -> io::Result<()> {
    let arguments: Vec<CString> = command
        .iter()
        .map(|argument| CString::new(*argument))
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|core| {
                let share = count / threads + usize::from(core < count % threads);
                let (arguments, nowhere) = (&arguments, &nowhere);
                scope.spawn(move || one_thread(core, share, arguments, nowhere, keep_in))
            })
            .collect();
        loops.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| io::Error::other("a thread of the loop failed"))?
        })
    })
}

/// What a child needs until it is another program.
struct Child {
    argv: Vec<*const c_char>,
    nowhere: RawFd,
    output: RawFd,
}

fn one_thread(
    core: usize,
    count: usize,
    arguments: &[CString],
    nowhere: &File,
    keep_in: Option<&Path>,
) -> io::Result<()> {
    let argv = arguments.iter().map(|argument| argument.as_ptr()).chain([ptr::null()]).collect();
    let mut child = Child { argv, nowhere: nowhere.as_raw_fd(), output: nowhere.as_raw_fd() };
    let mut stack = vec![0_u8; 64 << 10];
    let top = stack.as_mut_ptr_range().end;
    let top = top.wrapping_byte_sub(top as usize % 16).cast::<c_void>();
    let everywhere = pin(core)?;
    for _ in 0..count {
        let output = keep_in.map(|directory| {
            File::create_new(directory.join(FILES.fetch_add(1, Ordering::Relaxed).to_string()))
        });
        let output = output.transpose()?;
        child.output = output.as_ref().map_or(child.nowhere, AsRawFd::as_raw_fd);
        start_and_wait(&mut child, top, &everywhere)?;
    }
    Ok(())
}

/// Keeps this thread on a core. Gives the cores that it was allowed before.
fn pin(core: usize) -> io::Result<libc::cpu_set_t> {
    // SAFETY: the sets are plain data that is valid when it is zero; the calls only read and fill them.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        checked(libc::sched_getaffinity(0, size_of_val(&all), &raw mut all))?;
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % libc::CPU_COUNT(&all) as usize, &mut one);
        checked(libc::sched_setaffinity(0, size_of_val(&one), &raw const one))?;
        Ok(all)
    }
}

fn start_and_wait(child: &mut Child, top: *mut c_void, everywhere: &libc::cpu_set_t) -> io::Result<()> {
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the child runs `become_program` alone on a stack that the caller keeps, while CLONE_VFORK makes
    // this thread wait; the descriptor is one that the kernel has just given, and closed once.
    unsafe {
        let pid =
            checked(libc::clone(become_program, top, flags, ptr::from_mut(child).cast(), &raw mut pidfd))?;
        // It may have ended already.
        libc::sched_setaffinity(pid, size_of_val(everywhere), ptr::from_ref(everywhere));
        let mut information: libc::siginfo_t = std::mem::zeroed();
        let waited =
            checked(libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &raw mut information, libc::WEXITED));
        libc::close(pidfd);
        waited?;
        match information.si_status() {
            0 => Ok(()),
            status => Err(io::Error::other(format!("the program ended with {status}"))),
        }
    }
}

extern "C" fn become_program(child: *mut c_void) -> c_int {
    let envp = [c"PATH=/usr/bin:/bin".as_ptr(), ptr::null()];
    // SAFETY: the parent waits and keeps what this points to; the arrays end with null, and execve only reads
    // them; dup2 and _exit are safe in a child that shares its parent's memory.
    unsafe {
        let child = &*child.cast::<Child>();
        libc::dup2(child.nowhere, 0);
        libc::dup2(child.output, 1);
        libc::dup2(child.output, 2);
        libc::execve(child.argv[0], child.argv.as_ptr(), envp.as_ptr());
        libc::_exit(127)
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
