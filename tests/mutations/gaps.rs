//! The gaps that the document admits: keys that stay where they should move. A row that turns red here is a gap that
//! was closed; the document then has to say so.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::trial::{Keys, Row, executable, row};

pub(crate) fn rows() -> Vec<Row> {
    let native = |trial: &mut crate::trial::Trial<'_>| {
        trial.make_conf("MYCMAKEARGS=\"-DCMAKE_C_FLAGS='-march=native'\"");
    };
    vec![
        row("gap: The base beside its packages", "file of the base edited", Keys::None, |trial| {
            trial.world.append("base/etc/app.conf", "edited\n");
        })
        .based(),
        row(
            "gap: Below the tools prefixes and the Portage prefix",
            "what a tool loads from its prefix",
            Keys::None,
            |trial| trial.world.append("kit/lib/data", "more\n"),
        )
        .based(),
        row("gap: Modes and links in `FILESDIR`, patches and hooks", "executable bit", Keys::None, |trial| {
            let path = trial.world.path("overlay/key-apps/sourced/files/fix.patch");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }),
        row(
            "gap: Modes and links in `FILESDIR`, patches and hooks",
            "link instead of a file",
            Keys::None,
            |trial| {
                let files = trial.world.path("overlay/key-apps/sourced/files");
                fs::rename(files.join("fix.patch"), trial.world.path("overlay/key-apps/sourced/fix"))
                    .unwrap();
                symlink("../fix", files.join("fix.patch")).unwrap();
            },
        ),
        row("gap: What hooks read", "file that a bashrc sources", Keys::None, |trial| {
            trial.etc("sourced-by-bashrc", "HOOK=2\n");
        })
        .given(|trial| {
            trial.etc("bashrc", "source /etc/portage/sourced-by-bashrc\n");
            trial.etc("sourced-by-bashrc", "HOOK=1\n");
        }),
        row("gap: `native` inside other words", "another processor", Keys::None, |trial| {
            trial.world.write("kit/cpu", "-march=skylake\n");
        })
        .given(native)
        .based(),
        row("gap: ccache", "a directory for ccache", Keys::None, |trial| {
            fs::create_dir(trial.world.path("ccache")).unwrap();
            let line = format!("slots = 2\nccache = {:?}", trial.world.path("ccache"));
            trial.world.replace("swarmd.toml", "slots = 2", &line);
        }),
        row("gap: The kernel", "another file of the kernel sources", Keys::None, |trial| {
            trial.world.write("base/usr/src/linux/include/generated/autoconf.h", "#define NEW\n");
        })
        .based(),
        row("gap: The compiler in `CC`", "bytes of another compiler that CC names", Keys::None, |trial| {
            trial.world.append("kit/roles/other-cc", "# better\n");
            executable(&trial.world.path("kit/roles/other-cc"));
        })
        .given(|trial| trial.make_conf("CC=\"other-cc\""))
        .based(),
    ]
}
