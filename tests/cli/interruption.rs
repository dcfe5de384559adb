//! Runs that end early: killed, interrupted, or in each other's way. What was built stays, nothing else does.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::tiny;
use super::world::{Ran, World};

/// Longest time for what takes a moment; a machine with other work takes longer.
const A_MOMENT: Duration = Duration::from_secs(30);
const ATOMS: [&str; 3] = ["tiny-apps/leaf", "tiny-apps/slow", "tiny-apps/slower"];

/// A world with two packages that compile for a while.
fn slow_world() -> World {
    let world = World::new();
    for (name, seconds) in [("slow", 5), ("slower", 6)] {
        let compile = format!("src_compile() {{ echo compiling; sleep {seconds}; }}\n");
        tiny::add(&world, &format!("tiny-apps/{name}-1"), &format!("SLOT=\"0\"\n{compile}{}", tiny::INSTALL));
    }
    world
}

/// A build that goes on while the test does, until it is ended or dropped.
pub(crate) struct Build {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
}

impl Build {
    pub(crate) fn start(world: &World, atoms: &[&str]) -> Self {
        let mut command = world.command(["build", "--json", "-j3"].iter().chain(atoms));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, events }
    }

    /// Reads events until one is as wanted.
    pub(crate) fn until(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            let line = self.events.next().expect("it ended").unwrap();
            if is_it(&serde_json::from_str(&line).unwrap()) {
                return;
            }
        }
    }

    /// Reads events until one package is built and the two slow ones compile.
    fn until_two_compile(&mut self) {
        let (mut built, mut compiling) = (0, 0);
        let mut quick = Value::Null;
        while built < 1 || compiling < 2 {
            let line = self.events.next().expect("it ended").unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["package"] == "tiny-apps/leaf-1" {
                quick = event["key"].clone();
            }
            built += usize::from(event["state"] == "built");
            compiling += usize::from(event["phase"] == "compile" && event["key"] != quick);
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end and returns the exit code, with the events not read before.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<Value>) {
        let rest = self.events.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that have to do with a world: it is named in their command line, or among their mounts.
fn processes_of(world: &World) -> Vec<String> {
    let name = world.path("").display().to_string();
    let name = name.trim_end_matches('/');
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&[read("cmdline"), read("mountinfo")].concat()).into_owned();
        if text.contains(name) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")));
        }
    }
    found
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < A_MOMENT, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

pub(crate) fn assert_nothing_is_left(world: &World) {
    eventually(&format!("no process is left of {:?}", processes_of(world)), || {
        processes_of(world).is_empty()
    });
    // The lock is held while a work directory is made.
    assert_eq!(entries(&world.state().join("work")), ["lock"]);
    assert_eq!(entries(&world.state().join("store/tmp")), [""; 0]);
}

/// What a run ended early left behind is built by the next, and nothing else.
fn assert_the_same_command_goes_on(world: &World) {
    let before = world.run(["store", "ls", "--json"]).lines().len();
    assert_eq!(before, 1, "what was built is in the store");
    let ran = world.run(["build", "--json"].iter().chain(&ATOMS));
    assert_eq!(ran.code, Some(0), "{ran}");
    let summary = ran.lines().pop().unwrap();
    assert_eq!((&summary["hits"], &summary["built"]), (&1.into(), &2.into()), "{summary}");
    let lines = ran.lines();
    let started: Vec<&Value> = lines.iter().filter(|event| event["event"] == "started").collect();
    assert!(started.iter().all(|event| event["package"] != "tiny-apps/leaf-1"), "{started:?}");
    assert_eq!(world.run(["store", "verify"]).code, Some(0));
    assert_nothing_is_left(world);
}

#[test]
fn a_killed_run_loses_only_what_was_not_finished() {
    let world = slow_world();
    let mut build = Build::start(&world, &ATOMS);
    build.until_two_compile();
    assert!(processes_of(&world).len() > 2, "the processes of builds are found: {:?}", processes_of(&world));

    let running = world.json(["status", "--json"]);
    assert_eq!(running["state"], "running", "{running}");
    assert_eq!(running["pid"], build.child.id(), "{running}");
    eventually("two jobs run", || {
        let running = world.json(["status", "--json"]);
        running["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "running").count() == 2
    });
    assert!(world.succeed(["status"]).contains("running for"));
    assert!(world.succeed(["logs", "tiny-apps/slow"]).contains("compiling"));
    let refused = world.refuse(["build", "tiny-apps/leaf"]);
    let pid = build.child.id().to_string();
    assert!(refused.contains("state/store") && refused.contains(&pid), "who holds it is named: {refused}");
    assert!(world.run(["plan", "tiny-apps/leaf"]).code == Some(0), "a plan needs no lock");

    build.signal("KILL");
    assert_eq!(build.end().0, None);
    eventually("its builds died with it", || processes_of(&world).is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&world.path("").display().to_string()), "{mounts}");
    assert_eq!(world.json(["status", "--json"])["state"], "interrupted");
    assert!(world.succeed(["status"]).contains("the same command goes on with it"));
    assert!(world.refuse(["finalize"]).contains("not complete"));
    assert_the_same_command_goes_on(&world);
}

#[test]
fn an_interrupted_run_ends_at_once_and_keeps_what_is_finished() {
    for signal in ["INT", "TERM"] {
        let world = slow_world();
        let mut build = Build::start(&world, &ATOMS);
        build.until_two_compile();
        let start = Instant::now();
        build.signal(signal);
        let (code, events) = build.end();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(code, Some(130), "{signal}: {events:?}");
        let summary = events.last().unwrap();
        assert_eq!(summary["interrupted"], true, "{summary}");
        assert_eq!((&summary["built"], &summary["failed"]), (&1.into(), &0.into()), "{summary}");
        assert_nothing_is_left(&world);
        assert_eq!(world.json(["status", "--json"])["summary"]["interrupted"], true);
        if signal == "INT" {
            assert_the_same_command_goes_on(&world);
        }
    }
}

#[test]
fn a_log_can_be_followed_to_the_end_of_its_build() {
    let world = slow_world();
    let mut build = Build::start(&world, &ATOMS);
    build.until_two_compile();
    let followed = Ran::of(&mut world.command(["logs", "-f", "tiny-apps/slow"]));
    assert_eq!(followed.code, Some(0), "{followed}");
    for line in ["compiling", "Source compiled.", "Completed installing tiny-apps/slow-1"] {
        assert!(followed.out.contains(line), "no {line} in {followed}");
    }
    assert_eq!(build.end().0, Some(0));
    assert_eq!(world.succeed(["logs", "tiny-apps/slow"]), followed.out, "what was followed is what is kept");
}

#[test]
fn a_build_that_takes_too_long_or_says_nothing_is_ended() {
    let world = slow_world();
    // Longer than a busy machine takes to make a root.
    world.append("swarmd.toml", "silence-seconds = 6\n");
    world.replace("overlay/tiny-apps/slow/slow-1.ebuild", "sleep 5", "sleep 60");
    let ran = world.run(["build", "--json", "tiny-apps/slow", "tiny-apps/leaf"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let lines = ran.lines();
    let failed = lines.iter().find(|event| event["state"] == "failed").unwrap();
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("printed nothing for 6 s") && reason.contains("compiling"), "{reason}");
    assert_eq!(lines.last().unwrap()["built"], 1);
    assert_nothing_is_left(&world);
}
