"""Random changes of bytes, of JSON values and of words, as users and bad disks make them."""

import json
import random
from typing import Any

WILD_WORDS = [
    *("nan", "inf", "-inf", "1e999", "-1", "0", "-0.0", "1e-300", "1e300", "0x10", "1_000", "3.7"),
    *(
        str(2**31),
        str(2**63),
        str(2**64),
        "9" * 400,
        "\uff11\uff12",
        "",
        " ",
        "None",
        "true",
        "--",
        "-x",
    ),
    *(
        "é",
        "a\nb",
        "\x1b[31m",
        "\udcff",
        "x" * 300,
        "../..",
        ".",
        "/",
        "/dev/null",
        "~",
        "*",
        "[",
        "{}",
    ),
    *("{0}", "%s", "$HOME", "null", "[]", '"', "'", "\\", "a:b", ":", "a@b", "@", "=", "--help"),
]
WILD_NUMBERS = [0, -1, 1, 2, 7, 0.5, -0.5, 1e-300, 1e300, 2**31, 2**63, 2**64, 10**400, 1e-9]
WILD_VALUES: list[Any] = [
    *WILD_NUMBERS,
    *(None, True, False, "", "nan", "é", "\ud800", "\0", "x" * 5000, "neuronal", "auto", "/"),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [1], [None], {"a": 1}, [[1, 2], [3]]),
]
INTERESTING_BYTES = [
    b"\0",
    b"\xff",
    b"\n",
    b'"',
    b"{",
    b"[",
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
]


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """Change a file as bad disks, cut transfers and editors do, once to four times."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = rng.choice(BYTE_CHANGES)(rng, bytearray(content))
    return content


def _flip(rng: random.Random, content: bytearray) -> bytes:
    for _ in range(rng.choice([1, 1, 3, 16]) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _flip_early(rng: random.Random, content: bytearray) -> bytes:
    """Most formats decide by their first bytes what all others mean."""
    return _flip(rng, content[:200]) + bytes(content[200:])


def _cut(rng: random.Random, content: bytearray) -> bytes:
    return bytes(content[: rng.randrange(len(content) + 1)])


def _insert(rng: random.Random, content: bytearray) -> bytes:
    place = rng.randrange(len(content) + 1)
    return bytes(content[:place] + rng.choice(INTERESTING_BYTES) + content[place:])


def _overwrite(rng: random.Random, content: bytearray) -> bytes:
    new, place = rng.choice(INTERESTING_BYTES), rng.randrange(len(content) + 1)
    return bytes(content[:place] + new + content[place + len(new) :])


def _delete(rng: random.Random, content: bytearray) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return bytes(content[:start] + content[end:])


def _repeat(rng: random.Random, content: bytearray) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return bytes(content[:end] + content[start:])


def _empty(rng: random.Random, content: bytearray) -> bytes:
    return b""


BYTE_CHANGES = [_flip, _flip, _flip_early, _flip_early, _cut, _insert, _overwrite, _delete, _repeat]
BYTE_CHANGES += [_empty]


def changed_value(rng: random.Random, value: Any) -> Any:
    """Change one place of a JSON value: another value, one more or one less, or deep nesting."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if action < 0.2:
            return {**value, rng.choice(["", "extra", "\0", "é", key + "s"]): _wild(rng)}
        return {**value, key: changed_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place, action = rng.randrange(len(value)), rng.random()
        if action < 0.2:
            return value[:place] + value[place + 1 :]
        if action < 0.4:
            return value[:place] + value[place:] * 2
        return [*value[:place], changed_value(rng, value[place]), *value[place + 1 :]]
    return _wild(rng)


def _wild(rng: random.Random) -> Any:
    return rng.choice(WILD_VALUES)


def as_json(rng: random.Random, value: Any) -> bytes:
    """Write a value as JSON; now and then deeper than any parser follows."""
    text = json.dumps(value)
    if rng.random() < 0.02:
        text = "[" * 100_000 + text
    return text.encode()
