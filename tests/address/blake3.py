"""BLAKE3 over many messages at once, with the standard library alone, from its specification ("BLAKE3:
one function, fast everywhere", by O'Connor, Aumasson, Neves and Wilcox-O'Hearn).

Word by word Python is slow. So the same word of many chunks stands in one long integer, one *lane* of 64 bits
to a chunk: the word in the lower half, the upper half zero, to take up carries and what is shifted out. An
addition of such integers adds in all lanes.
"""

import functools
import sys
from array import array

CHUNK, BLOCK = 1024, 64
CHUNK_START, CHUNK_END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


@functools.lru_cache(maxsize=64)
def ones(lanes):
    """1 in every lane."""
    return int.from_bytes(b"\1\0\0\0\0\0\0\0" * lanes, "little")


def pack(words):
    """One integer of words, one to a lane."""
    wide = array("Q", words)
    if sys.byteorder == "big":
        wide.byteswap()
    return int.from_bytes(wide.tobytes(), "little")


def unpack(lanes, count):
    """The words of an integer."""
    wide = array("Q", lanes.to_bytes(8 * count, "little"))
    if sys.byteorder == "big":
        wide.byteswap()
    return wide


def compress(values, blocks, counters, lengths, flags):
    """The chaining values (eight integers) after one block in every lane."""
    count = len(lengths)
    one = ones(count)
    mask = one * 0xFFFFFFFF
    words = array("I", b"".join(blocks))
    if sys.byteorder == "big":
        words.byteswap()
    message = [pack(words[i::16]) for i in range(16)]
    v = [*values, *(one * word for word in IV[:4])]
    v += [pack(counters), 0, pack(lengths), pack(flags)]  # no message here has 2^32 chunks
    for _ in range(7):
        for step, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + message[2 * step]) & mask
            vd ^= va
            vd = (vd >> 16 | vd << 16) & mask
            vc = (vc + vd) & mask
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & mask
            va = (va + vb + message[2 * step + 1]) & mask
            vd ^= va
            vd = (vd >> 8 | vd << 24) & mask
            vc = (vc + vd) & mask
            vb ^= vc
            vb = (vb >> 7 | vb << 25) & mask
            v[a], v[b], v[c], v[d] = va, vb, vc, vd
        message = [message[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def rows(values, count):
    """The chaining value of each lane, as 32 bytes."""
    words = array("I", bytes(32 * count))
    for i, value in enumerate(values):
        words[i::8] = array("I", unpack(value, count))
    if sys.byteorder == "big":
        words.byteswap()
    data = words.tobytes()
    return [data[i : i + 32] for i in range(0, 32 * count, 32)]


def columns(keys):
    """Eight integers of keys of 32 bytes, one to a lane."""
    words = array("I", b"".join(keys))
    if sys.byteorder == "big":
        words.byteswap()
    return [pack(words[i::8]) for i in range(8)]


def chunk_values(chunks):
    """The chaining value of each chunk, given as (key, flags, number, whether it is the root, bytes)."""
    order = sorted(range(len(chunks)), key=lambda i: -len(chunks[i][4]))
    # Descending, so those still at work are always the first.
    sizes = [max(1, -(-len(chunks[i][4]) // BLOCK)) for i in order]
    values = columns([chunks[i][0] for i in order])
    done = [b""] * len(chunks)
    at_work = len(order)
    for number in range(sizes[0]):
        blocks, counters, lengths, flags = [], [], [], []
        for i, size in zip(order[:at_work], sizes):
            _, flag, counter, root, data = chunks[i]
            block = data[number * BLOCK : (number + 1) * BLOCK]
            last = number + 1 == size
            blocks.append(block.ljust(BLOCK, b"\0"))
            counters.append(counter)
            lengths.append(len(block))
            flags.append(flag | CHUNK_START * (number == 0) | (CHUNK_END | ROOT * root) * last)
        values = compress(values, blocks, counters, lengths, flags)
        going_on = at_work
        while going_on and sizes[going_on - 1] == number + 1:
            going_on -= 1
        if going_on < at_work:
            ended = [value >> 64 * going_on for value in values]
            for i, row in zip(order[going_on:at_work], rows(ended, at_work - going_on)):
                done[i] = row
            values = [value & ((1 << 64 * going_on) - 1) for value in values]
            at_work = going_on
    return done


def digests(messages):
    """The digest of each message, given as (key of 32 bytes, flags of the mode, bytes)."""
    if not messages:
        return []
    chunks, owners = [], []
    for owner, (key, flags, data) in enumerate(messages):
        count = max(1, -(-len(data) // CHUNK))
        for number in range(count):
            piece = data[number * CHUNK : (number + 1) * CHUNK]
            chunks.append((key, flags, number, count == 1, piece))
            owners.append(owner)
    nodes = [[] for _ in messages]
    for owner, value in zip(owners, chunk_values(chunks)):
        nodes[owner].append(value)
    # Neighbours are joined until one is left; an odd one goes up as it is. That gives the specified tree.
    while pairs := [(o, i) for o, row in enumerate(nodes) for i in range(0, len(row) - 1, 2)]:
        parents = compress(
            columns([messages[o][0] for o, _ in pairs]),
            [nodes[o][i] + nodes[o][i + 1] for o, i in pairs],
            [0] * len(pairs),
            [BLOCK] * len(pairs),
            [messages[o][1] | PARENT | ROOT * (len(nodes[o]) == 2) for o, _ in pairs],
        )
        above = [[] for _ in messages]
        for (owner, _), value in zip(pairs, rows(parents, len(pairs))):
            above[owner].append(value)
        for row, old in zip(above, nodes):
            if len(old) % 2:
                row.append(old[-1])
        nodes = above
    return [row[0] for row in nodes]


START = b"".join(word.to_bytes(4, "little") for word in IV)


@functools.lru_cache(maxsize=None)
def context_key(context):
    return digests([(START, CONTEXT, context.encode())])[0]


def blake3(messages):
    """Plain BLAKE3 of each message."""
    return digests([(START, 0, data) for data in messages])


def derive(messages):
    """BLAKE3 of each (context, message) in key-derivation mode."""
    return digests([(context_key(context), MATERIAL, data) for context, data in messages])
