//! What a task with a claim of several cores tells the builds inside it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crate::attempts::{assignment, shell};
use crate::bench::Bench;
use orchd_api::{Assignment, Bounds, StopCause, StopOrder, Work};
use orchd_model::{Allotment, Amount, JobserverStyle, Outcome, Span, Token};
use orchd_worker::Stream;
use std::path::{Path, PathBuf};

fn with_cpus(mut task: Assignment, cpus: u64, style: JobserverStyle) -> Assignment {
    let allotment = Allotment { cpu: Some(Amount::units(cpus)), memory: None };
    task.bounds = Some(Bounds { allotment, jobserver: style, ..Bounds::default() });
    task
}

fn env(task: &mut Assignment) -> &mut std::collections::BTreeMap<String, String> {
    match &mut task.work {
        Work::Command { env, .. } => env,
        Work::Handler { .. } | Work::Claim => panic!("a handler has no environment"),
    }
}

fn output(bench: &Bench, task: u64) -> String {
    let read = |stream| String::from_utf8(bench.output(task, stream).unwrap_or_default()).unwrap();
    read(Stream::Out) + &read(Stream::Err)
}

/// A Makefile of 40 targets. Each job says when it begins and ends, in one file, in the order in which it
/// happens; a job ends only when others had the chance to begin beside it: it opens and closes that file some
/// hundred times.
fn makefile(bench: &Bench) -> PathBuf {
    let text = "targets := $(shell seq 40)\n\
                .PHONY: all $(targets)\n\
                all: $(targets)\n\
                $(targets): ; @echo begin >> trace; for i in $$(seq 300); do : >> trace; done; echo end >> trace\n";
    let directory = bench.path("build");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("Makefile"), text).unwrap();
    directory
}

/// The jobs that were counted, and the most of them at once.
fn jobs(directory: &Path) -> (usize, usize) {
    let trace = std::fs::read_to_string(directory.join("trace")).unwrap();
    let (mut running, mut most, mut begun) = (0_usize, 0, 0);
    for line in trace.lines() {
        match line {
            "begin" => {
                begun += 1;
                running += 1;
                most = most.max(running);
            }
            _ => running -= 1,
        }
    }
    assert_eq!(running, 0);
    (begun, most)
}

fn make(token: u64, directory: &Path, arguments: &str) -> Assignment {
    shell(token, &format!("cd {} && make {arguments}", directory.display()))
}

#[test]
fn a_build_without_a_number_of_jobs_runs_as_many_as_are_claimed() {
    let bench = Bench::new(1);
    let directory = makefile(&bench);
    for (token, arguments) in (1..).zip(["-j", "", "--jobs", "-kj", "-j -k all", "-- all"]) {
        let _ = std::fs::remove_file(directory.join("trace"));
        let report = bench.run(with_cpus(make(token, &directory, arguments), 2, JobserverStyle::Auto));
        assert_eq!(report.outcome, Outcome::Succeeded, "{}", output(&bench, token));
        assert_eq!(jobs(&directory), (40, 2), "make {arguments}");
        assert!(!output(&bench, token).contains("warning"), "{}", output(&bench, token));
    }
}

#[test]
fn what_recipes_call_shares_the_claim_at_any_depth() {
    let bench = Bench::new(1);
    let directory = makefile(&bench);
    let nested = |file: &str, below: &str| {
        let text = format!(
            ".PHONY: all left right\nall: left right\nleft: ; @$(MAKE) -j -f {below} $$(seq 1 20)\n\
             right: ; @$(MAKE) -j -f {below} $$(seq 21 40)\n"
        );
        std::fs::write(directory.join(file), text).unwrap();
    };
    nested("two", "Makefile");
    std::fs::write(directory.join("three"), "all: ; @$(MAKE) -j -f two && $(MAKE) -C . -kj -f two\n")
        .unwrap();
    for (token, (file, begun)) in (1..).zip([("two", 40), ("three", 80)]) {
        let _ = std::fs::remove_file(directory.join("trace"));
        let arguments = format!("-j -f {file}");
        let report = bench.run(with_cpus(make(token, &directory, &arguments), 2, JobserverStyle::Auto));
        assert_eq!(report.outcome, Outcome::Succeeded, "{}", output(&bench, token));
        assert_eq!(jobs(&directory), (begun, 2), "make {arguments}");
        assert!(!output(&bench, token).contains("warning"), "{}", output(&bench, token));
        // A single core is one job at a time.
        let _ = std::fs::remove_file(directory.join("trace"));
        bench.run(with_cpus(make(token + 4, &directory, &arguments), 1, JobserverStyle::Auto));
        assert_eq!(jobs(&directory), (begun, 1), "make {arguments}: {}", output(&bench, token + 4));
    }
    // Who says a number means it, inside, too; and make tells so.
    let _ = std::fs::remove_file(directory.join("trace"));
    std::fs::write(directory.join("four"), "all: ; @$(MAKE) -j4 -f Makefile\n").unwrap();
    bench.run(with_cpus(make(9, &directory, "-f four"), 2, JobserverStyle::Auto));
    assert_eq!(jobs(&directory), (40, 4), "{}", output(&bench, 9));
    assert!(output(&bench, 9).contains("warning"), "{}", output(&bench, 9));
}

#[test]
fn a_number_of_jobs_counts_as_given() {
    let bench = Bench::new(1);
    let directory = makefile(&bench);
    for (token, (arguments, expected)) in (1..).zip([("-j1", 1), ("-j 3", 3)]) {
        let _ = std::fs::remove_file(directory.join("trace"));
        bench.run(with_cpus(make(token, &directory, arguments), 2, JobserverStyle::Auto));
        assert_eq!(jobs(&directory), (40, expected), "make {arguments}");
    }
}

