use super::*;

const PLAIN: &str = "int data[2] = {1, 2}; int foo(int x) { return x + 1; }";
const PATCHED: &str = "int data[2] = {3, 4}; int foo(int x) { volatile int sum = 0; \
                       for (int i = 0; i < x; i++) sum += i * x; return sum; }";

#[test]
fn a_patch_inside_a_function_is_not_seen_and_no_program_sees_it() {
    let workshop = Workshop::new();
    let (before, after) = (workshop.library(PLAIN), workshop.library(PATCHED));
    assert_ne!(before, after);
    assert_eq!(library_differences(&before, &after), [""; 0]);
    assert_eq!(workshop.program_linked_with(&before), workshop.program_linked_with(&after));
}

#[test]
fn what_changes_a_linked_program_is_seen() {
    let workshop = Workshop::new();
    let before = workshop.library(PLAIN);
    let program = workshop.program_linked_with(&before);
    let other = |source: &str, options: &[&str]| {
        let after = workshop.library_with(source, options);
        assert_ne!(workshop.program_linked_with(&after), program, "{source}");
        library_differences(&before, &after)
    };
    let larger = "int data[4] = {1, 2, 3, 4}; int foo(int x) { return x + 1; }";
    assert_eq!(other(larger, &[])[0], "size of data symbol data 8 → 16");
    let aligned = PLAIN.replace("data[2]", "data[2] __attribute__((aligned(64)))");
    assert!(other(&aligned, &[])[0].starts_with("alignment of data symbol data "));
    let constant = PLAIN.replace("int data[2]", "const int data[2]");
    assert!(other(&constant, &[]).contains(&"place of data symbol data writable → read-only".to_owned()));
    assert_eq!(other(PLAIN, &["-Wl,-soname,libfoo.so.2"]), ["SONAME libfoo.so.1 → libfoo.so.2"]);
    // The name of a copy that two libraries would otherwise disagree about.
    let alias = format!("{PLAIN} extern int another[2] __attribute__((alias(\"data\"), weak));");
    let found = other(&alias, &[]);
    assert!(found.contains(&"data symbol another added".to_owned()), "{found:?}");
    assert!(found.contains(&"other name of data symbol data none → another".to_owned()), "{found:?}");
    // A program exports what of its own a library wants.
    let wanting = format!("{PLAIN} int main(void); int (*hook(void))(void) {{ return main; }}");
    let found = other(&wanting, &[]);
    assert_eq!(found, ["symbol hook added", "undefined symbol main added"]);
}

#[test]
fn the_order_of_symbols_counts_since_it_reaches_what_is_linked() {
    let workshop = Workshop::new();
    // Names enough that the linker's table of all symbols, from which the order comes, is a larger one.
    let hidden: String = (0..3_000)
        .map(|n| format!("__attribute__((visibility(\"hidden\"))) int hidden_{n}(void) {{ return {n}; }} "))
        .collect();
    let before = workshop.library(PLAIN);
    let after = workshop.library(&format!("{PLAIN} {hidden}"));
    let found = library_differences(&before, &after);
    let is_same = workshop.program_linked_with(&before) == workshop.program_linked_with(&after);
    // Whether it happens is the linker's affair; that it is seen if it does is ours.
    assert!(is_same || found.len() == 1 && found[0].starts_with("order of symbols "), "{found:?}");
    let few = workshop.library(&format!("{PLAIN} static int few(void) {{ return 1; }}"));
    assert_eq!(library_differences(&before, &few), [""; 0]);
}

#[test]
fn added_and_removed_symbols_are_named() {
    let workshop = Workshop::new();
    let before = workshop.library(PLAIN);
    let after = workshop.library(&format!("{PLAIN} void more(void) {{}} static void hidden(void) {{}}"));
    assert_eq!(library_differences(&before, &after), ["symbol more added"]);
    assert_eq!(library_differences(&after, &before), ["symbol more removed"]);
}

#[test]
fn what_a_symbol_is_counts() {
    let workshop = Workshop::new();
    let before = workshop.library("__thread int t; int foo(void) { return 1; } int v;");
    let attributed = |source: &str| library_differences(&before, &workshop.library(source));
    assert_eq!(
        attributed("__thread long long t; int foo(void) { return 1; } int v;"),
        ["size of symbol t 4 → 8"]
    );
    assert_eq!(
        attributed("__thread int t; __attribute__((weak)) int foo(void) { return 1; } int v;"),
        ["binding of symbol foo global → weak"]
    );
    assert_eq!(
        attributed(
            "__thread int t; __attribute__((visibility(\"protected\"))) int foo(void) { return 1; } int v;"
        ),
        ["visibility of symbol foo default → protected"]
    );
    assert!(
        attributed("int t; int foo(void) { return 1; } int v;")
            .contains(&"type of data symbol t thread-local → data".to_owned())
    );
}

