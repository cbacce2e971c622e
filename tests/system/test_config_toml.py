# SPDX-License-Identifier: Apache-2.0
"""The configuration parser, through build/bulkhead-check: what it accepts, python3's tomllib reads to the same
values (generated files, and random damage to them); what is wrong gives exactly the expected lines."""
import json
import os
import pathlib
import random
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "build" / "bulkhead-check"
SEED = int(os.environ.get("BULKHEAD_SEED", "1"))


@pytest.fixture(scope="session", autouse=True)
def tool():
    subprocess.run(["make", "-s", "check-tool"], cwd=ROOT, check=True)


def run(*args, cwd=None):
    return subprocess.run([CHECK, *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)


# ---- against tomllib ---------------------------------------------------------------------------------------

SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MACHINE = {"console": ["serial"], "on_idle": "poweroff", "debug_exit": None}
VM = {"vcpus": 1, "cpus": None, "initrd": None, "cmdline": "", "debug_exit": None, "on_crash": "stop", "weight": 100,
      "priority": 0, "period": None, "budget": None}


def expected(text):
    """What --dump should print for a file that tomllib reads."""
    document = tomllib.loads(text)
    machine = MACHINE | document.get("machine", {})
    machine["console"] = [c for c in ("serial", "screen") if c in machine["console"]]
    vms = []
    for table in document["vm"]:
        vm = VM | table
        vm["memory"] = int(vm["memory"][:-1]) * SIZES[vm["memory"][-1]]
        vm["cpus"] = vm["cpus"] and sorted(vm["cpus"])
        vms.append(vm)
    cpus = [table | {"cpus": sorted(table["cpus"])} for table in document.get("cpu", [])]
    return {"machine": machine, "vm": vms, "cpu": cpus}


class Writer:
    """Writes random valid files in random style."""

    def __init__(self, rng):
        self.rng = rng

    def space(self):
        return self.rng.choice(["", " ", "  ", "\t"])

    def end(self):
        return self.space() + self.rng.choice(["", "", "", "# comment", "#", '# "é" [x'])

    def integer(self, value):
        style = self.rng.randrange(6)
        if style == 0:
            return hex(value)
        if style == 1:
            return "0x" + format(value, "X")
        if style == 2:
            return oct(value)
        if style == 3:
            return bin(value)
        if style == 4:
            return "+" + str(value)
        return format(value, "_") if self.rng.random() < 0.5 else str(value)

    def string(self, value, escapes=True):
        if self.rng.random() < 0.4 and "'" not in value:
            return f"'{value}'"
        out = ""
        for c in value:
            if c in '"\\':
                out += "\\" + c
            elif escapes and self.rng.random() < 0.1:
                out += f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
            elif escapes and self.rng.random() < 0.02:
                out += f"\\U{ord(c):08X}"
            else:
                out += c
        return f'"{out}"'

    def listing(self, items):
        gap = lambda: self.rng.choice(["", " ", "\n", "\n\t# in a list\n", "\t"])
        body = (gap() + ",").join(gap() + item for item in items)
        return "[" + body + gap() + self.rng.choice(["", "," + gap()]) + "]"

    def table(self, pairs):
        self.rng.shuffle(pairs)
        lines = []
        for key, value in pairs:
            lines.append(f"{self.space()}{key}{self.space()}={self.space()}{value}{self.end()}")
            if self.rng.random() < 0.2:
                lines.append(self.end())
        return lines

    def text(self, length):
        alphabet = "abcXYZ019 =.,/#[]{}'\"\\é漢😀-_:"
        return "".join(self.rng.choice(alphabet) for _ in range(self.rng.randrange(length)))

    def name(self, prefix):
        return prefix + "".join(self.rng.choice("abz09._-") for _ in range(self.rng.randrange(8)))

    def machine(self):
        pairs = []
        if self.rng.random() < 0.7:
            chosen = self.rng.sample(["serial", "screen"], self.rng.randrange(1, 3))
            pairs.append(("console", self.listing([self.string(c) for c in chosen])))
        if self.rng.random() < 0.7:
            pairs.append(("on_idle", self.string(self.rng.choice(["poweroff", "reboot", "halt"]))))
        if self.rng.random() < 0.5:
            pairs.append(("debug_exit", self.integer(self.rng.randrange(65536))))
        return [f"[{self.space()}machine{self.space()}]{self.end()}", *self.table(pairs)]

    def vm(self, index):
        unit = self.rng.choice("KMG")
        count = self.rng.randrange(1, 1025) * 1024 if unit == "K" else self.rng.randrange(1, 1025)
        pairs = [("name", self.string(self.name(f"vm{index}"))), ("memory", self.string(f"{count}{unit}")),
                 ("kernel", self.string(self.name("dir/é") + "k", escapes=False))]
        optional = [("vcpus", self.integer(self.rng.randrange(1, 65))),
                    ("cpus", self.listing([self.integer(c) for c in self.rng.sample(range(256), self.rng.randrange(1, 9))])),
                    ("initrd", self.string(self.name("i"), escapes=False)),
                    ("cmdline", self.string(self.text(60))), ("debug_exit", self.integer(self.rng.randrange(65536))),
                    ("on_crash", self.string(self.rng.choice(["stop", "restart", "halt-machine"]))),
                    ("weight", self.integer(self.rng.randrange(1, 10001))),
                    ("priority", self.integer(self.rng.randrange(100)))]
        pairs += [pair for pair in optional if self.rng.random() < 0.6]
        if self.rng.random() < 0.3:
            period = self.rng.randrange(1000, 1000001)
            pairs += [("period", self.integer(period)), ("budget", self.integer(self.rng.randrange(100, period + 1)))]
        return [f"[[{self.space()}vm{self.space()}]]{self.end()}", *self.table(pairs)]

    def cpus(self):
        """Tables of distinct CPUs, none of them dedicated: who may be there depends on the VMs."""
        numbers = self.rng.sample(range(256), 12)
        for start in range(0, self.rng.randrange(4) * 4, 4):
            policy = self.string(self.rng.choice(["fair", "fixed"]))
            listing = self.listing([self.integer(c) for c in numbers[start:start + self.rng.randrange(1, 5)]])
            yield [f"[[cpu]]{self.end()}", *self.table([("cpus", listing), ("policy", policy)])]

    def file(self):
        tables = [self.vm(i) for i in range(self.rng.randrange(1, 6))]
        if self.rng.random() < 0.7:
            tables.insert(self.rng.randrange(len(tables) + 1), self.machine())
        for table in self.cpus():
            tables.insert(self.rng.randrange(len(tables) + 1), table)
        text = "\n".join(line for table in tables for line in ["", *table])
        text += self.rng.choice(["", "\n", "\n\n# end"])
        return text.replace("\n", "\r\n") if self.rng.random() < 0.2 else text


def dump(folder, contents):
    """The parsed value or the error lines of each content, one run of the tool for all."""
    paths = []
    for i, content in enumerate(contents):
        path = folder / f"{i}.toml"
        path.write_bytes(content)
        paths.append(path)
    results = []
    for start in range(0, len(paths), 500):
        done = run("--dump", *paths[start:start + 500])
        assert done.returncode in (0, 1), done.stdout
        lines = done.stdout.splitlines()
        for path in paths[start:start + 500]:
            prefix = f"{path}:".encode()
            if lines and lines[0].startswith(b'{"machine"'):
                results.append(json.loads(lines.pop(0)))
                continue
            errors = []
            while lines and lines[0].startswith(prefix):
                errors.append(lines.pop(0)[len(prefix):].decode(errors="replace"))
            assert errors, f"{path}: neither a value nor an error"
            results.append(errors)
        assert not lines
    return results


def test_generated_files_read_as_tomllib_reads_them(tmp_path):
    rng = random.Random(SEED)
    texts = [Writer(rng).file() for _ in range(1000)]
    for text, result in zip(texts, dump(tmp_path, [t.encode() for t in texts]), strict=True):
        assert isinstance(result, dict), f"{result}\n{text}"
        assert result == expected(text), text


def damaged(rng, content):
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(5):
            case 0:
                del content[at:at + rng.randrange(1, 5)]
            case 1:
                content[at:at] = rng.choice([b'"', b"'", b"[", b"]", b"=", b"\n", b"\r", b"\\", b"#", b",", b".", b"_",
                                             b"0", b"-", b"\x00", b"\xff", b"\xc3", b"\t", b" ", b"{}", b"\x7f", b"1e3",
                                             b"\xef\xbb\xbf", b'"""', b"'''", b"\\u0000", b"true", b"[[vm]]\n"])
            case 2:
                content[at:at + 1] = bytes([rng.randrange(256)])
            case 3:
                end = min(len(content), at + rng.randrange(1, 40))
                content[end:end] = content[at:end]
            case 4:
                lines = bytes(content).split(b"\n")
                rng.shuffle(lines)
                content = bytearray(b"\n".join(lines))
    return bytes(content)


def test_damaged_files_are_refused_or_read_as_tomllib_reads_them(tmp_path):
    rng = random.Random(SEED + 1)
    contents = [damaged(rng, Writer(rng).file().encode()) for _ in range(4000)]
    accepted = 0
    for content, result in zip(contents, dump(tmp_path, contents), strict=True):
        if isinstance(result, list):
            continue
        accepted += 1
        # tomllib.load decodes and takes CRLF as newline in the same way.
        assert result == expected(content.decode()), content
    assert accepted > 100  # the damage leaves enough alive to compare


# ---- every wrong input, with the exact line ----------------------------------------------------------------

VALID = '[[vm]]\nname = "a"\nmemory = "64M"\nkernel = "k"\n'
MORE = VALID + "{}\n"  # the addition is line 5
CPUS = "[[cpu]]\ncpus = {}\npolicy = '{}'\n\n"
BOTH = "both are needed, a budget in its period"
PATH_RULE = ("must be a path relative to this file, with / between names, without . and .. and without spaces, quotes, "
             "and \\ * ? [ ] { } $ : < > | ;")

SYNTAX = {
    "no vm": ("", ["1:1: no [[vm]] table: at least one VM is needed"]),
    "unknown table": (VALID + "[foo]\nx = 1\n", ['5:1: unknown table "foo": [machine], [[vm]] and [[cpu]] are known']),
    "machine twice": ("[machine]\n" + VALID + "[machine]\n", ["6:1: [machine] is already in line 1"]),
    "machine as array": ("[[machine]]\n" + VALID, ["1:1: write [machine] for this table"]),
    "vm as table": ("[vm]\nname = 'a'\n", ["1:1: write [[vm]] for this table",
                                            "1:1: no [[vm]] table: at least one VM is needed"]),
    "key without table": ("x = 1\n" + VALID, ['1:1: key "x" stands in no table: begin with [machine], [[vm]] '
                                                "or [[cpu]]"]),
    "unknown key": (MORE.format("memroy = 1"),
                    ['5:1: unknown key "memroy": [[vm]] has name, vcpus, cpus, memory, kernel, initrd, cmdline, '
                     "debug_exit, on_crash, weight, priority, period, budget"]),
    "unknown machine key": ("[machine]\n  vcpus = 1\n" + VALID,
                            ['2:3: unknown key "vcpus": [machine] has console, on_idle, debug_exit']),
    "duplicate key": (MORE.format('name = "b"'), ['5:1: "name" is already set in line 2']),
    "duplicate vm name": (VALID + VALID, ['6:8: the name "a" is already used in line 2']),
    "missing keys": ("[[vm]]\n", ['1:1: this [[vm]] lacks the required key "name"',
                                  '1:1: this [[vm]] lacks the required key "memory"',
                                  '1:1: this [[vm]] lacks the required key "kernel"']),
    "number for a string": (MORE.format("initrd = 5"),
                            ['5:10: "initrd" must be a path relative to this file, at most 95 bytes, not a number']),
    "string for a number": (MORE.format('vcpus = "2"'), ['5:9: "vcpus" must be a number, 1 to 64, not a string']),
    "boolean": (MORE.format("vcpus = true"), ['5:9: "vcpus" must be a number, 1 to 64, not a boolean']),
    "list for a scalar": (MORE.format("vcpus = [1,\n2]"), ['5:9: "vcpus" must be a number, 1 to 64, not a list']),
    "scalar for a list": (MORE.format("cpus = 1"), ['5:8: "cpus" must be a list of CPU numbers, 0 to 255, not a number']),
    "wrong element": (MORE.format('cpus = [0, "1"]'),
                      ['5:12: "cpus" must be a list of CPU numbers, 0 to 255, not a list with a string']),
    "number for memory": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = 64\n",
                          ['4:10: "memory" must be a size such as "256M", 1M to 1024G in steps of 4K, not a number']),
    "vcpus 0": (MORE.format("vcpus = 0"), ['5:9: "vcpus" is 0: 1 to 64 are allowed']),
    "vcpus 65": (MORE.format("vcpus = 65"), ['5:9: "vcpus" is 65: 1 to 64 are allowed']),
    "negative port": (MORE.format("debug_exit = -1"), ['5:14: "debug_exit" is -1: 0 to 65535 are allowed']),
    "port too high": (MORE.format("debug_exit = 0x1_0000"), ['5:14: "debug_exit" is 65536: 0 to 65535 are allowed']),
    "cpu too high": (MORE.format("cpus = [256]"), ['5:9: "cpus" has CPU 256: 0 to 255 are allowed']),
    "cpu twice": (MORE.format("cpus = [1, 0, 0x1]"), ["5:15: CPU 1 is in the list twice"]),
    "cpus empty": (MORE.format("cpus = []"), ['5:8: "cpus" is an empty list']),
    "console twice": ("[machine]\nconsole = ['serial', 'serial']\n" + VALID, ['2:22: "serial" is in the list twice']),
    "console unknown": ("[machine]\nconsole = ['printer']\n" + VALID,
                        ['2:12: "console" has no value "printer": "serial", "screen" are allowed']),
    "console string": ("[machine]\nconsole = 'serial'\n" + VALID,
                       ['2:11: "console" must be a list of "serial", "screen", not a string']),
    "on_idle unknown": ("[machine]\non_idle = 'sleep'\n" + VALID,
                        ['2:11: "on_idle" has no value "sleep": "poweroff", "reboot", "halt" are allowed']),
    "on_crash unknown": (MORE.format('on_crash = "\\n"'),
                         ['5:12: "on_crash" has no value "?": "stop", "restart", "halt-machine" are allowed']),
    "size without unit": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '64'\n",
                          ['4:10: "memory" must be digits and one of K, M, G, such as "256M"']),
    "size too small": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '1020K'\n",
                       ['4:10: "memory" must be 1M to 1024G in steps of 4K']),
    "size too big": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '1025G'\n",
                     ['4:10: "memory" must be 1M to 1024G in steps of 4K']),
    "size beyond 64 bits": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '99999999999999999999999999G'\n",
                            ['4:10: "memory" must be 1M to 1024G in steps of 4K']),
    "size wraps": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '17179869185G'\n",
                   ['4:10: "memory" must be 1M to 1024G in steps of 4K']),
    "size step": ("[[vm]]\nname = 'a'\nkernel = 'k'\nmemory = '1025K'\n",
                  ['4:10: "memory" must be 1M to 1024G in steps of 4K']),
    "name empty": ("[[vm]]\nname = ''\nkernel = 'k'\nmemory = '64M'\n",
                   ['2:8: "name" is 0 bytes long: 1 to 31 are allowed']),
    "name too long": (f"[[vm]]\nname = '{'n' * 32}'\nkernel = 'k'\nmemory = '64M'\n",
                      ['2:8: "name" is 32 bytes long: 1 to 31 are allowed']),
    "name with space": ("[[vm]]\nname = 'a b'\nkernel = 'k'\nmemory = '64M'\n",
                        ["2:8: \"name\" may have letters, digits, '.', '_' and '-' only"]),
    "absolute path": (MORE.format("initrd = '/i'"), [f'5:10: "initrd" {PATH_RULE}']),
    "parent path": (MORE.format("initrd = 'x/../i'"), [f'5:10: "initrd" {PATH_RULE}']),
    "double slash": (MORE.format("initrd = 'x//i'"), [f'5:10: "initrd" {PATH_RULE}']),
    "backslash path": (MORE.format("initrd = 'x\\i'"), [f'5:10: "initrd" {PATH_RULE}']),
    "path with space": (MORE.format("initrd = 'x i'"), [f'5:10: "initrd" {PATH_RULE}']),
    "escaped path": (MORE.format('initrd = "\\u0069"'), [f'5:10: "initrd" {PATH_RULE}']),
    "long path": (MORE.format(f"initrd = '{'p' * 96}'"), ['5:10: "initrd" is 96 bytes long: 1 to 95 are allowed']),
    "long cmdline": (MORE.format(f"cmdline = '{'c' * 2048}'"),
                     ['5:11: "cmdline" is 2048 bytes long: 0 to 2047 are allowed']),
    "control in cmdline": (MORE.format('cmdline = "a\\nb"'), ['5:11: "cmdline" contains a control character']),
    "column counts characters": (MORE.format("cpus = [0, # é漢😀\n] é"),
                                 ["6:3: unexpected text after the list: only a # comment may follow"]),
    "several errors": (MORE.format("vcpus = 0\ncpus = [9, 9]\nfoo = ''"),
                       ['5:9: "vcpus" is 0: 1 to 64 are allowed', "6:12: CPU 9 is in the list twice",
                        '7:1: unknown key "foo": [[vm]] has name, vcpus, cpus, memory, kernel, initrd, cmdline, '
                        "debug_exit, on_crash, weight, priority, period, budget"]),
    "quoted key": (MORE.format('"vcpus" = 1'), ["5:1: write the key without quotes"]),
    "dotted key": (MORE.format("vm.vcpus = 1"),
                   ["5:3: dotted keys are not supported: write [table], then key = value"]),
    "no equals": (MORE.format("vcpus 1"), ['5:7: = is expected after the key "vcpus"']),
    "no key": (MORE.format("= 1"), ["5:1: a key, [table] or # comment is expected"]),
    "no value": (MORE.format("vcpus ="), ['5:8: a value is expected: "text", a number, true, false or [a list]']),
    "two values": (MORE.format("vcpus = 1 2"), ["5:11: unexpected text after the value: only a # comment may follow"]),
    "float": (MORE.format("vcpus = 1.0"), ['5:9: "1.0" is not a value: "text", a whole number, true, false or [a list]']),
    "date": (MORE.format("vcpus = 1979-05-27"),
             ['5:9: "1979-05-27" is not a value: "text", a whole number, true, false or [a list]']),
    "leading zero": (MORE.format("vcpus = 01"), ['5:9: "01" is not a value: "text", a whole number, true, false or [a list]']),
    "signed hex": (MORE.format("vcpus = +0x1"),
                   ['5:9: "+0x1" is not a value: "text", a whole number, true, false or [a list]']),
    "double underscore": (MORE.format("vcpus = 1__0"),
                          ['5:9: "1__0" is not a value: "text", a whole number, true, false or [a list]']),
    "number too big": (MORE.format("vcpus = 9223372036854775808"), ["5:9: the number does not fit in 64 bits"]),
    "inline table": (MORE.format("vcpus = {}"), ["5:9: inline tables are not supported"]),
    "nested list": (MORE.format("cpus = [[1]]"), ["5:9: lists of lists are not supported"]),
    "list without comma": (MORE.format("cpus = [1 2]"), ["5:11: , or ] is expected in the list"]),
    "list not closed": (MORE.format("cpus = [1,\n2"), ["5:8: the list is not closed: ] is missing"]),
    "string not closed": (MORE.format('cmdline = "abc'), ["5:11: the string is not closed before the end of its line"]),
    "multi-line string": (MORE.format('cmdline = """a"""'),
                          ["5:11: multi-line strings are not supported: use one pair of quotes"]),
    "bad escape": (MORE.format('cmdline = "a\\x41"'),
                   ['5:13: unknown escape: \\b \\t \\n \\f \\r \\" \\\\ \\uXXXX and \\UXXXXXXXX are allowed']),
    "surrogate": (MORE.format('cmdline = "\\uD800"'),
                  ["5:12: the escape is no character: U+0001 to U+D7FF and U+E000 to U+10FFFF are allowed"]),
    "nul escape": (MORE.format('cmdline = "\\u0000"'),
                   ["5:12: the escape is no character: U+0001 to U+D7FF and U+E000 to U+10FFFF are allowed"]),
    "control in string": (MORE.format('cmdline = "a\x01"'), ["5:13: control character in a string"]),
    "control in comment": (MORE.format("# a\x01"), ["5:4: control character in a comment"]),
    "lone carriage return": (MORE.format("\rvcpus = 1"), ["5:1: a key, [table] or # comment is expected"]),
    "table not closed": (VALID + "[machine\n", ["5:9: ] is expected after the table name"]),
    "array not closed": (VALID + "[[vm]\n", ["5:6: ]] is expected after the table name"]),
    "nested table": (VALID + "[machine.x]\n", ["5:9: nested tables are not supported"]),
    "table without name": (VALID + "[]\n", ["5:2: a table name is expected: letters, digits, _ and -"]),
    "text after table": (VALID + "[machine] x\n",
                         ["5:11: unexpected text after a table header: only a # comment may follow"]),
    "byte order mark": ("\ufeff" + VALID, ["1:1: the file begins with a byte order mark; save it as plain UTF-8"]),
    "not UTF-8": (VALID.encode() + b"# \xc3\xa9 \xff\n", ["5:5: byte 0xff is not UTF-8"]),
    "missing cpu keys": (VALID + "[[cpu]]\n", ['5:1: this [[cpu]] lacks the required key "cpus"',
                                               '5:1: this [[cpu]] lacks the required key "policy"']),
    "unknown policy": (VALID + "[[cpu]]\ncpus = [0]\npolicy = 'fifo'\n",
                       ['7:10: "policy" has no value "fifo": "fair", "fixed", "dedicated" are allowed']),
    "cpu in two tables": (VALID + CPUS.format([0, 2], "fair") + CPUS.format([1, 2], "fixed"),
                          ["10:8: CPU 2 is already in the [[cpu]] of line 5"]),
    "cpu dedicated twice": (VALID + "cpus = [1]\n" + VALID.replace('"a"', '"b"') + "cpus = [1]\n" +
                            CPUS.format([0, 1], "dedicated"),
                            ["10:8: CPU 1 is dedicated, and the VM of line 1 has it"]),
    "dedicated and not": (VALID + "cpus = [0, 1]\nvcpus = 2\n" + CPUS.format([1], "dedicated"),
                          ["5:8: 1 of these 2 CPUs are dedicated: 2 vCPUs take as many dedicated CPUs, no others, and no "
                           "budget"]),
    "dedicated, one too many": (VALID + "cpus = [0, 1]\n" + CPUS.format([0, 1], "dedicated"),
                                ["5:8: 2 of these 2 CPUs are dedicated: 1 vCPUs take as many dedicated CPUs, no others, "
                                 "and no budget"]),
    "dedicated with budget": (VALID + "cpus = [0]\nperiod = 1000\nbudget = 500\n" + CPUS.format([0], "dedicated"),
                              ["5:8: 1 of these 1 CPUs are dedicated: 1 vCPUs take as many dedicated CPUs, no others, "
                               "and no budget"]),
    "period alone": (MORE.format("period = 1000"), [f'5:10: "budget" is 0 us of a "period" of 1000 us: {BOTH}']),
    "budget alone": (MORE.format("budget = 1000"), [f'5:10: "budget" is 1000 us of a "period" of 0 us: {BOTH}']),
    "budget beyond period": (MORE.format("period = 1000\nbudget = 1001"),
                             [f'6:10: "budget" is 1001 us of a "period" of 1000 us: {BOTH}']),
    "weight 0": (MORE.format("weight = 0"), ['5:10: "weight" is 0: 1 to 10000 are allowed']),
    "priority 100": (MORE.format("priority = 100"), ['5:12: "priority" is 100: 0 to 99 are allowed']),
    "overlong": (VALID.encode() + b"# \xc0\xaf\n", ["5:3: byte 0xc0 is not UTF-8"]),
}


