//! The system calls that no library wraps safely: starting a process the quick way, reaping it with its
//! resource usage, signal masks, and memory shared with a file.
//!
//! [`spawn`] is vfork with a stack of its own: `clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD)`. The child runs
//! in the parent's memory while the calling thread sleeps until it has called execve or ended, so nothing of
//! a large parent is copied, and what the child writes (its pid, an errno) the parent can read. In return
//! the child must not allocate, lock or unwind: everything is prepared before. Only clone3(2) can start a child
//! in another control group (`CLONE_INTO_CGROUP`), and no library has it with a stack of its own for the child;
//! so it is called in a few lines of assembly for the usual processors. Without a group glibc's `clone` will do.

#![expect(unsafe_code, reason = "these system calls have no safe wrapper; each block argues for itself")]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::Rlimit;
use std::ffi::{c_char, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::{io, slice};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::image::CStrings;
use crate::jobserver::DESCRIPTORS;

/// Plenty for the child's few calls; the kernel needs none of it.
const STACK_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4096;

/// A stack for children, with a guard page below it. One spawning thread needs one, since it sleeps while
/// a child is on it.
pub(crate) struct Stack {
    base: NonNull<c_void>,
}

// SAFETY: the mapping belongs to this value alone, not to a thread.
unsafe impl Send for Stack {}
// SAFETY: the pointers lead into the buffer that the value owns, which does not move with it.
unsafe impl Send for CStrings {}

impl Stack {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
        unsafe {
            let base = rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                STACK_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK,
            )?;
            rustix::mm::mprotect(base, PAGE_BYTES, MprotectFlags::empty())?;
            Ok(Self { base: NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)? })
        }
    }

    fn top(&self) -> *mut c_void {
        self.base.as_ptr().wrapping_byte_add(STACK_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `new`, and a child uses it only while `spawn` borrows it.
        unsafe {
            let _ = rustix::mm::munmap(self.base.as_ptr(), STACK_BYTES);
        }
    }
}

/// What a child shall become.
pub(crate) struct Plan<'a> {
    /// Paths to try, in order.
    pub candidates: &'a CStrings,
    pub argv: &'a CStrings,
    pub envp: &'a CStrings,
    /// One string: the directory.
    pub cwd: &'a CStrings,
    /// Standard input, output and error; all above 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// What it finds as [`DESCRIPTORS`], all above these numbers.
    pub inherited: Option<[BorrowedFd<'a>; 2]>,
    /// The control group that it begins in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The limit of open descriptors, if it is not the same as this process's.
    pub descriptors: Option<Rlimit>,
    /// Where the child writes its pid before it becomes the program.
    pub pid: &'a AtomicU64,
}

/// What a child did when it could not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Set itself up: session, death signal, descriptors.
    Setup,
    /// Change its directory.
    Directory,
    /// Become the program.
    Exec,
}

/// Why there is no child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpawnError {
    /// None when the child could not even be made.
    pub step: Option<Step>,
    pub errno: Errno,
}

struct Shared<'a> {
    candidates: *const *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    cwd: *const c_char,
    stdio: [RawFd; 3],
    inherited: Option<[RawFd; 2]>,
    descriptors: Option<libc::rlimit>,
    pid: &'a AtomicU64,
    parent: libc::pid_t,
    step: AtomicU32,
    errno: AtomicI32,
}