#[test]
fn data_that_becomes_read_only_is_told_from_data_that_stays_writable() {
    let workshop = Workshop::new();
    let source = "int x; int *const pointer = &x;";
    let before = workshop.library_with(source, &["-Wl,-z,relro"]);
    let after = workshop.library_with(source, &["-Wl,-z,norelro"]);
    assert_eq!(library_differences(&before, &after), ["place of data symbol pointer relro → writable"]);
}

#[test]
fn an_indirect_function_is_a_function() {
    let workshop = Workshop::new();
    let direct = workshop.library("int foo(int x) { return x; }");
    let indirect = workshop.library(
        "static int one(int x) { return x; } static void *choose(void) { return one; } \
         int foo(int x) __attribute__((ifunc(\"choose\")));",
    );
    // The file says that it takes GNU's loader; the symbol is the same.
    assert_eq!(library_differences(&direct, &indirect), ["OS ABI 0 → 3"]);
}

#[test]
fn versions_count_and_which_is_the_default() {
    let workshop = Workshop::new();
    let library_differences = |before: &[u8], after: &[u8]| -> Vec<String> {
        // Some linkers define a symbol for each version.
        let is_marker = |text: &String| text.starts_with("data symbol ");
        library_differences(before, after).into_iter().filter(|text| !is_marker(text)).collect()
    };
    let one = "V1 { global: foo; local: *; };";
    let source = "int foo(int x) { return x; } int bar(int x) { return x; }";
    let before = workshop.versioned(source, one);
    assert_eq!(
        library_differences(&workshop.library("int foo(int x) { return x; }"), &before),
        ["version V1 added", "version libfoo.so.1 added", "symbol foo removed", "symbol foo@@V1 added"]
    );
    let two = "V1 { global: foo; local: *; }; V2 { global: bar; } V1;";
    let after = workshop.versioned(source, two);
    assert_eq!(library_differences(&before, &after), ["version V2 added", "symbol bar@@V2 added"]);
    let childless = workshop.versioned(source, "V1 { global: foo; local: *; }; V2 { global: bar; };");
    assert_eq!(library_differences(&after, &childless), ["version V2 changed"]);
    // A version that nothing has is still asked for, as with `GLIBC_ABI_DT_RELR`.
    let marker = workshop.versioned(source, "V1 { global: foo; local: *; }; MARKER {};");
    assert_eq!(library_differences(&before, &marker), ["version MARKER added"]);

    let old = "__asm__(\".symver old, foo@V1\"); int old(int x) { return x; }";
    let script = "V1 { global: foo; local: *; }; V2 { global: bar; } V1;";
    let hidden = workshop.versioned(&format!("{old} int bar(int x) {{ return x; }}"), script);
    let found = library_differences(&after, &hidden);
    assert_eq!(found, ["version of symbol foo@V1 the default → not the default"]);
}

#[test]
fn needed_libraries_and_search_paths_count() {
    let workshop = Workshop::new();
    const PLAIN: &str = "int puts(const char *); int foo(void) { return puts(\"\"); }";
    let before = workshop.library(PLAIN);
    let needing = workshop.library_with(PLAIN, &["-Wl,--no-as-needed", "-lm"]);
    assert_eq!(library_differences(&before, &needing), ["NEEDED libc.so.6 → libm.so.6 libc.so.6"]);
    let searching = workshop.library_with(PLAIN, &["-Wl,--enable-new-dtags,-rpath,/opt/lib"]);
    assert_eq!(library_differences(&before, &searching), ["RUNPATH none → /opt/lib"]);
    let symbolic = workshop.library_with(PLAIN, &["-Wl,-Bsymbolic"]);
    assert!(library_differences(&before, &symbolic).iter().any(|text| text.starts_with("FLAGS none → ")));
}