@pytest.mark.parametrize("case", SYNTAX)
def test_wrong_text_gives_the_expected_lines(case, tmp_path):
    content, lines = SYNTAX[case]
    (tmp_path / "x.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run("--syntax", "x.toml", cwd=tmp_path)
    assert done.stdout.decode().splitlines() == [f"x.toml:{line}" for line in lines]
    assert done.returncode == 1


def test_too_many_vms_stop_at_the_first_too_many(tmp_path):
    text = "".join(f'[[vm]]\nname = "v{i}"\nmemory = "1M"\nkernel = "k"\n' for i in range(65))
    (tmp_path / "x.toml").write_text(text)
    assert run("--syntax", "x.toml", cwd=tmp_path).stdout.decode() == "x.toml:257:1: more than 64 [[vm]] tables\n"


def test_too_long_file_is_refused(tmp_path):
    (tmp_path / "x.toml").write_text(VALID + "#" * 65536)
    assert run("--syntax", "x.toml", cwd=tmp_path).stdout.decode() == "x.toml: 65537 bytes are too long: at most 65536\n"


# ---- the files a configuration names, and the machine --------------------------------------------------------

def elf_without_entry():
    return b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + bytes(44)


FILES = {
    "kernel missing": ({}, "", ['4:10: kernel file "k" is missing: paths are relative to the configuration file']),
    "initrd missing": ({"k": b"\xf4"}, "initrd = 'i'",
                       ['5:10: initrd file "i" is missing: paths are relative to the configuration file']),
    "kernel is a folder": ({"k/x": b""}, "", ['4:10: kernel file "k" cannot be read: Is a directory']),
    "kernel empty": ({"k": b""}, "", ['4:10: kernel "k" is an empty file']),
    "no kernel": ({"k": bytes(700000)}, "",
                  ['4:10: kernel "k" is no bzImage, ELF or multiboot kernel, and its 700000 bytes are too long for flat '
                   "real-mode code (at most 623616)"]),
    "ELF without entry": ({"k": elf_without_entry()}, "",
                          ['4:10: kernel "k" is an ELF file with neither a PVH note nor a multiboot 1 or 2 header']),
    "initrd for flat code": ({"k": b"\xf4", "i": b"x"}, "initrd = 'i'",
                             ['5:10: initrd "i" cannot be given to flat real-mode code']),
    "fits": ({"k": b"\xf4"}, "", []),
}


@pytest.mark.parametrize("case", FILES)
def test_files_are_judged(case, tmp_path):
    files, addition, lines = FILES[case]
    folder = tmp_path / "folder"
    for name, content in {"x.toml": MORE.format(addition).encode(), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = run("folder/x.toml", cwd=tmp_path)
    assert done.stdout.decode().splitlines() == [f"folder/x.toml:{line}" for line in lines]
    assert done.returncode == (1 if lines else 0)


def budgets(*vms):
    """VMs as (cpus, budget of 10000 us)."""
    return "".join(VALID.replace('"a"', f'"v{i}"') + (f"cpus = {cpus}\n" if cpus else "") +
                   (f"period = 10000\nbudget = {budget}\n" if budget else "") for i, (cpus, budget) in enumerate(vms))


ROOM = {
    "just fits": (budgets(([0], 4000), ([0], 6000), ([0], None)), None, []),
    "thirds": (budgets(([0], 3333), ([0], 3333), ([0], 3334)), None, []),
    "too much": (budgets(([0], 5000), ([0], 5001)), None,
                 ["14:10: the budgets on CPU 0 add up to 100.01 % of it: at most 100 % can be given"]),
    "the others are judged": (budgets(([0], 9000), ([0], 9000), ([0], 2000), ([0], 1000)), None,
                              ["14:10: the budgets on CPU 0 add up to 180.00 % of it: at most 100 % can be given",
                               "21:10: the budgets on CPU 0 add up to 110.00 % of it: at most 100 % can be given"]),
    "spread": (budgets(([0, 1], 9000), ([0, 1], 9000)), None, []),
    "spread too thin": (budgets(([0, 1], 9000), ([0, 1], 9000), ([0, 1], 2000)), None,
                        ["21:10: the budgets on CPU 0 add up to 110.00 % of it: at most 100 % can be given"]),
    "any CPU": (budgets((None, 9000), (None, 9000)), 2, []),
    "one CPU": (budgets((None, 9000), (None, 9000)), 1,
                ["12:10: the budgets on CPU 0 add up to 180.00 % of it: at most 100 % can be given"]),
    "none left": (budgets((None, None)) + CPUS.format([0, 1], "dedicated"), 2,
                  ["1:1: no CPU is left for this VM: those that there are are dedicated"]),
    "one left": (budgets((None, None), (None, None)) + CPUS.format([0, 1], "dedicated"), 3, []),
    "cpu beyond": (budgets((None, None)) + CPUS.format([0, 7], "fixed"), 7,
                   ['6:8: "cpus" has CPU 7, but this machine\'s last is CPU 6 (the first is CPU 0)']),
}


@pytest.mark.parametrize("case", ROOM)
def test_budgets_and_dedicated_cpus_need_room(case, tmp_path):
    text, cpus, lines = ROOM[case]
    (tmp_path / "x.toml").write_text(text)
    (tmp_path / "k").write_bytes(b"\xf4")
    done = run(*(["--cpus", cpus] if cpus else []), "x.toml", cwd=tmp_path)
    assert done.stdout.decode().splitlines() == [f"x.toml:{line}" for line in lines]
    assert done.returncode == (1 if lines else 0)


def bzimage(init_mib):
    """A header that the loader takes, with no kernel behind it."""
    image = bytearray(2048)
    image[0x1f1], image[0x1fe], image[0x1ff], image[0x201], image[0x211], image[0x234] = 1, 0x55, 0xAA, 0x6A, 1, 1
    image[0x202:0x206] = b"HdrS"
    for at, size, value in ((0x206, 2, 0x20f), (0x22c, 4, 0x7fffffff), (0x230, 4, 0x200000), (0x236, 2, 1),
                            (0x238, 4, 10), (0x258, 8, 16 << 20), (0x260, 4, init_mib << 20)):
        image[at:at + size] = value.to_bytes(size, "little")
    return bytes(image)


@pytest.mark.parametrize("addition, init, line", [
    ("", 40, ""),
    ("", 70, '3:10: "memory" is too small for kernel "k": the kernel needs 70 MiB in one piece (best at 16 MiB) to '
             "unpack itself: raise memory"),
    ("initrd = 'i'", 40, '5:10: initrd "i" has 30720 KiB, which do not fit into the VM\'s memory beside the kernel: '
                         "raise memory"),
    ("cmdline = '12345678901'", 40, '5:11: "cmdline" is 11 bytes long; this kernel takes 10'),
])
def test_kernel_and_initrd_must_fit(addition, init, line, tmp_path):
    (tmp_path / "x.toml").write_text(MORE.format(addition))
    (tmp_path / "k").write_bytes(bzimage(init))
    (tmp_path / "i").write_bytes(bytes(30 << 20))
    done = run("x.toml", cwd=tmp_path)
    assert done.stdout.decode() == (f"x.toml:{line}\n" if line else "")


def test_machine_is_compared(tmp_path):
    (tmp_path / "x.toml").write_text(VALID + "cpus = [0, 4]\n" + VALID.replace('"a"', '"b"'))
    done = run("--syntax", "--cpus", 4, "--memory", 100, "x.toml", cwd=tmp_path)
    assert done.stdout.decode().splitlines() == [
        'x.toml:5:8: "cpus" has CPU 4, but this machine\'s last is CPU 3 (the first is CPU 0)',
        'x.toml:8:10: "memory" is 64 MiB, but of the 100 MiB that this machine has for VMs 36 MiB are left']
    assert run("--syntax", "--cpus", 5, "--memory", 128, "x.toml", cwd=tmp_path).returncode == 0


# ---- the command --------------------------------------------------------------------------------------------

def split(*args, cwd=None):
    done = subprocess.run([CHECK, *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_an_answer(option):
    status, out, err = split(option)
    assert (status, err) == (0, "")
    assert out.startswith("usage: bulkhead-check ")


@pytest.mark.parametrize("args, line", [
    (["--frobnicate", "x"], "--frobnicate is no option"), (["-x"], "-x is no option"), ([], "FILE is missing"),
    (["--cpus"], "--cpus needs a value"), (["--cpus", "-1", "x"], "--cpus needs a number, 1 or more"),
    (["--memory", "1G", "x"], "--memory needs a number, 1 or more"), (["--syntax"], "FILE is missing"),
])
def test_misuse_gives_the_usage(args, line):
    status, out, err = split(*args)
    assert (status, out) == (2, "")
    assert err.startswith(f"bulkhead-check: {line}\nusage: bulkhead-check ")


def test_each_of_several_files_is_judged(tmp_path):
    (tmp_path / "good.toml").write_text(VALID)
    (tmp_path / "bad.toml").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    done = split("--syntax", "folder", "good.toml", "none", "loop", "pipe", "bad.toml", cwd=tmp_path)
    assert done == (1, "folder: cannot be read: Is a directory\nnone: cannot be read: No such file or directory\n"
                       "loop: cannot be read: Too many levels of symbolic links\n"
                       "pipe: cannot be read: not a regular file\n"
                       'bad.toml:1:2: = is expected after the key "x"\n', "")
    assert split("--syntax", "--", "good.toml", cwd=tmp_path) == (0, "", "")


def test_files_of_another_folder_count(tmp_path):
    (tmp_path / "x.toml").write_text(VALID)
    (tmp_path / "others").mkdir()
    assert split("--files", "others", "x.toml", cwd=tmp_path)[0] == 1
    (tmp_path / "others/k").write_bytes(b"\xf4")
    assert split("--files", "others", "x.toml", cwd=tmp_path) == (0, "", "")
    (tmp_path / "k").write_bytes(b"")  # what stands beside the file comes first
    assert split("--files", "others", tmp_path / "x.toml")[1] == f'{tmp_path}/x.toml:4:10: kernel "k" is an empty file\n'


KNOWN = ("there is stress=save:N with N from 1 to 1000000000, stress=fault:KIND with KIND ud, pf, stack, assert, nmi or entry, "
         "stress=entry:SEED,N with both from 1 to 1000000000, max_run_us=N with N from 1 to 1000000000, "
         "off=NAME,NAME... with NAME vpid ")


def test_the_hypervisors_options_are_judged(tmp_path):
    (tmp_path / "x.toml").write_text(VALID)
    (tmp_path / "k").write_bytes(b"\xf4")
    options = tmp_path / "options.txt"
    options.write_text("stress=save:9\noff=vpid,rdtscp\n")
    assert split("x.toml", cwd=tmp_path) == (0, "", "")
    options.write_text("stress=save:9\n  strss=save:9\n")
    for path in ("x.toml", tmp_path / "x.toml"):
        status, out, _ = split(path, cwd=tmp_path)
        folder = f"{tmp_path}/" if path != "x.toml" else ""
        assert status == 1
        assert out.startswith(f'{folder}options.txt:2:3: unknown option "strss=save:9": {KNOWN}')
    options.write_text(" " * 1025)
    assert split("x.toml", cwd=tmp_path)[1] == "options.txt: is too long: at most 1024 bytes are allowed\n"
    # Words of a command line stand for the file's.
    assert split("--options", "off=npt-1g", "x.toml", cwd=tmp_path) == (0, "", "")
    assert split("--options", "stress=save:0", "x.toml", cwd=tmp_path) == (
        1, 'option "stress=save:0": allowed is stress=save:N with N from 1 to 1000000000\n', "")


def test_documentation_has_the_table_of_keys():
    keys = run("--keys").stdout.decode()
    assert keys in (ROOT / "docs" / "CONFIG.md").read_text()