/// Starts a child in a session of its own, which dies with the calling thread. Returns its pid and pidfd
/// once it has become the program.
///
/// The calling thread must have every signal blocked, as [`block_all_signals`] does: no handler of this
/// process may run on the child's side.
pub(crate) fn spawn(stack: &Stack, plan: &Plan<'_>) -> Result<(u32, OwnedFd), SpawnError> {
    let arrays = [plan.candidates, plan.argv, plan.envp, plan.cwd].map(CStrings::pointers);
    assert!(arrays.iter().all(|a| a.last().is_some_and(|p| p.is_null())), "unfinished strings");
    let [candidates, argv, envp, cwd] = arrays;
    let shared = Shared {
        candidates: candidates.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        cwd: cwd[0],
        stdio: plan.stdio.map(|fd| fd.as_raw_fd()),
        inherited: plan.inherited.map(|pair| pair.map(|fd| fd.as_raw_fd())),
        descriptors: plan.descriptors.as_ref().map(|limit| libc::rlimit {
            rlim_cur: limit.current.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: limit.maximum.unwrap_or(libc::RLIM_INFINITY),
        }),
        pid: plan.pid,
        // SAFETY: getpid has no preconditions.
        parent: unsafe { libc::getpid() },
        step: AtomicU32::new(0),
        errno: AtomicI32::new(0),
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let mut pidfd: c_int = -1;
    // SAFETY: the child runs `child` on a stack that is its own: `stack` is borrowed, not shared between
    // threads, and big enough. CLONE_VFORK keeps this thread here until the child no longer uses our memory,
    // so `shared` and everything it points to outlive that use. With CLONE_PIDFD the fifth argument of clone
    // is where the descriptor is put.
    let pid = unsafe {
        let argument = (&raw const shared).cast_mut().cast();
        match plan.cgroup {
            None => match libc::clone(child, stack.top(), flags | libc::SIGCHLD, argument, &raw mut pidfd) {
                pid if pid < 0 => Err(last_errno()),
                pid => Ok(pid.unsigned_abs()),
            },
            Some(cgroup) => clone_into(cgroup, stack, flags, argument, &mut pidfd),
        }
    };
    let pid = pid.map_err(|errno| SpawnError { step: None, errno })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let step = match shared.step.load(Ordering::Acquire) {
        0 => return Ok((pid, pidfd)),
        STEP_SETUP => Step::Setup,
        STEP_DIRECTORY => Step::Directory,
        _ => Step::Exec,
    };
    let _ = reap(&pidfd);
    Err(SpawnError {
        step: Some(step),
        errno: Errno::from_raw_os_error(shared.errno.load(Ordering::Acquire)),
    })
}

/// The arguments of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Starts `child` with `argument` on `stack`, in a control group.
///
/// # Safety
/// As for clone(2) with these flags, CLONE_VM and CLONE_VFORK among them: the child uses this process's memory
/// until it has called execve or ended, and this thread sleeps meanwhile.
unsafe fn clone_into(
    cgroup: BorrowedFd<'_>,
    stack: &Stack,
    flags: c_int,
    argument: *mut c_void,
    pidfd: &mut c_int,
) -> Result<u32, Errno> {
    /// `CLONE_INTO_CGROUP` of linux/sched.h, which is beyond a `c_int`.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let arguments = CloneArguments {
        flags: u64::from(flags.unsigned_abs()) | INTO_CGROUP,
        pidfd: ptr::from_mut(pidfd) as u64,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        stack: stack.base.as_ptr() as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
        ..CloneArguments::default()
    };
    // SAFETY: by this function's own condition; `arguments` and `pidfd` live on.
    let result = unsafe { clone3(&arguments, argument) };
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as u32) }
}