#[test]
fn stripping_debugging_and_optimising_are_not_seen() {
    let workshop = Workshop::new();
    let source = "int data[2] = {1, 2}; int foo(int x) { int sum = 0; \
                  for (int i = 0; i < x; i++) sum += i ^ x; return sum; }";
    let before = workshop.library_with(source, &["-O2", "-Wl,--build-id=0x01"]);
    for options in [&["-O3", "-Wl,--build-id=0x02"][..], &["-O2", "-g"], &["-O2", "-Wl,--build-id=none"]] {
        assert_eq!(
            library_differences(&before, &workshop.library_with(source, options)),
            [""; 0],
            "{options:?}"
        );
    }
    workshop.library_with(source, &["-O2", "-g", "-Wl,--build-id=0x03"]);
    workshop.run("objcopy", &["--only-keep-debug", "library.so", "library.debug"]);
    workshop.run("strip", &["--strip-all", "library.so"]);
    workshop.run("objcopy", &["--add-gnu-debuglink=library.debug", "library.so"]);
    assert_eq!(library_differences(&before, &workshop.read("library.so")), [""; 0]);
    let debug = workshop.read("library.debug");
    assert!(of_file("usr/lib64/libfoo.so.1.debug", &debug).entries().is_empty());
}

#[test]
fn warnings_that_a_linker_prints_for_a_symbol_count() {
    let workshop = Workshop::new();
    let warning =
        "static const char w[] __attribute__((used, section(\".gnu.warning.foo\\n#\"))) = \"mind foo\";";
    let before = workshop.library(PLAIN);
    let after = workshop.library(&format!("{PLAIN} {warning}"));
    let found = library_differences(&before, &after);
    assert_eq!(found, ["section .gnu.warning.foo added"]);
}

#[test]
fn programs_count_by_being_there() {
    let workshop = Workshop::new();
    let program = |source: &str, options: &[&str]| {
        fs::write(workshop.path("program.c"), source).unwrap();
        workshop.run("cc", &[&["-o", "program", "program.c"], options].concat());
        workshop.read("program")
    };
    for kind in ["-pie", "-no-pie"] {
        let before = of_file("usr/bin/foo", &program("int main(void) { return 0; }", &["-fPIE", kind]));
        let after = of_file("usr/bin/foo", &program("int main(void) { return 1; }", &["-fPIE", kind]));
        assert!(matches!(before.entries()["usr/bin/foo"], Entry::Program { .. }), "{kind}");
        assert_eq!(differences(&before, &after), [""; 0]);
        assert_eq!(differences(&before, &Interface::default()), ["usr/bin/foo removed"]);
        let script = of_file("usr/bin/foo", b"#!/bin/sh\n");
        assert_eq!(differences(&before, &script), ["usr/bin/foo: kind program → file"]);
    }
    // A loader that can be started, as libc.so.6 can, is linked with all the same.
    let both = program("int main(void) { return 0; }", &["-fPIE", "-pie", "-Wl,-soname,libfoo.so.1"]);
    assert!(matches!(of_file("usr/bin/foo", &both).entries()["usr/bin/foo"], Entry::SharedObject { .. }));
    // What no loader starts is a program only where programs are: kernels and firmware are inputs of builds.
    let fixed = program("void _start(void) {}", &["-static", "-nostdlib"]);
    for (path, is_program) in [
        ("usr/bin/foo", true),
        ("usr/libexec/foo/bar", true),
        ("usr/share/qemu/firmware.elf", false),
        ("usr/src/linux/bin/vmlinux", false),
    ] {
        let interface = of_file(path, &fixed);
        assert_eq!(matches!(interface.entries()[path], Entry::Program { .. }), is_program, "{path}");
    }
}

#[test]
fn a_module_without_soname_is_a_shared_object() {
    let workshop = Workshop::new();
    let module = |source: &str| {
        fs::write(workshop.path("module.c"), source).unwrap();
        workshop.run("cc", &["-shared", "-fPIC", "-o", "module.so", "module.c"]);
        workshop.read("module.so")
    };
    let (before, after) = (module("int init(void) { return 0; }"), module("int init(void) { return 1; }"));
    assert_ne!(before, after);
    assert_eq!(library_differences(&before, &after), [""; 0]);
}

#[test]
fn what_is_no_orderly_elf_file_counts_by_content() {
    let workshop = Workshop::new();
    let library = workshop.library(PLAIN);
    let whole = |bytes: &[u8]| {
        let interface = of_file(LIBRARY, bytes);
        let content = Digest::of(bytes);
        matches!(&interface.entries()[LIBRARY], Entry::File { content: found, .. } if *found == content)
    };
    assert!(!whole(&library));
    for len in [0, 3, 4, 5, 16, 63, 64, library.len() / 2, library.len() - 1] {
        assert!(whole(&library[..len]), "cut to {len} bytes");
    }
    assert!(whole(b"\x7fELF and then something else"));
    let mut headless = library.clone();
    headless[40..48].fill(0);
    assert!(whole(&headless), "without section headers nothing can be linked with it");
    workshop.run("cc", &["-c", "-fPIC", "-o", "object.o", "library.c"]);
    assert!(whole(&workshop.read("object.o")), "an object file is linked as it is");
}
