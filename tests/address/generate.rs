//! Specifications at random: every field, every identity, texts that are easy to get wrong, a few long ones.

use std::sync::Arc;

use buildswarm_core::policy::Policy;
use buildswarm_core::sorted::SortedSet;
use buildswarm_core::spec::{
    BuildInputs, BuildSpec, Dependency, DependencyClasses, Distfile, Identity, Reach, Recipe, Surroundings,
    Tool,
};
use buildswarm_core::{BuildKey, Digest};

/// Pieces of texts: of one to four bytes, that JSON escapes, that look alike, that sort otherwise in UTF-16.
const PIECES: [&str; 24] = [
    "",
    "a",
    "b",
    "A",
    "-O2",
    "0",
    "/",
    "=",
    " ",
    "\n",
    "\0",
    "\"",
    "\\",
    "'",
    "é",
    "e\u{301}",
    "ß",
    "ﬀ",
    "ע",
    "\u{200d}",
    "\u{ffff}",
    "\u{10000}",
    "🐧",
    "\u{10ffff}",
];

/// A generator whose numbers follow from the first one (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("below a usize")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// How many there are of something: mostly few.
    fn count(&mut self) -> usize {
        if self.one_in(60) { self.below(40) } else { self.below(4) }
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.one_in(3)).then(|| make(self))
    }

    fn text(&mut self) -> String {
        let pieces = if self.one_in(100) { 1 + self.below(900) } else { self.below(5) };
        (0..pieces).map(|_| self.pick(&PIECES)).collect()
    }

    /// Sometimes one of a few, so that equal ones meet.
    fn digest(&mut self) -> Digest {
        if self.one_in(4) {
            return Digest::from_bytes([self.byte() % 3; Digest::LEN]);
        }
        let mut bytes = [0; Digest::LEN];
        bytes.fill_with(|| self.byte());
        Digest::from_bytes(bytes)
    }

    fn set(&mut self) -> SortedSet {
        (0..self.count()).map(|_| self.text()).collect()
    }

    fn map<V, C: FromIterator<(String, V)>>(&mut self, mut value: impl FnMut(&mut Self) -> V) -> C {
        (0..self.count()).map(|_| (self.text(), value(self))).collect()
    }

    fn named(&mut self) -> Vec<(String, Digest)> {
        (0..self.count()).map(|_| (self.text(), self.digest())).collect()
    }

    fn version(&mut self) -> String {
        let mut text = self.below(30).to_string();
        for _ in 0..self.below(3) {
            text += &format!(".{:02}", self.below(12));
        }
        text += self.pick(&["", "", "a", "z"]);
        for _ in 0..self.below(3) {
            text += self.pick(&["_alpha", "_beta2", "_pre", "_rc10", "_p0"]);
        }
        text + self.pick(&["", "-r0", "-r1", "-r07"])
    }

    fn slot(&mut self) -> String {
        let text = self.pick(&["0", "3.12", "_x", "5-qt", "a+b", "stable/1", "0/1.2.3", "0/0"]);
        text.to_owned()
    }

    fn identity(&mut self) -> Identity {
        match self.below(4) {
            0 => Identity::Built(BuildKey::from_digest(self.digest())),
            1 => Identity::Installed(self.digest()),
            _ => Identity::Reach(Reach {
                interface: self.maybe(Self::digest),
                payload: self.maybe(Self::digest),
                tool: self.maybe(|dice| Tool { use_flags: dice.set(), sources: dice.digest() }),
            }),
        }
    }

    fn dependency(&mut self) -> Dependency {
        Dependency {
            name: if self.one_in(4) { self.text() } else { format!("cat/name{}", self.below(9)) },
            version: self.maybe(Self::version),
            slot: if self.one_in(4) { self.text() } else { self.slot() },
            sub_slot: self.maybe(Self::slot),
            classes: DependencyClasses::from_bits(self.byte() % 128).expect("seven classes"),
            identity: self.identity(),
        }
    }

    /// In any order; some of them twice, some twice but for their classes.
    fn dependencies(&mut self) -> Vec<Dependency> {
        let count = if self.one_in(40) { 60 + self.below(20) } else { self.below(6) };
        let mut dependencies: Vec<_> = (0..count).map(|_| self.dependency()).collect();
        if !dependencies.is_empty() && self.one_in(2) {
            let mut again = dependencies[self.below(count)].clone();
            if self.one_in(2) {
                again.classes = DependencyClasses::TOOL;
            }
            dependencies.insert(self.below(count), again);
        }
        dependencies
    }

    fn recipe(&mut self) -> Recipe {
        Recipe {
            ebuild: self.digest(),
            eclasses: self.map(Self::digest),
            files: self.map(Self::digest),
            patches: self.named(),
            hooks: self.named(),
            qa_checks: self.map(Self::digest),
            saved_config: self.map(Self::digest),
        }
    }

    fn distfile(&mut self) -> Distfile {
        let size = if self.one_in(2) { self.number() } else { self.number() % 300 };
        Distfile { size, hashes: self.map(Self::text) }
    }

    pub(crate) fn spec(&mut self) -> BuildSpec {
        let name = self.pick(&["a/b", "x11-libs/gtk+", "_c/n_", "dev-qt/qt-5compat", "c++.x/a-1-b"]);
        BuildSpec {
            policy: Policy::ALL[self.below(Policy::ALL.len())],
            inputs: BuildInputs {
                package: format!("{name}-{}", self.version()).parse().expect("a name by PMS 3"),
                slot: self.slot().parse().expect("a slot by PMS 7.2"),
                repository: self.text(),
                eapi: self.text(),
                recipe: self.recipe(),
                distfiles: self.map(Self::distfile),
                use_flags: self.set(),
                surroundings: Arc::new(Surroundings {
                    environment: self.map(Self::text),
                    features: self.set(),
                    toolchain: self.map(Self::text),
                    build_root: self.digest(),
                }),
            },
            dependencies: self.dependencies(),
        }
    }

    /// With one to three bytes changed, put in or taken out. Mostly early ones, where lengths and counts are many.
    pub(crate) fn changed(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let reach = if self.one_in(2) { bytes.len() } else { bytes.len().min(300) };
            let at = self.below(reach);
            match self.below(6) {
                0 => bytes[at] = self.byte(),
                1 | 2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes[at] = bytes[at].wrapping_sub(1),
                4 => bytes.insert(at, self.byte()),
                _ => drop(bytes.remove(at)),
            }
        }
        if self.one_in(30) {
            bytes.push(self.byte());
        }
        bytes
    }
}