/// The call itself. The child has an empty stack, calls `child`, and ends with what that returns.
///
/// # Safety
/// As [`clone_into`].
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(arguments: &CloneArguments, argument: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11, in both processes; the child, which is told
    // by a zero, never leaves these lines. The top of its stack is a multiple of 16, as a call wants it.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {child}",
            "mov edi, eax",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            child = in(reg) child as extern "C" fn(*mut c_void) -> c_int,
            argument = in(reg) argument,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArguments>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn clone3(arguments: &CloneArguments, argument: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0, in both processes; the child, which is told by a zero,
    // never leaves these lines. The top of its stack is a multiple of 16, as the processor wants it.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {child}",
            "mov x8, #93",
            "svc #0",
            "brk #1",
            "2:",
            child = in(reg) child as extern "C" fn(*mut c_void) -> c_int,
            argument = in(reg) argument,
            inlateout("x0") arguments => result,
            in("x1") size_of::<CloneArguments>(),
            in("x8") libc::SYS_clone3,
            out("x30") _,
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &CloneArguments, _: *mut c_void) -> isize {
    -(libc::ENOSYS as isize)
}

/// Whether children can be started in a control group here. Called on a thread of its own, with every signal
/// blocked.
pub(crate) fn starts_in(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let none = || {
        let mut strings = CStrings::default();
        strings.finish();
        strings
    };
    let (candidates, argv, envp, mut cwd) = (none(), none(), none(), CStrings::default());
    let _ = cwd.push(&[b"/"]);
    cwd.finish();
    let stack = Stack::new().map_err(|_| Errno::NOMEM)?;
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    let plan = Plan {
        candidates: &candidates,
        argv: &argv,
        envp: &envp,
        cwd: &cwd,
        stdio: [(); 3].map(|()| nothing.as_fd()),
        inherited: None,
        cgroup: Some(cgroup),
        descriptors: None,
        pid: &AtomicU64::new(0),
    };
    // There is no program, so that the child ends at once; that there was one is all that counts.
    match spawn(&stack, &plan) {
        Err(SpawnError { step: None, errno }) => Err(errno),
        Ok(_) | Err(_) => Ok(()),
    }
}

const STEP_SETUP: u32 = 1;
const STEP_DIRECTORY: u32 = 2;
const STEP_EXEC: u32 = 3;

/// The child's side. Async-signal-safe calls only: no allocation, no lock, no panic.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a `Shared` that lives until this process has called execve or exited. All calls
    // take pointers out of it that `CStrings` keeps valid and null-terminated, or plain numbers.
    unsafe {
        let shared = &*argument.cast_const().cast::<Shared<'_>>();
        let fail = |step: u32| -> ! {
            shared.errno.store(*libc::__errno_location(), Ordering::Release);
            shared.step.store(step, Ordering::Release);
            libc::_exit(127)
        };
        let session = libc::setsid();
        if session < 0 {
            fail(STEP_SETUP);
        }
        shared.pid.store(u64::from(session.unsigned_abs()), Ordering::Release);
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
            fail(STEP_SETUP);
        }
        // The parent may have died before the signal was asked for.
        if libc::getppid() != shared.parent {
            libc::_exit(127);
        }
        for (number, fd) in (0..).zip(shared.stdio) {
            if libc::dup2(fd, number) < 0 {
                fail(STEP_SETUP);
            }
        }
        for (number, fd) in DESCRIPTORS.into_iter().zip(shared.inherited.into_iter().flatten()) {
            if libc::dup2(fd, number) < 0 {
                fail(STEP_SETUP);
            }
        }
        if let Some(limit) = &shared.descriptors {
            libc::setrlimit(libc::RLIMIT_NOFILE, limit);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        if libc::chdir(shared.cwd) < 0 {
            fail(STEP_DIRECTORY);
        }
        exec(shared);
        fail(STEP_EXEC)
    }
}

/// Tries the candidates as execvp(3) does; comes back with errno set when none will do.
///
/// # Safety
/// The pointers of `shared` must be valid null-terminated arrays.
unsafe fn exec(shared: &Shared<'_>) {
    // SAFETY: by this function's own condition; the loop stops at the terminating null.
    unsafe {
        let mut refused = false;
        let mut candidate = shared.candidates;
        while !(*candidate).is_null() {
            libc::execve(*candidate, shared.argv, shared.envp);
            match *libc::__errno_location() {
                libc::EACCES => refused = true,
                libc::ENOENT | libc::ENOTDIR => {}
                _ => return,
            }
            candidate = candidate.add(1);
        }
        *libc::__errno_location() = if refused { libc::EACCES } else { libc::ENOENT };
    }
}

/// How a child ended, and what it and the children it waited for used.
pub(crate) struct Ended {
    /// An exit code, or a signal.
    pub status: Result<i32, i32>,
    pub usage: libc::rusage,
}

