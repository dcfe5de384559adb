//! Power that goes off at any moment, on a real file system.
//!
//! A load runs on ext4 on a [recorded](crate::recorder) disk, and what it is promised is recorded between the writes.
//! A state in which a cut may leave the disk has all writes before the last flush before the cut, and any of those
//! since, in any order, some of them torn. Each state is mounted, and the store must keep every promise made before
//! the cut.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buildswarm_store::Store;
use buildswarm_store::faults::Weakness;
use tempfile::TempDir;

use crate::acts::lose_index;
use crate::child::Order;
use crate::content::Random;
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::recorder::{self, Disk, Event};
use crate::scratch;

/// Room for what is kept free for the index, and a load, in bytes.
const DISK_BYTES: u64 = 48 << 20;

/// The smallest part of a write that a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

const PAGE_BYTES: usize = 4096;

/// States made of one recording, before another is made.
const STATES_OF_A_RECORDING: u64 = 100;

/// Of so many states one loses its index too.
const REBUILT_EVERY: u64 = 4;

/// Enough blobs of 16 KiB that the index's log, which is written back at 4 MiB, begins again from its start.
const WARM: u64 = 300;

/// What is left out to see that it is missed, and its name.
const CONTROLS: [(Weakness, &str); 5] = [
    (Weakness::NoFileSync, "files not synced"),
    (Weakness::NoDirectorySync, "directories not synced"),
    (Weakness::NormalSync, "synchronous=NORMAL"),
    (Weakness::NoJournalSync, "journal not synced"),
    (Weakness::RowFirst, "row before file"),
];

/// States after which a weakness that nothing noticed is taken to go unnoticed.
const CONTROL_STATES_MAX: u64 = 200;

pub(crate) fn run(plan: &Plan) -> Report {
    if let Some(why) = impossible() {
        return Report::skipped(format!("power cuts: {why}"));
    }
    let mut report = Report::default();
    let mut random = plan.random();
    let asked = plan.of(200, 3000);
    let found = cut(plan, &mut random, None, asked, &mut report);
    report.count_of(plan, "power cuts: states", found.states, asked);
    for (weakness, name) in CONTROLS {
        let mut ignored = Report::default();
        let mut found = cut(plan, &mut random, Some(weakness), plan.of(20, 200), &mut ignored);
        // One that shows in every seventh state may not be among the first twenty.
        while found.red == 0 && found.states < CONTROL_STATES_MAX && !plan.is_over() {
            found.add(&cut(plan, &mut random, Some(weakness), 20, &mut ignored));
        }
        report.control(name, found.red, found.states);
        let unrecorded = ignored.violations.into_iter().filter(|found| found.starts_with("nothing"));
        report.violate(name, unrecorded);
    }
    report
}

/// Why it cannot be tried here.
fn impossible() -> Option<String> {
    for path in ["/dev/fuse", "/dev/loop-control"] {
        if File::options().read(true).write(true).open(path).is_err() {
            return Some(format!("{path} cannot be opened; it takes root"));
        }
    }
    for program in ["mkfs.ext4", "mount", "umount"] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("there is no {program}"));
        }
    }
    None
}

#[derive(Default)]
struct Found {
    states: u64,
    red: u64,
}

impl Found {
    fn add(&mut self, more: &Self) {
        self.states += more.states;
        self.red += more.red;
    }
}

