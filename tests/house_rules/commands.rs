//! The README against the command line and the configuration: everything there is, and nothing else.

use std::collections::BTreeSet;

use buildswarm_tests::text;

use super::none_of;

/// `TestFailContinue` and `test_fail_continue` as a person types it.
fn kebab(name: &str) -> String {
    let mut typed = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !typed.is_empty() {
            typed.push('-');
        }
        typed.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    typed
}

/// The lines of an item that begins with `start` and ends with a brace at the beginning of a line.
fn item<'a>(source: &'a str, start: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    source.split_once(start).and_then(|(_, rest)| rest.split_once("\n}")).map_or("", |(item, _)| item).lines()
}

/// Variants of an enum with the type each holds, if it is a tuple of one.
fn variants<'a>(source: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    item(source, &format!("pub enum {name} {{"))
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| {
            let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
            let held = line[end..].strip_prefix('(').and_then(|rest| rest.split_once(')'));
            (&line[..end], held.map_or("", |(held, _)| held))
        })
        .collect()
}

/// Every command, those of a group with the group's name before them.
fn commands(cli: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for (name, held) in variants(cli, "Command") {
        let group = variants(cli, held);
        if held.is_empty() || group.is_empty() {
            commands.insert(kebab(name));
        }
        commands.extend(group.iter().map(|(sub, _)| format!("{} {}", kebab(name), kebab(sub))));
    }
    commands
}

/// Every option of any command, long and short, as it is typed.
fn options(cli: &str) -> BTreeSet<String> {
    let mut options: BTreeSet<String> = ["--help", "--version", "-h", "-V"].map(str::to_owned).into();
    for rest in cli.split("#[arg(").skip(1) {
        let Some((attribute, after)) = rest.split_once(")]") else { continue };
        let field =
            after.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', '/']));
        let field =
            field.unwrap_or_default().trim_start_matches("pub ").split(':').next().unwrap_or_default();
        let words: Vec<&str> = attribute.split(',').map(str::trim).collect();
        if let Some(long) = words.iter().find(|word| **word == "long" || word.starts_with("long =")) {
            let name = long.split('"').nth(1).map_or_else(|| kebab(field), str::to_owned);
            options.insert(format!("--{name}"));
        }
        if let Some(short) = words.iter().find(|word| **word == "short" || word.starts_with("short =")) {
            let letter =
                short.split('\'').nth(1).and_then(|name| name.chars().next()).or(field.chars().next());
            options.extend(letter.map(|letter| format!("-{letter}")));
        }
    }
    options
}

