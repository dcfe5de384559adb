#!/usr/bin/env python3
"""The keys of builds a second time: from docs/address.md and not from the code, to find where they differ.

    second.py check FILE    compares lines of JSON (below) with what it computes; exits with 1 at a difference
    second.py vectors FILE  the same for a JSON list of such objects, after a test of this program's BLAKE3
    second.py show FILE     a stored specification as JSON, with its key

A line is {"value": a specification, "preimage": hex, "key": hex, "sources": hex}, where sources is the digest
"tool sources" of its inputs; or {"refused": hex}, bytes that no reader may take for a specification.
"""

import itertools
import json
import multiprocessing
import os
import re
import sys

from blake3 import blake3, derive

EXACT = "buildswarm 2026-11-24 exact build key"
REUSE = "buildswarm 2026-11-24 reuse build key"
INPUTS = "buildswarm 2026-11-24 build inputs"
AROUND = "buildswarm 2026-11-24 surroundings"
DEPENDENCY = "buildswarm 2026-11-24 dependency"
SOURCES = "buildswarm 2026-11-24 tool sources"
FORMAT = 2
BATCH = 1024


class Refused(Exception):
    """Not a specification, or not in the one spelling it has."""


def require(condition, message):
    if not condition:
        raise Refused(message)


# The canonical form: a kind of payload is a pair of functions, to bytes and back.


def size(number):
    return number.to_bytes(4, "little")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at : self.at + count]
        require(len(piece) == count, "ends too early")
        self.at += count
        return piece

    def size(self):
        return int.from_bytes(self.take(4), "little")

    def item(self):
        return self.take(self.size())

    def end(self):
        require(self.at == len(self.data), "bytes after the end")


class Number:
    @staticmethod
    def write(value):
        require(type(value) is int and 0 <= value < 1 << 64, "no number of 64 bits")
        return value.to_bytes(8, "little")

    @staticmethod
    def read(data):
        require(len(data) == 8, "a number has 8 bytes")
        return int.from_bytes(data, "little")


class Text:
    def __init__(self, pattern=None):
        self.pattern = pattern and re.compile(pattern, re.ASCII)

    def write(self, value):
        require(type(value) is str, "no text")
        require(not self.pattern or self.pattern.fullmatch(value), "not spelt as it has to be")
        return value.encode()

    def read(self, data):
        try:
            value = data.decode()
        except UnicodeDecodeError:
            raise Refused("not UTF-8") from None
        require(not self.pattern or self.pattern.fullmatch(value), "not spelt as it has to be")
        return value


class Bytes:
    @staticmethod
    def write(value):
        return value


class Digest:
    @staticmethod
    def write(value):
        require(re.fullmatch("[0-9a-f]{64}", value), "no digest")
        return bytes.fromhex(value)

    @staticmethod
    def read(data):
        require(len(data) == 32, "a digest has 32 bytes")
        return data.hex()


class Classes:
    @staticmethod
    def write(value):
        require(0 <= value < 128, "no sum of classes")
        return bytes([value])

    @staticmethod
    def read(data):
        require(len(data) == 1 and data[0] < 128, "no sum of classes")
        return data[0]


class List:
    """`ordered`: sorted by the bytes of the items, without duplicates."""

    def __init__(self, item, ordered=False):
        self.item, self.ordered = item, ordered

    def write(self, value):
        items = [self.item.write(each) for each in value]
        if self.ordered:
            items = sorted(set(items))
        return size(len(items)) + b"".join(size(len(each)) + each for each in items)

    def read(self, data):
        reader = Reader(data)
        items = [reader.item() for _ in range(reader.size())]
        reader.end()
        if self.ordered:
            require(all(a < b for a, b in zip(items, items[1:])), "out of order")
        return [self.item.read(each) for each in items]


class Map:
    def __init__(self, item):
        self.item = item

    def write(self, value):
        entries = sorted((TEXT.write(key), self.item.write(each)) for key, each in value.items())
        return size(len(entries)) + b"".join(size(len(k)) + k + size(len(v)) + v for k, v in entries)

    def read(self, data):
        reader = Reader(data)
        entries = [(reader.item(), reader.item()) for _ in range(reader.size())]
        reader.end()
        require(all(a[0] < b[0] for a, b in zip(entries, entries[1:])), "out of order")
        return {TEXT.read(key): self.item.read(each) for key, each in entries}