/// Makes as many states as asked for and counts those in which a promise is broken.
fn cut(
    plan: &Plan,
    random: &mut Random,
    weakness: Option<Weakness>,
    asked: u64,
    report: &mut Report,
) -> Found {
    let mut found = Found::default();
    while found.states < asked && !plan.is_over() {
        let seed = random.next();
        let mut recording = match Recording::new(random.below(1 << 20), weakness) {
            Ok(recording) => recording,
            Err(error) => {
                report.violations.push(format!("nothing was recorded: {error}"));
                return found;
            }
        };
        let mut random = Random::new(seed);
        let cuts = recording.cuts(&mut random, STATES_OF_A_RECORDING.min(asked - found.states));
        for at in cuts {
            // That the journal has everything can only be seen without the index.
            let rebuilt = weakness == Some(Weakness::NoJournalSync) || found.states % REBUILT_EVERY == 0;
            let broken = recording.state(at, rebuilt, &mut random);
            found.states += 1;
            if broken.is_empty() {
                continue;
            }
            found.red += 1;
            // Which writes there were, and in which order, is never twice the same: the state itself is kept.
            let kept = weakness.is_none().then(|| recording.keep(seed, at)).flatten();
            report.violate(&format!("seed {seed}, cut before event {at}, kept as {kept:?}"), broken);
        }
    }
    found
}

/// A load, and everything that happened to its disk.
struct Recording {
    /// What is on the disk to stay after the first `flushed` events.
    image: Vec<u8>,
    flushed: usize,
    events: Vec<Event>,
    /// Number of the first event of the load itself.
    first: usize,
    scratch: TempDir,
}

impl Recording {
    fn new(round: u64, weakness: Option<Weakness>) -> std::io::Result<Self> {
        let scratch = scratch();
        let image = formatted(scratch.path())?;
        let disk = Disk::new(image.clone());
        let [served, mounted] = ["served", "mounted"].map(|name| scratch.path().join(name));
        fs::create_dir(&served)?;
        fs::create_dir(&mounted)?;
        let session = recorder::serve(&disk, &served)?;
        let mount = Mount::new(&served.join(recorder::NAME), &mounted)?;
        let order = Order {
            // What is left out matters most where there are files.
            files: weakness.is_some(),
            weakness,
            answered: true,
            warm: WARM,
            times: 2,
            threads: if weakness.is_some() { 1 } else { 1 + round % 2 },
            ..Order::new(&mounted.join("store"), round)
        };
        let mut child = order.command().spawn()?;
        let mut answer = child.stdin.take().unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line?;
            if !line.starts_with("reached ") {
                recorder::lock(&disk).say(line);
                answer.write_all(b"\n")?;
            }
        }
        let status = child.wait()?;
        let events = recorder::lock(&disk).take_events();
        drop(mount);
        drop(session);
        if !status.success() {
            return Err(std::io::Error::other(format!("the load ended with {status}")));
        }
        let warm = |event: &Event| matches!(event, Event::Said(line) if line == "warm");
        let first = events.iter().position(warm).unwrap() + 1;
        Ok(Self { image, flushed: 0, events, first, scratch })
    }

    /// Where the power goes off, in order: half of them just after a promise, when most is at stake.
    fn cuts(&self, random: &mut Random, count: u64) -> Vec<usize> {
        let after = |(at, event): (usize, &Event)| {
            matches!(event, Event::Said(line) if at >= self.first && line.starts_with("did"))
                .then_some(at + 1)
        };
        let promises: Vec<usize> = self.events.iter().enumerate().filter_map(after).collect();
        let mut cuts: Vec<usize> = (0..count)
            .map(|number| match number % 2 {
                0 => promises[random.below(promises.len() as u64) as usize],
                _ => self.first + random.below((self.events.len() - self.first) as u64 + 1) as usize,
            })
            .collect();
        cuts.sort_unstable();
        cuts
    }

    /// What is broken when the power went off before event `at`, which must not be before that of an earlier call.
    fn state(&mut self, at: usize, rebuilt: bool, random: &mut Random) -> Vec<String> {
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        self.flush(self.events[..at].iter().rposition(is_flush).unwrap_or(0));
        let path = self.state_path();
        self.write_state(&path, at, random).unwrap();
        let happened = &self.events[..at];
        let mut promises = Promises::default();
        for event in &happened[self.first.min(at)..] {
            if let Event::Said(line) = event {
                promises.hear(line);
            }
        }
        let mounted = self.scratch.path().join("mounted");
        let mount = match Mount::new(&path, &mounted) {
            Ok(mount) => mount,
            Err(error) => return vec![format!("the file system cannot be mounted: {error}")],
        };
        let path = mounted.join("store");
        if rebuilt {
            promises.forget_history();
        }
        let broken = match open(&path, rebuilt) {
            Ok(store) => promises.broken_even_after_collection(&store),
            Err(error) => vec![format!("the store does not open: {}", whole(&error))],
        };
        drop(mount);
        broken
    }

    fn state_path(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Keeps the last state, mounted since, for whoever looks into it.
    fn keep(&self, seed: u64, at: usize) -> Option<PathBuf> {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-cut-{seed}-{at}.ext4"));
        fs::copy(self.state_path(), &to).ok().map(|_| to)
    }

    /// Makes every write before event `to` part of the image.
    fn flush(&mut self, to: usize) {
        while self.flushed < to {
            if let Event::Write { offset, bytes } = &self.events[self.flushed] {
                let start = *offset as usize;
                self.image[start..start + bytes.len()].copy_from_slice(bytes);
            }
            self.flushed += 1;
        }
    }

    fn write_state(&self, path: &Path, at: usize, random: &mut Random) -> std::io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.image.len() as u64)?;
        for (number, page) in self.image.chunks(PAGE_BYTES).enumerate() {
            if page != [0; PAGE_BYTES] {
                file.write_all_at(page, (number * PAGE_BYTES) as u64)?;
            }
        }
        for (start, sectors) in survivors(&self.events[self.flushed..at], random) {
            file.write_all_at(sectors, start as u64)?;
        }
        Ok(())
    }
}