/// Reaps the process of `pidfd`; waits for its end if need be.
pub(crate) fn reap(pidfd: &OwnedFd) -> io::Result<Ended> {
    // SAFETY: both structures are plain data for which zeroes are valid, and the kernel writes within them.
    // The raw call is used since the libc function has no place for the usage.
    unsafe {
        let mut information: libc::siginfo_t = mem::zeroed();
        let mut usage: libc::rusage = mem::zeroed();
        while libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            &raw mut information,
            libc::WEXITED,
            &raw mut usage,
        ) < 0
        {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let status = information.si_status();
        let status = if information.si_code == libc::CLD_EXITED { Ok(status) } else { Err(status) };
        Ok(Ended { status, usage })
    }
}

/// Reaps what was orphaned and given to the calling thread, which must be the main one: the kernel gives the
/// orphans of a subreaper to its first thread. The children of other threads are left alone.
pub(crate) fn reap_orphans() {
    // SAFETY: no status and no usage is asked for, so the kernel writes nothing.
    unsafe {
        let options = libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD;
        while libc::wait4(-1, ptr::null_mut(), options, ptr::null_mut()) > 0 {}
    }
}

extern "C" fn ignore(_signal: c_int) {}

/// Makes children start with every signal at its default without a call for it in each of them: what this
/// process ignores gets a handler that does nothing, since execve resets handlers but keeps what is ignored.
/// SIGINT and SIGHUP are ignored in this way, if `detached`.
pub(crate) fn default_dispositions(detached: bool) {
    // SAFETY: the structures are plain data for which zeroes are valid; `ignore` does nothing and so is
    // async-signal-safe. Handlers of others are not replaced, unless `detached`.
    unsafe {
        for signal in 1..=64 {
            let mut action: libc::sigaction = mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &raw mut action) < 0 {
                continue;
            }
            let unwanted = detached && matches!(signal, libc::SIGINT | libc::SIGHUP);
            if action.sa_sigaction != libc::SIG_IGN && !unwanted {
                continue;
            }
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_flags = libc::SA_RESTART;
            // An ignored SIGCHLD would have the kernel reap our children before we can.
            action.sa_sigaction = match signal {
                libc::SIGCHLD => libc::SIG_DFL,
                _ => ignore as extern "C" fn(c_int) as usize,
            };
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Blocks every signal in the calling thread.
pub(crate) fn block_all_signals() {
    // SAFETY: the set is filled before it is read.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// Blocks SIGTERM in the calling thread and all it will start, and gives a descriptor that becomes readable
/// when one has come.
pub(crate) fn terminations() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is read; the descriptor is new and ours.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// A descriptor that becomes readable when the process that has started this one has ended.
pub(crate) fn parent() -> io::Result<OwnedFd> {
    let parent = rustix::process::getppid().ok_or(Errno::SRCH)?;
    let fd = rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::NONBLOCK)?;
    Ok(fd)
}

/// Lets the current runtime wait until a descriptor can be read.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and the same descriptor, until it is dropped with the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE).map_err(io::Error::other) }
}

/// Keeps descriptors that this process has inherited, all but 0, 1 and 2, from its children.
pub(crate) fn close_inherited_on_exec() {
    // SAFETY: this sets a flag on descriptors, and closes nothing.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Words of memory that are a file: what is written is in the file at once, also when the process is killed.
pub(crate) struct SharedWords {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: atomics may be used from any thread, and the mapping does not belong to one.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words of `file`, which must be that long.
    pub(crate) fn map(file: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice. It is page-aligned, so its words are
        // aligned. All access is atomic, so other processes may read the file meanwhile.
        let words = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                count * size_of::<u64>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        Ok(Self { words: NonNull::new(words.cast()).ok_or(io::ErrorKind::OutOfMemory)?, count })
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `count` aligned words are mapped until drop, and any bits are a valid integer.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `map`, and borrows of it have ended.
        unsafe {
            let _ = rustix::mm::munmap(self.words.as_ptr().cast(), self.count * size_of::<u64>());
        }
    }
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