#[test]
fn without_a_claim_of_cores_there_is_no_jobserver() {
    let bench = Bench::new(1);
    let script = "echo $ORCHD_CPUS $MAKEFLAGS $PATH";
    bench.run(shell(1, script));
    bench.run(with_cpus(shell(2, script), 1, JobserverStyle::Off));
    bench.run(with_cpus(shell(3, script), 8, JobserverStyle::Off));
    let mut own = with_cpus(shell(4, script), 8, JobserverStyle::Auto);
    env(&mut own).insert("MAKEFLAGS".to_owned(), "-s".to_owned());
    bench.run(own);
    let outputs = [1, 2, 3, 4].map(|task| output(&bench, task));
    assert_eq!(
        outputs,
        ["1 /usr/bin:/bin\n", "1 /usr/bin:/bin\n", "8 /usr/bin:/bin\n", "8 -s /usr/bin:/bin\n"]
    );
}

#[test]
fn there_is_a_token_for_each_core_but_the_first() {
    let bench = Bench::new(1);
    let read = "echo $MAKEFLAGS; dd bs=9 count=1 status=none iflag=nonblock";
    bench.run(with_cpus(shell(1, &format!("{read} < /dev/fd/100")), 4, JobserverStyle::Pipe));
    assert_eq!(output(&bench, 1), "-j4 --jobserver-auth=100,101\n+++");
    bench.run(with_cpus(shell(2, &format!("{read} < ${{MAKEFLAGS#*fifo:}}")), 4, JobserverStyle::Fifo));
    let fifo = bench.paths().slot(0).join("jobserver");
    assert_eq!(output(&bench, 2), format!("-j4 --jobserver-auth=fifo:{}\n+++", fifo.display()));
    assert!(!fifo.exists());
}

#[test]
fn an_attempt_that_is_killed_with_tokens_in_its_hands_costs_the_next_none() {
    let bench = Bench::new(1);
    let gate = bench.fifo("gate");
    for (token, style) in (1..).step_by(2).zip([JobserverStyle::Fifo, JobserverStyle::Pipe]) {
        let take = match style {
            JobserverStyle::Fifo => "head -c1 < ${MAKEFLAGS#*fifo:}",
            _ => "head -c1 < /dev/fd/100",
        };
        let mut holder = with_cpus(
            shell(token, &format!("{take}; echo taken > {}; read forever < {0}", gate.display())),
            3,
            style,
        );
        holder.grace = Span::ZERO;
        bench.runner().assign(holder);
        assert_eq!(std::fs::read_to_string(&gate).unwrap(), "taken\n");
        bench.runner().stop(StopOrder { token: Token(token), cause: StopCause::Cancel });
        assert_eq!(bench.ended(1)[0].outcome, Outcome::Cancelled);
        let count = take.replace("head -c1", "dd bs=9 count=1 status=none iflag=nonblock");
        bench.run(with_cpus(shell(token + 1, &count), 3, style));
        assert_eq!(output(&bench, token + 1), "++", "{style:?}");
    }
}

#[test]
fn tasks_without_a_jobserver_inherit_nothing_of_others() {
    let bench = Bench::new(2);
    let descriptors = ["/bin/ls", "/proc/self/fd"];
    bench.run(assignment(1, &descriptors));
    let gate = bench.fifo("gate");
    let held = with_cpus(shell(2, &format!("read go < {}", gate.display())), 2, JobserverStyle::Pipe);
    bench.runner().assign(held);
    bench.started();
    bench.runner().assign(assignment(3, &descriptors));
    let ended = bench.ended(1);
    assert_eq!(ended[0].token, Token(3));
    std::fs::write(&gate, "go\n").unwrap();
    bench.ended(1);
    assert_eq!(output(&bench, 3), output(&bench, 1));
}

#[test]
fn nothing_of_a_task_s_path_is_run_before_the_task() {
    let bench = Bench::new(1);
    let ran = bench.path("ran");
    bench.executable("make", &format!("#!/bin/sh\n: > {}\nexec sleep 100\n", ran.display()));
    let path = format!("{}:/usr/bin:/bin", bench.path("").display());
    let mut task = with_cpus(shell(1, "echo $MAKEFLAGS"), 2, JobserverStyle::Auto);
    env(&mut task).insert("PATH".to_owned(), path);
    assert_eq!(bench.run(task).outcome, Outcome::Succeeded);
    assert_eq!(output(&bench, 1), "-j2 --jobserver-auth=100,101\n");
    assert!(!ran.exists());
}

#[test]
fn a_make_that_knows_the_fifo_s_option_gets_a_fifo() {
    let bench = Bench::new(1);
    let path = bench.path("").display().to_string();
    let flags = |token: u64| {
        let mut task =
            with_cpus(assignment(token, &["/bin/sh", "-c", "echo $MAKEFLAGS"]), 2, JobserverStyle::Auto);
        env(&mut task).insert("PATH".to_owned(), path.clone());
        bench.run(task);
        output(&bench, token)
    };
    let fifo = format!("-j2 --jobserver-auth=fifo:{}\n", bench.paths().slot(0).join("jobserver").display());
    let pipe = "-j2 --jobserver-auth=100,101\n";
    // Without a make, all there is takes a fifo.
    assert_eq!(flags(1), fifo);
    bench.executable("gmake", "a program with --jobserver-auth");
    assert_eq!(flags(2), pipe);
    bench.executable("make", "a program with --jobserver-auth and --jobserver-style");
    assert_eq!(flags(3), fifo);
    // It is read again once it is another one.
    bench.executable("make", "an older program with --jobserver-auth");
    assert_eq!(flags(4), pipe);
    bench.executable("make", &format!("{}--jobserver-style", "x".repeat(70_000)));
    assert_eq!(flags(5), fifo);
}