/// Opens a store, after its index was lost if so wanted.
fn open(path: &Path, rebuilt: bool) -> buildswarm_store::Result<Store> {
    if rebuilt {
        lose_index(path);
        Store::rebuild(path)?;
    }
    Store::open(path)
}

/// What of unflushed writes reached the disk, in the order in which it did: any of them, some only in part.
fn survivors<'a>(events: &'a [Event], random: &mut Random) -> Vec<(usize, &'a [u8])> {
    // From almost none to almost all of them.
    let quarters = random.below(4);
    let mut writes: Vec<(usize, &[u8])> = events
        .iter()
        .filter_map(|event| match event {
            Event::Write { offset, bytes } => Some((*offset as usize, &bytes[..])),
            Event::Flush | Event::Said(_) => None,
        })
        .filter(|_| random.below(4) < quarters)
        .collect();
    random.shuffle(&mut writes);
    let mut pieces = Vec::new();
    for (start, bytes) in writes {
        if random.below(5) > 0 {
            pieces.push((start, bytes));
            continue;
        }
        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.below(2) == 0 {
                pieces.push((start + number * SECTOR_BYTES, sector));
            }
        }
    }
    pieces
}

/// A small ext4 with a journal, as bytes.
fn formatted(dir: &Path) -> std::io::Result<Vec<u8>> {
    let path = dir.join("formatted");
    File::create(&path)?.set_len(DISK_BYTES)?;
    let options = ["-q", "-F", "-b", "4096", "-N", "2048", "-m", "0", "-J", "size=4", "-E"];
    let output = Command::new("mkfs.ext4")
        .args(options)
        .arg("lazy_itable_init=0,lazy_journal_init=0,nodiscard")
        .arg(&path)
        .output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let image = fs::read(&path)?;
    fs::remove_file(path)?;
    Ok(image)
}

/// A mounted image; the kernel gives the loop device back with the mount.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(image: &Path, at: &'a Path) -> std::io::Result<Self> {
        let output = Command::new("mount").args(["-t", "ext4", "-o", "loop"]).args([image, at]).output()?;
        if output.status.success() {
            return Ok(Self(at));
        }
        Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let is_gone = |lazy: &[&str]| {
            Command::new("umount").args(lazy).arg(self.0).status().is_ok_and(|status| status.success())
        };
        // What is busy goes when the last user does; all of it goes with this process, whose mounts are its own.
        if !is_gone(&[]) {
            is_gone(&["-l"]);
        }
    }
}