class Record:
    """Fields as (tag, name, kind) or, if they may be absent, (tag, name, kind, True)."""

    def __init__(self, *fields):
        self.fields = [(*field, False)[:4] for field in fields]

    def write(self, value):
        names = {name for _, name, _, _ in self.fields}
        require(value.keys() <= names, f"unknown fields {value.keys() - names}")
        parts = []
        for tag, name, kind, may_lack in self.fields:
            if name in value:
                payload = kind.write(value[name])
                parts += [bytes([tag]), size(len(payload)), payload]
            else:
                require(may_lack, f"no field {name}")
        return b"".join(parts)

    def read(self, data):
        reader, value = Reader(data), {}
        for tag, name, kind, may_lack in self.fields:
            if data[reader.at : reader.at + 1] == bytes([tag]):
                reader.take(1)
                value[name] = kind.read(reader.item())
            else:
                require(may_lack, f"no field {name}")
        reader.end()
        return value


# The specification, table by table.

TEXT = Text()
SET = List(TEXT, ordered=True)
CATEGORY = SLOT = r"[A-Za-z0-9_][A-Za-z0-9+_.-]*"  # PMS 3.1.1, 3.1.3
NAME = r"[A-Za-z0-9_][A-Za-z0-9+_-]*"  # PMS 3.1.2
VERSION = r"[0-9]+(?:\.[0-9]+)*[a-z]?(?:_(?:alpha|beta|pre|rc|p)[0-9]*)*(?:-r[0-9]+)?"  # PMS 3.2
NAMED_DIGEST = Record((1, "name", TEXT), (2, "blake3", Digest))
DISTFILE = Record((1, "size", Number), (2, "hashes", Map(TEXT)))
RECIPE = Record(
    (1, "ebuild", Digest),
    (2, "eclasses", Map(Digest)),
    (3, "files", Map(Digest)),
    (4, "user_patches", List(NAMED_DIGEST)),
    (5, "hooks", List(NAMED_DIGEST)),
    (6, "qa_checks", Map(Digest)),
    (7, "saved_configuration", Map(Digest)),
)
SURROUNDINGS = Record(
    (1, "environment", Map(TEXT)),
    (2, "features", SET),
    (3, "toolchain", Map(TEXT)),
    (4, "build_root", Digest),
)
OWN = (
    (1, "package", Text(f"{CATEGORY}/{NAME}-{VERSION}")),
    (2, "slot", Text(f"{SLOT}/{SLOT}")),
    (3, "repository", TEXT),
    (4, "eapi", TEXT),
    (5, "recipe", RECIPE),
    (6, "distfiles", Map(DISTFILE)),
    (7, "use", SET),
)
INPUT_FIELDS = Record(*OWN, (8, "surroundings", SURROUNDINGS))
INPUT_MESSAGE = Record(*OWN, (8, "surroundings", Digest))
REACH = Record(
    (1, "name", TEXT),
    (2, "version", TEXT, True),
    (3, "slot", TEXT),
    (4, "sub_slot", TEXT, True),
    (5, "key", Digest, True),
    (6, "installed", Digest, True),
    (7, "interface", Digest, True),
    (8, "payload", Digest, True),
    (9, "tool", Record((1, "flags", SET), (2, "sources", Digest)), True),
)
SPECIFICATION = Record(
    (1, "format", Number),
    (2, "policy", Text("exact|interface|slot")),
    (3, "inputs", INPUT_FIELDS),
    (4, "dependencies", List(Record((1, "dependency", REACH), (2, "classes", Classes)), ordered=True)),
)
KEY_MESSAGE = Record(
    (1, "format", Number),
    (2, "policy", TEXT),
    (3, "inputs", Digest),
    (4, "dependencies", List(Bytes, ordered=True)),
)
TOOL_SOURCES = Record(
    (1, "ebuild", Digest),
    (2, "files", Map(Digest)),
    (3, "user_patches", List(NAMED_DIGEST)),
    (4, "saved_configuration", Map(Digest)),
    (5, "distfiles", Map(DISTFILE)),
)


def encode(value):
    return SPECIFICATION.write({"format": FORMAT, **value})


def decode(data):
    value = SPECIFICATION.read(data)
    require(value.pop("format") == FORMAT, "another format")
    for each in value["dependencies"]:
        has = each["dependency"].keys()
        kinds = {"key"} & has, {"installed"} & has, {"interface", "payload", "tool"} & has
        require(sum(map(bool, kinds)) <= 1, "two identities")
    return value


# Digests, of many specifications at a time.


def message(record):
    return record + bytes(-len(record) % 64)


def tool_sources(values):
    records = []
    for value in values:
        recipe = value["inputs"]["recipe"]
        parts = {name: recipe[name] for name in ("ebuild", "files", "user_patches", "saved_configuration")}
        records.append(TOOL_SOURCES.write({**parts, "distfiles": value["inputs"]["distfiles"]}))
    return [digest.hex() for digest in derive([(SOURCES, message(record)) for record in records])]


