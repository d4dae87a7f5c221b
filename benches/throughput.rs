//! P1: process tasks per second, from bulk add to all results durable, next to what the machine allows.
//!
//! `cargo bench --bench throughput [-- COUNT]`. The reference is L in the same run: one pinned thread a core
//! that starts the same program the fastest way there is and waits for it. Beside it run, where installed,
//! `make -j`, `ninja`, `xargs -P`, GNU `parallel` and task-spooler; then all once more with output, which L
//! keeps, too, a file a task, and the first two beside processes that use up every core. Rounds alternate; medians are printed with their spread.

mod kit;
mod limit;

use kit::{Daemon, Failure, Rounds, count};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;
/// A program that starts a process for each waiting task gets fewer of them.
const SPOOLED: usize = 200;

/// Something that runs a command so many times.
type Run<'a> = (&'a str, usize, Box<dyn Fn() -> Result<(), Failure> + 'a>);

fn main() -> Result<(), Failure> {
    let count = count(5000);
    let daemon = Daemon::start(&[])?;
    let kept = daemon.path("kept");
    fs::create_dir(&kept)?;
    let silent = ("/bin/true", ["/bin/true"].as_slice(), None);
    for (title, command, keep_in) in [silent, ("/bin/echo x", &["/bin/echo", "x"], Some(&*kept))] {
        println!("{count} x {title}, {ROUNDS} rounds");
        compare(&runs(&daemon, command, count, keep_in)?)?;
    }
    let hogs: Vec<Child> = (0..cores()?)
        .map(|_| Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn())
        .collect::<Result<_, _>>()?;
    println!("{count} x /bin/true beside {} processes that use up every core", hogs.len());
    let runs = runs(&daemon, &["/bin/true"], count, None)?;
    let measured = compare(&runs[..2]);
    for mut hog in hogs {
        hog.kill()?;
        hog.wait()?;
    }
    measured
}

fn cores() -> Result<usize, Failure> {
    Ok(std::thread::available_parallelism()?.get())
}

fn compare(runs: &[Run<'_>]) -> Result<(), Failure> {
    let mut rounds: Vec<Rounds> = runs.iter().map(|_| Rounds::default()).collect();
    for _ in 0..ROUNDS {
        for ((_, count, run), rounds) in runs.iter().zip(&mut rounds) {
            let started = Instant::now();
            run()?;
            rounds.add(*count as f64 / started.elapsed().as_secs_f64());
        }
    }
    for ((name, ..), figures) in runs.iter().zip(&rounds) {
        figures.show(name, "/s", Some(&rounds[0]));
    }
    Ok(())
}

/// L, orchd, and whatever else is installed.
fn runs<'a>(
    daemon: &'a Daemon,
    command: &'a [&'a str],
    count: usize,
    keep_in: Option<&'a Path>,
) -> Result<Vec<Run<'a>>, Failure> {
    let cores = cores()?;
    let (specs, makefile, ninja) =
        (daemon.path("specs"), daemon.path("makefile"), daemon.path("build.ninja"));
    let line = command.join(" ");
    fs::write(&specs, format!("{{\"command\":{command:?}}}\n").repeat(count))?;
    let mut runs: Vec<Run<'a>> = vec![
        ("L, the machine's limit", count, Box::new(move || Ok(limit::run(command, count, cores, keep_in)?))),
        ("orchd", count, Box::new(move || orchd(daemon, &specs))),
    ];
    if is_installed("make") {
        let targets: String = (0..count).map(|n| format!(" t{n}")).collect();
        fs::write(&makefile, format!(".PHONY: all{targets}\nall:{targets}\n{targets}:\n\t@{line}\n"))?;
        let jobs = format!("-j{cores}");
        runs.push((
            "make -j",
            count,
            Box::new(move || run(Command::new("make").arg(&jobs).arg("-f").arg(&makefile))),
        ));
    }
    if is_installed("ninja") {
        let mut text = format!("rule r\n  command = {line}\n");
        (0..count).try_for_each(|n| writeln!(text, "build t{n}: r"))?;
        fs::write(&ninja, text)?;
        let jobs = format!("-j{cores}");
        // It writes a log of its own where it runs.
        let place = ninja.with_file_name("");
        let run_ninja = move || {
            let mut command = Command::new("ninja");
            run(command.arg("--quiet").arg(&jobs).arg("-C").arg(&place).arg("-f").arg(&ninja))
        };
        runs.push(("ninja", count, Box::new(run_ninja)));
    }
    let through_shell = |script: String| move || run(Command::new("/bin/sh").arg("-c").arg(&script));
    if is_installed("xargs") {
        let script = format!("seq {count} | xargs -P{cores} -n1 {line}");
        runs.push(("xargs -P", count, Box::new(through_shell(script))));
    }
    if is_installed("parallel") {
        let script = format!("seq {SPOOLED} | parallel -j{cores} {line}");
        runs.push(("GNU parallel", SPOOLED, Box::new(through_shell(script))));
    }
    if is_installed("tsp") {
        let script = format!("tsp -S {cores}; for i in $(seq {SPOOLED}); do tsp {line}; done; tsp -w");
        runs.push(("task-spooler", SPOOLED, Box::new(through_shell(script))));
    }
    Ok(runs)
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn orchd(daemon: &Daemon, specs: &Path) -> Result<(), Failure> {
    daemon.orchctl(&["add", "--from", &specs.to_string_lossy()])?;
    daemon.orchctl(&["wait", "--all"])?;
    Ok(())
}