/// What a document shows to be typed: the words of each line of a code block that runs the program.
fn shown(document: &str) -> Vec<Vec<String>> {
    let blocks = document.split("\n```").skip(1).step_by(2);
    blocks
        .flat_map(str::lines)
        .map(|line| line.strip_prefix("$ ").unwrap_or(line))
        .map(|line| line.split(" #").next().unwrap_or_default())
        .filter_map(|line| line.strip_prefix("build-swarm "))
        .map(|line| {
            line.split_whitespace()
                .take_while(|word| !["--", ">", "|"].contains(word))
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

fn shown_wrong(
    shown: &[Vec<String>],
    commands: &BTreeSet<String>,
    options: &BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for words in shown {
        let mut names = words.iter().filter(|word| !word.starts_with('-'));
        let first = names.next().map_or("", String::as_str);
        let second = names.next().map_or("", String::as_str);
        if !commands.contains(first) && !commands.contains(&format!("{first} {second}")) {
            wrong.push(format!("README.md: `build-swarm {}`: there is no such command", words.join(" ")));
        }
        for word in words.iter().filter(|word| word.starts_with('-')) {
            let name = word.split('=').next().unwrap_or_default();
            let is_known = if name.starts_with("--") {
                options.contains(name)
            } else {
                name.chars().skip(1).all(|letter| options.contains(&format!("-{letter}")))
            };
            if !is_known {
                wrong
                    .push(format!("README.md: `build-swarm {}`: there is no option {name}", words.join(" ")));
            }
        }
    }
    wrong
}

fn undocumented<'a>(document: &str, names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let is_there = |name: &str| document.contains(&format!("`{name}`"));
    names
        .into_iter()
        .filter(|name| !is_there(name))
        .map(|name| format!("README.md does not name `{name}`"))
        .collect()
}

/// Every configuration key with its section, as in `build.slots`.
fn keys(config: &str, name: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for line in item(config, &format!("pub struct {name} {{")) {
        let Some((field, kind)) = line.trim().strip_prefix("pub ").and_then(|line| line.split_once(": "))
        else {
            continue;
        };
        let kind = kind.trim_end_matches(',');
        let inner = keys_of_section(config, kind);
        if inner.is_empty() {
            keys.insert(kebab(field));
        }
        keys.extend(inner.iter().map(|key| format!("{}.{key}", kebab(field))));
    }
    keys
}

fn keys_of_section(config: &str, kind: &str) -> BTreeSet<String> {
    if config.contains(&format!("pub struct {kind} {{")) { keys(config, kind) } else { BTreeSet::new() }
}

/// Keys in the TOML block of a document, those in comments (`# key = …`) too.
fn documented_keys(document: &str) -> BTreeSet<String> {
    let block = document.split_once("\n```toml\n").and_then(|(_, rest)| rest.split_once("\n```"));
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in block.map_or("", |(block, _)| block).lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

fn keys_wrong(documented: &BTreeSet<String>, keys: &BTreeSet<String>) -> Vec<String> {
    let missing = keys.difference(documented).map(|key| format!("README.md does not show the key {key}"));
    let surplus =
        documented.difference(keys).map(|key| format!("README.md shows the key {key}, which there is not"));
    missing.chain(surplus).collect()
}

/// Numbers of the list that `--help` ends with.
fn exit_codes(cli: &str) -> Vec<String> {
    let list = cli.split_once("Exit status:").and_then(|(_, rest)| rest.split_once("\";"));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    list.map_or("", |(list, _)| list).lines().filter_map(first).collect()
}

fn codes_wrong(document: &str, codes: &[String]) -> Vec<String> {
    let is_there = |code: &str| document.lines().any(|line| line.starts_with(&format!("| {code} |")));
    codes
        .iter()
        .filter(|code| !is_there(code))
        .map(|code| format!("README.md lacks exit code {code}"))
        .collect()
}

const CLI: &str = "bins/src/cli.rs";

#[test]
fn every_command_is_in_the_readme() {
    let commands = commands(&text(CLI));
    assert!(commands.contains("build") && commands.contains("store ls"), "{commands:?}");
    none_of(&undocumented(&text("README.md"), &commands));
}

#[test]
fn what_the_readme_shows_can_be_typed() {
    let (readme, cli) = (text("README.md"), text(CLI));
    let shown = shown(&readme);
    assert!(shown.len() > 5, "the examples are looked for in the wrong place");
    none_of(&shown_wrong(&shown, &commands(&cli), &options(&cli)));
}

#[test]
fn the_readme_shows_all_keys_and_no_others() {
    let keys = keys(&text("bins/src/config.rs"), "Config");
    assert!(keys.contains("state") && keys.contains("build.slots"), "{keys:?}");
    none_of(&keys_wrong(&documented_keys(&text("README.md")), &keys));
}

#[test]
fn the_readme_has_every_exit_code() {
    let codes = exit_codes(&text(CLI));
    assert!(codes.len() >= 4, "{codes:?}");
    none_of(&codes_wrong(&text("README.md"), &codes));
}

/// A small command line for the tests below.
const SAMPLE: &str = "\
pub enum Command {
    /// Build
    Build(Build),
    Store(StoreCommand),
    Man {
        directory: PathBuf,
    },
}
pub struct Build {
    /// Ask
    #[arg(short, long)]
    pub ask: bool,
    #[arg(short = 'N', long, value_name = \"X\")]
    pub new_use: bool,
    #[arg(long = \"emerge-option\", value_name = \"OPTION\")]
    pub emerge_options: Vec<String>,
}
pub enum StoreCommand {
    Ls {
        #[arg(long)]
        json: bool,
    },
}
Exit status:
  0    done
  3    odd\";
";

#[test]
fn the_command_line_is_read() {
    assert_eq!(commands(SAMPLE).into_iter().collect::<Vec<_>>(), ["build", "man", "store ls"]);
    let options = options(SAMPLE);
    let expected =
        ["-N", "-V", "-a", "-h", "--ask", "--emerge-option", "--help", "--json", "--new-use", "--version"];
    assert_eq!(options, expected.map(str::to_owned).into());
}

#[test]
fn an_undocumented_command_is_found() {
    let wrong = undocumented("`build` and `store ls`", &commands(SAMPLE));
    assert_eq!(wrong, ["README.md does not name `man`"]);
}

#[test]
fn what_cannot_be_typed_is_found() {
    let document = "x\n```\n$ build-swarm build --ask -aN x    # --why\nbuild-swarm built x\nbuild-swarm store rm\n\
                    build-swarm build --fast -x\nbuild-swarm store ls --json -- --any\n```\n";
    let wrong = shown_wrong(&shown(document), &commands(SAMPLE), &options(SAMPLE));
    let parts = ["`build-swarm built x`", "`build-swarm store rm`", "no option --fast", "no option -x"];
    assert_eq!(wrong.len(), parts.len(), "{wrong:?}");
    assert!(wrong.iter().zip(parts).all(|(wrong, part)| wrong.contains(part)), "{wrong:?}");
}

#[test]
fn missing_and_invented_keys_are_found() {
    let config = "pub struct Config {\n    pub state: X,\n    pub build: Build,\n}\npub struct Build {\n    \
                  pub log_bytes: u64,\n    pub slots: u32,\n}\n";
    let keys = keys(config, "Config");
    assert_eq!(keys.iter().collect::<Vec<_>>(), ["build.log-bytes", "build.slots", "state"]);
    let documented =
        documented_keys("x\n```toml\n# Words = words\n# state = \"x\"\n[build]\nslots = 0\nspeed = 1\n```\n");
    let wrong = keys_wrong(&documented, &keys);
    assert!(
        wrong.len() == 2 && wrong[0].contains("build.log-bytes") && wrong[1].contains("build.speed"),
        "{wrong:?}"
    );
}

#[test]
fn a_missing_exit_code_is_found() {
    assert_eq!(codes_wrong("| 0 | done |\n", &exit_codes(SAMPLE)), ["README.md lacks exit code 3"]);
}