def key_messages(values):
    surroundings = [message(SURROUNDINGS.write(value["inputs"]["surroundings"])) for value in values]
    surroundings = derive([(AROUND, each) for each in surroundings])
    parts = []
    for value, around in zip(values, surroundings):
        inputs = {**value["inputs"], "surroundings": around.hex()}
        parts.append((INPUTS, message(INPUT_MESSAGE.write(inputs))))
        parts += [(DEPENDENCY, message(REACH.write(each["dependency"]))) for each in value["dependencies"]]
    digest = iter(derive(parts))
    for value in values:
        inputs = next(digest)
        dependencies = [next(digest) + bytes([each["classes"]]) for each in value["dependencies"]]
        fields = {"format": FORMAT, "policy": value["policy"], "inputs": inputs.hex()}
        yield message(KEY_MESSAGE.write({**fields, "dependencies": dependencies}))


def keys(values):
    context = [EXACT if value["policy"] == "exact" else REUSE for value in values]
    return [digest.hex() for digest in derive(list(zip(context, key_messages(values))))]


# Comparison.


def check(numbered):
    """What differs in lines of JSON, each given with its number."""
    differences, values, claims = [], [], []
    for number, line in numbered:
        claim = json.loads(line)
        if "refused" in claim:
            try:
                decode(bytes.fromhex(claim["refused"]))
                differences.append(f"line {number}: taken here and refused there")
            except Refused:
                pass
            continue
        try:
            ours = encode(claim["value"])
            if ours.hex() != claim["preimage"]:
                where = first_difference(ours, claim["preimage"])
                differences.append(f"line {number}: the preimage differs: {where}")
            stored = decode(bytes.fromhex(claim["preimage"]))
            if encode(stored).hex() != claim["preimage"]:
                differences.append(f"line {number}: the preimage is written in another way when read")
        except (Refused, KeyError, ValueError) as reason:
            differences.append(f"line {number}: {type(reason).__name__}: {reason}")
            continue
        values.append(stored)
        claims.append((number, claim))
    for name, computed in ("key", keys(values)), ("sources", tool_sources(values)):
        for (number, claim), ours in zip(claims, computed):
            if claim[name] != ours:
                differences.append(f"line {number}: {name} is {ours} here and {claim[name]} there")
    return len(numbered), differences


def first_difference(ours, theirs):
    theirs = bytes.fromhex(theirs)
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return f"byte {at} of {len(ours)} here and {len(theirs)} there"


def check_file(path):
    with open(path, encoding="utf-8") as file, multiprocessing.Pool(min(4, os.cpu_count() or 1)) as pool:
        lines = enumerate(file, 1)
        batches = iter(lambda: list(itertools.islice(lines, BATCH)), [])
        return report(pool.imap(check, batches))


def report(results):
    count = differing = 0
    for checked, differences in results:
        count += checked
        for difference in differences:
            differing += 1
            print(difference)
    print(f"{count} checked, {differing} differences")
    return 1 if differing or not count else 0


def check_vectors(path):
    """BLAKE3 by its official test vectors, then the vectors of the file."""
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    inputs = [bytes(i % 251 for i in range(length)) for length in BLAKE3_VECTORS]
    plain, derived = blake3(inputs), derive([(context, data) for data in inputs])
    for length, *ours in zip(BLAKE3_VECTORS, plain, derived):
        if [digest.hex() for digest in ours] != list(BLAKE3_VECTORS[length]):
            print(f"BLAKE3 of {length} bytes is wrong")
            return 1
    with open(path, encoding="utf-8") as file:
        vectors = [json.dumps(each) for each in json.load(file)]
    return report([check(list(enumerate(vectors, 1)))])


# Length of the input: plain, derived; from test_vectors.json of the reference implementation.
BLAKE3_VECTORS = {
    0: (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
    ),
    1: (
        "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
    ),
    1023: (
        "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
        "74a16c1c3d44368a86e1ca6df64be6a2f64cce8f09220787450722d85725dea5",
    ),
    1024: (
        "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
        "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
    ),
    1025: (
        "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
        "effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb",
    ),
    2049: (
        "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
        "2ea477c5515cc3dd606512ee72bb3e0e758cfae7232826f35fb98ca1bcbdf273",
    ),
    3073: (
        "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
        "72613c9ec9ff7e40f8f5c173784c532ad852e827dba2bf85b2ab4b76f7079081",
    ),
    5121: (
        "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff",
        "b07f01e518e702f7ccb44a267e9e112d403a7b3f4883a47ffbed4b48339b3c34",
    ),
    7169: (
        "a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817",
        "554b0a5efea9ef183f2f9b931b7497995d9eb26f5c5c6dad2b97d62fc5ac31d9",
    ),
}


def show(path):
    with open(path, "rb") as file:
        value = decode(file.read())
    print(json.dumps({"value": value, "key": keys([value])[0]}, indent=2, ensure_ascii=False))
    return 0


def main(arguments):
    commands = {"check": check_file, "vectors": check_vectors, "show": show}
    if len(arguments) != 2 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[arguments[0]](arguments[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
