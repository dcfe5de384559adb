use super::*;

fn run(root: &PrivateRoot, script: &str) -> (i32, String) {
    let output = root.command("/bin/sh").unwrap().args(["-c", script]).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn root(work: &Path) -> PrivateRoot {
    let rights = probe().expect("these tests need namespaces");
    PrivateRoot::new(Path::new("/"), work, Scratch::Memory(64 << 20), rights).unwrap()
}

#[test]
fn what_is_written_stays_inside() {
    let work = tempfile::tempdir().unwrap();
    let (status, text) = run(
        &root(work.path()),
        "echo inside > /usr/bin/buildswarm-probe && cat /usr/bin/buildswarm-probe && rm /usr/bin/env && \
         echo 'x:1' >> /etc/services && test ! -e /usr/bin/env && id -u",
    );
    assert_eq!((status, text.as_str()), (0, "inside\n0\n"));
    assert!(!Path::new("/usr/bin/buildswarm-probe").exists() && Path::new("/usr/bin/env").exists());
}

#[test]
fn homes_network_and_processes_of_the_outside_are_out_of_reach() {
    let work = tempfile::tempdir().unwrap();
    let script = "ls -A /home /root /mnt | grep -v : | grep -c . ; ls /proc | grep -c '^[0-9]' ; \
                  grep -vc 'lo:\\|face\\|Inter' /proc/net/dev; hostname";
    let (_, text) = run(&root(work.path()), script);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0", "{text}");
    assert!(lines[1].parse::<u32>().unwrap() < 8, "{text}");
    assert_eq!(&lines[2..], ["0", "localhost"], "{text}");
}

#[test]
fn what_is_shown_read_only_cannot_be_changed() {
    let work = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "seen").unwrap();
    let shown = root(work.path()).with_read_only(outside.path(), Path::new("/srv/a b/there"));
    let (status, text) = run(&shown, "cat '/srv/a b/there/file'; echo x > '/srv/a b/there/file'");
    assert!(status != 0 && text.starts_with("seen"), "{text}");
    let shown = root(work.path()).with_writable(outside.path(), Path::new("/there"));
    assert_eq!(run(&shown, "echo new > /there/file").0, 0);
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "new\n");
}

#[test]
fn memory_is_bounded() {
    let work = tempfile::tempdir().unwrap();
    let (status, text) = run(&root(work.path()), "head -c 100000000 /dev/zero > /var/tmp/big");
    assert!(status != 0 && text.contains("No space left"), "{text}");
}

#[test]
fn a_path_with_a_meaning_for_overlays_is_refused() {
    let refused = PrivateRoot::new(Path::new("/a:b"), Path::new("/w"), Scratch::Disk, Rights::Root);
    assert!(refused.unwrap_err().to_string().contains("/a:b"));
}

#[test]
fn a_base_that_is_not_there_is_named() {
    let work = tempfile::tempdir().unwrap();
    let root =
        PrivateRoot::new(Path::new("/"), &work.path().join("gone"), Scratch::Disk, Rights::Root).unwrap();
    fs::write(work.path().join("gone"), "a file").unwrap();
    let text = root.command("/bin/true").unwrap_err().to_string();
    assert!(text.contains("gone"), "{text}");
}

#[test]
fn nothing_outlives_the_process_that_waits() {
    let work = tempfile::tempdir().unwrap();
    let marker = format!("31{}", std::process::id());
    let script = format!("setsid sleep {marker} & setsid sleep {marker} & sleep {marker}");
    let mut child = root(work.path()).command("/bin/sh").unwrap().args(["-c", &script]).spawn().unwrap();
    until(|| processes(&marker) >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| processes(&marker) == 0);
}

/// Waits for another process's doing, which nothing here is told of.
fn until(happened: impl Fn() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("did not happen within ten seconds");
}

fn processes(marker: &str) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(&format!("sleep\0{marker}")))
        .count()
}
