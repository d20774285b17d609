"""What the attacks begin with, and what must be read in bounded time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sweeper import model

from . import targets

ROOT = Path(__file__).parents[2]
LONG = 100_000  # bytes of each of what must not take long
HOSTILE = [
    *("", " ", "-", "--", "-rf", "../../x", ".", "..", "~", "~root", "a b", "a\nb", "a\rb", "\t", "\x00", "\x1b[31m"),
    *("$(touch x)", "`touch x`", "#(touch x)", "#{pid}", "${HOME}", "$HOME", "'; touch x #", '"; touch x #', "\\"),
    *("{a}", "{{", "}}", "{1..3}", "{a,b}", "*", "?", "[a-z]", "!!", "&", "|", ";", "<", ">", "(", ")", "a=b", "%s"),
    *("é", "日本", "😀", "\u202e", "\u2028", "\x85", "\x7f", "\u0301", "\ufeff", "\ud7ff", "x" * 300, "🎉" * 100),
]


def seeds(target: str) -> Iterator[bytes]:
    """Inputs from which one gets anywhere."""
    if target == "sweep_file":
        for folder in ("sweeps", "examples"):
            for file in sorted((ROOT / folder).rglob("*.yaml")):
                yield file.read_bytes()
        yield b"command: x {a} {b}\ngrid:\n  - {a: [1, 2], b: {range: [0, 3]}}\n  - {a,b: [[1, 2], [3, 4]]}\n"
        yield b"command: x\ngrid: {o: [{sgd: {m: [0, 0.9]}}, adam]}\nrepeat: {s: [0, 1]}\nexclude: ['m > 0', {s: 1}]\n"
        yield b"command: 'x; {run} {run_dir} {sweep} {args} {{'\nargs: '{name}={value}'\ninclude: [{a: 1e-3}]\n"
        yield b"command: x\ngrid: {lr: {logspace: [1e-4, 1, 5]}, a: &a [1, 2], b: *a, c: !!str 1, d: {value: {e: 1}}}\n"
        yield b"command: x\ntimeout: 1h30m\ngpu_memory: 8GB\nmetrics: {a: 'b ([\\d.]+)'}\nnotify: https://x/y\n"
        for text in HOSTILE:
            yield f"name: {json.dumps(text)}\ncommand: {json.dumps(text)}\ngrid: {{{json.dumps(text)}: 1}}\n".encode()
    elif target == "values":
        for index, text in enumerate(HOSTILE * 3):
            yield bytes([index]) + text.encode()
    elif target == "commands":
        for number in range(len(targets._PIECES)):
            place = bytes((number, 0, number))
            yield place + b"\xff" + bytes((number % len(targets._CALLS),))
            yield bytes((number + 1, number, 3, 0, 4, number, number + 2)) + b"\xff\x00"
    elif target == "names":
        for text in HOSTILE:
            yield f"{text}={text}".encode()
    elif target == "logs":
        for file in sorted((ROOT / "tests" / "logs").glob("*.log")):
            yield file.read_bytes()[:20_000]
        yield b"epoch 1 loss=0.3 val_acc: 91.2%\repoch 2 loss=0.2\r\n\x1b[1;31m{'loss': 0.1}\x1b[0m\n{\"loss\": 1}\n"
        yield b"| step | loss |\n| 1 | 0.3 |\n| 2 | nan |\n50%|#####     | 5/10 [00:01<00:01, loss=0.2]\x1b[A\n"
        yield b"\x1b]0;title\x07a\x08b\x1b]8;;http://x\x1b\\link \xff\xfe\xc3\x28 1e999 -inf 0x1f 1_000 1,5 .5 5. --1\n"
    elif target == "holders":
        note = {
            "state": "holding", "pid": 1, "ticks": 0, "boot": "x", "count": 1, "allowed": ["GPU-0"], "sweep": "s",
            "run": 3, "command": "python train.py", "per_gpu": 1, "memory": 0, "busy_above": 0, "ignore_others": False,
            "keep_free": 0, "gpus": ["GPU-0"], "since": 1000.5, "began": 1, "released": 0, "wake": "0" * 16,
        }  # fmt: skip
        for state in ("holding", "waiting"):
            yield json.dumps({**note, "state": state}).encode().ljust(8192)
            yield json.dumps({**note, "state": state, "per_gpu": 4, "count": 2, "since": 1e10}).encode()
        for text in HOSTILE:
            yield json.dumps({**note, "command": text, "sweep": text, "gpus": [text, "GPU-0"], "wake": text}).encode()
        for name in note:
            for value in (None, -1, 2**63 - 1, 2**64, 1e308, "x", [], {}, [1], True):
                yield json.dumps({**note, name: value}).encode()
    elif target == "packets":
        yield b'{"kind": "hello", "pane": "%1"}'
        yield b'{"kind": "ended"}'
        yield from (b'{"kind": 1}', b"{}", b"[]", b"null", b"1", b"", b"{", b"\xff", b'{"kind": "\\ud800"}', b"NaN")
    elif target == "run_files":
        for index, content in enumerate(targets.FILES.values()):
            yield bytes([index | 4]) + json.dumps(content).encode()
            yield bytes([index | 4]) + json.dumps(content).encode()[:40]
            yield bytes([index | 4])
            for place in range(len(content)):
                for value in (None, -1, 2**40, 2**70, 1e308, "x", "\ud800", [], {}, [1], {"a": []}, True, "done"):
                    yield bytes([index, place]) + json.dumps(value).encode()
        yield bytes([4]) + json.dumps({**targets.JOB, "gpus": model.GpuRequest(None, (0, 1)).to_json()}).encode()


UNITS = [
    b"[", b"{", b"(", b"[]", b"\r", b"\x08", b"a\x08", b"9", b"1.", b"0.5 ", b"-", b" ", b"\t", b"a", b"a=", b"=",
    b"\n", b",", b"|", b"| 1 ", b"loss", b"loss=1 ", b"loss: ", b"\x1b", b"\x1b[", b"\x1b]", b"\x1b[0m", b"\x1b[1;",
    b"%", b"1/2 ", b"1e", b'"', b"'", b'{"a":', b"\\", b"\\\\", b"$(", b"{a}", b"${", b"a: ", b"- ", b"&a ", b"*a ",
    b"? ", b"\x00", b"\xff", b"\xf0\x9f\x98\x80", b"#", b"!", b"~", b":", b"1:", b".", b"_", b"a-", b"a 1 ",
    b"a\r1\r", b"a:1,",
]  # fmt: skip
# Beginnings of what a reader of logs looks for.
WORDS = [
    b"()", b"\x1b[A", b"\x1b[2K", b"\xe2\x94\x80", b"1:2", b"1,", b"1,000,", b"/", b"a/", b"/a", b"./", b"~/a/",
    b"1-1-", b"10-10-", b"1d 1:00 ", b"1.1.", b"0x", b"+-", b"\xc2\xb1", b"50%|", b"50%|a|", b"[=>", b"[=]",
    b"(a 1", b"(a 1)", b"a, ", b"a/b, ", b"a|b|", b"after 1 ", b"after ", b"on the ", b"on ", b"is ", b"of ",
    b"1 of 2 ", b"top ", b"acc@1 ", b"acc@", b"Avg. ", b"val. ", b"a.py:1 ", b"http://", b"INFO ", b"I0101 ",
    b"tensor(", b"np.float(", b"array([", b"config=", b"params: ", b"A(b=", b"None, ", b"x: None, ", b"train ",
    b"val: ", b"Epoch 1 ", b"epoch ", b"step 1 ", b"1 epoch ", b"it/s ", b"][", b"[1][", b"1][", b"#0: ",
    b"acc 1: ", b"  ", b" - ", b" -", b"..", b"\xef\xbc\x9a", b"\xe6\x8d\x9f\xe5\xa4\xb1", b"best ", b"nan ",
    b"inf", b"nan,", b"e+ ", b"1e+", b"Average Precision ", b"Prec@(", b"Prec@(1,5", b"a@(1,2,", b"aB", b"Ab ",
    b"aA1_", b"\xd9\xa3", b"``", b"|a", b"|a|", b"--- ", b"===", b"a  ", b"a  1  ", b"loss  acc  ", b"epoch,loss,",
    b"\t1", b"a\t", b"loss\t",
]  # fmt: skip


def long_ones(target: str) -> Iterator[bytes]:
    """100 kB each, of the kinds on which careless patterns and parsers take forever."""
    for unit in UNITS:
        text = unit * (LONG // len(unit))
        if target == "sweep_file":
            yield b"command: x\ngrid: {a: " + text + b"}\n"
            yield b"command: " + text + b"\ngrid: {a: 1}\n"
            yield text
        elif target == "values":
            yield b"\x02" + text
        elif target == "run_files":
            yield b"\x04" + text
            yield b"\x06" + b'{"outcome": "done", "reason": ' + text
            yield b"\x02\x04" + json.dumps(text.decode("latin-1")).encode()
        elif target == "holders":
            yield text[:8192]
            yield b'{"command": ' + json.dumps(text.decode("latin-1")).encode() + b"}"
        elif target == "logs":
            yield b"loss=1 " + text + b"\nloss=2\n"
            yield (text[:1000] + b" 0.5\n") * 20
        else:
            yield text
            yield b'{"kind": ' + text
