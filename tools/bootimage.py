# SPDX-License-Identifier: Apache-2.0
"""What tools/mkimage and tools/mkiso share: which files a configuration needs, the EFI system partition
that holds them, and GRUB's part. Everything is a function of its input: no clock, no random number, no root
rights, no loop device."""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import uuid

SECTOR = 512
GUESTS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/guest"))
MIB = 1 << 20
EPOCH = 1767225600  # 2026-01-01 00:00 UTC: the date of every file in an image
CONFIG_NAME = "bulkhead.toml"
KERNEL_NAME = "bulkhead.elf"
OPTIONS_NAME = "options.txt"  # kernel/option.h: words for the hypervisor itself
FOLDER = "bulkhead"
# kernel/abi/bootinfo.h: BOOT_FILE_MAX, BOOT_NAME_BYTES.
FILE_MAX = 64
NAME_BYTES = 96
FOLDER_DEPTH = 3
# Keys whose value must be a file; every other string is one when it names a file that is there.
FILE_KEYS = ("kernel", "initrd")

# FAT32 wants 65525 clusters; with one sector a cluster that is 33 MiB, and some is left for the user.
ESP_MIN_BYTES = 36 * MIB
ESP_SLACK_BYTES = 4 * MIB
ESP_ONE_SECTOR_CLUSTERS_MAX = 256 * MIB

GRUB_DIR = "/usr/lib/grub"
GRUB_COMMON = ["part_gpt", "part_msdos", "fat", "iso9660", "loopback", "normal", "multiboot2", "test", "regexp",
               "true", "echo", "configfile", "serial", "terminal", "sleep", "reboot", "halt", "ls", "cat"]
GRUB_MODULES = {"i386-pc": GRUB_COMMON + ["biosdisk", "vbe"], "x86_64-efi": GRUB_COMMON + ["efi_gop"]}


class ImageError(Exception):
    """Its text is the whole message for the user."""


def tool_path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def require(tools):
    """All that the work will need, before it begins."""
    missing = [tool for tool in tools if not shutil.which(tool, path=tool_path())]
    missing += [folder for folder in (f"{GRUB_DIR}/{platform}" for platform in GRUB_MODULES) if not os.path.isdir(folder)]
    if missing:
        raise ImageError(f"not installed: {', '.join(missing)}: run tools/setup")


def run(*command):
    env = dict(os.environ, SOURCE_DATE_EPOCH=str(EPOCH), MTOOLS_SKIP_CHECK="1", TZ="UTC", LC_ALL="C", PATH=tool_path())
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip() and " : ABORT : " not in line]
        said = "; ".join(lines[-2:])  # the cause comes last, but for xorriso's farewell
        how = (f"exit status {done.returncode}" if done.returncode > 0
               else f"ended by {signal.Signals(-done.returncode).name}")
        raise ImageError(f"{command[0]}: {how}{': ' if said else ''}{said}")


# ---- the configuration ------------------------------------------------------------------------------

def position(text, key, value):
    """line:column of `value` where it is assigned to `key`; of the first such assignment when unsure."""
    quoted = re.escape(value)
    found = re.search(rf"""^[ \t]*{re.escape(key)}[ \t]*=[ \t]*(["']){quoted}\1""", text, re.MULTILINE)
    if not found:
        found = re.search(rf"""(["']){quoted}\1""", text)
    if not found:
        return 1, 1
    at = found.start(1)
    line = text.count("\n", 0, at) + 1
    return line, at - (text.rfind("\n", 0, at) + 1) + 1


def strings(value, key=""):
    """All (key, string) pairs of a parsed document, in its order."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from strings(item, name)


def name_fault(name):
    """Why `name` cannot travel by FAT, GRUB and boot_info alike; None when it can."""
    parts = name.split("/")
    if len(name.encode()) >= NAME_BYTES:
        return f"longer than {NAME_BYTES - 1} bytes"
    if any(part in ("", ".", "..") for part in parts):
        return "not a path inside the configuration's folder"
    if len(parts) > FOLDER_DEPTH:
        return f"more than {FOLDER_DEPTH - 1} folders deep"
    bad = next((c for c in name if not c.isprintable() or c in " \"'\\*?[]{}$:<>|;"), None)
    return f"the character {bad!r} is not allowed" if bad else None


def find_file(config, name, files):
    """Where `name` is: beside the configuration, else in the folder `files` (None: nowhere else)."""
    beside = os.path.join(os.path.dirname(config), name)
    if files and not os.path.exists(beside):
        return os.path.join(files, name)
    return beside


def with_advice(text, folder):
    """`text`, with a word in each line about a missing file that stands where make puts guests."""
    def advise(match):
        there = not folder and os.path.isfile(os.path.join(GUESTS, match[1]))
        return match[0] + (f", or give --files {os.path.relpath(GUESTS)}" if there else "")
    return re.sub(r'.*\bfile "([^"/\n]+)" (?:is missing|beside).*', advise, text)


def read_config(path, checker, folder, options):
    """The (name, path) pairs of all files that the configuration at `path` needs, the configuration first. `options`
    are the hypervisor's own; without any, those of the file beside the configuration count."""
    if not os.path.exists(path):
        raise ImageError(f"{path}: no such configuration file")
    with open(path, "rb") as file:
        raw = file.read()
    if checker and os.access(checker, os.X_OK):
        extra = (["--files", folder] if folder else []) + (["--options", options] if options else [])
        done = subprocess.run([checker, *extra, "--", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != 0:
            raise ImageError(with_advice(done.stdout.rstrip(), folder) or f"{path}: {checker} refuses it")
    try:
        text = raw.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise ImageError(f"{path}:{line}:{column}: this is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(error))
        line, column, what = (where[2], where[3], where[1]) if where else (1, 1, str(error))
        raise ImageError(f"{path}:{line}:{column}: {what}") from None

    files = {CONFIG_NAME: path}
    for key, name in strings(document):
        source = find_file(path, name, folder)
        needed = key in FILE_KEYS
        if name_fault(name) and not needed:
            continue
        if not needed and not os.path.isfile(source):
            continue
        line, column = position(text, key, name)
        if name_fault(name):
            raise ImageError(f'{path}:{line}:{column}: {key}: file name "{name}": {name_fault(name)}')
        if not os.path.isfile(source):
            raise ImageError(with_advice(f'{path}:{line}:{column}: {key}: there is no file "{name}" beside the '
                                         'configuration' + (f" or in {folder}" if folder else ""), folder))
        if name == OPTIONS_NAME:
            raise ImageError(f'{path}:{line}:{column}: {key}: "{name}" holds the hypervisor\'s own options')
        if name == KERNEL_NAME:
            raise ImageError(f'{path}:{line}:{column}: {key}: "{name}" is the hypervisor\'s own file')
        files.setdefault(name, source)
    words = os.path.join(os.path.dirname(path), OPTIONS_NAME)
    if not options and os.path.exists(words):
        files[OPTIONS_NAME] = words
    if len(files) > FILE_MAX:
        raise ImageError(f"{path}:1:1: it names {len(files) - 1} files, at most {FILE_MAX - 1} are allowed")
    folded = {}
    for name in files:  # FAT does not tell them apart
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            line, column = position(text, "", name)
            raise ImageError(f'{path}:{line}:{column}: "{name}" and "{other}" differ only in case')
    return list(files.items())


# ---- GRUB --------------------------------------------------------------------------------------------

def grub_config():
    """GRUB cannot read TOML: it hands over every file of the folder, as it is when GRUB starts, so the stick
    stays editable. $root is the volume that GRUB itself was started from."""
    globs = " ".join(f"/{FOLDER}" + "/*" * depth for depth in range(1, FOLDER_DEPTH + 1))
    return f"""# Made by Bulkhead's tools/mkimage. Every file of the {FOLDER} folder becomes a named module.
if serial --unit=0 --speed=115200; then
	terminal_output --append serial
	terminal_input --append serial
fi

function bulkhead {{
	if [ ! -f /{FOLDER}/{CONFIG_NAME} ]; then
		set why="/{FOLDER}/{CONFIG_NAME} is not on this volume"
		return 1
	fi
	if [ ! -f /{FOLDER}/{KERNEL_NAME} ]; then
		set why="/{FOLDER}/{KERNEL_NAME} is not on this volume"
		return 1
	fi
	if multiboot2 /{FOLDER}/{KERNEL_NAME}; then true; else
		set why="/{FOLDER}/{KERNEL_NAME} is broken"
		return 1
	fi
	# A BIOS machine keeps its text screen; "1024x768x32" instead of "text" gives a graphics screen. Here,
	# because the command above sets the variable to what the kernel's header wishes.
	if [ "$grub_platform" = pc ]; then
		set gfxpayload=text
	fi
	if module2 /{FOLDER}/{CONFIG_NAME} {CONFIG_NAME}; then true; else
		set why="cannot read /{FOLDER}/{CONFIG_NAME}"
		return 1
	fi
	for file in {globs}; do
		if [ -f "$file" -a "$file" != /{FOLDER}/{CONFIG_NAME} -a "$file" != /{FOLDER}/{KERNEL_NAME} ]; then
			regexp --set=1:name "^/{FOLDER}/(.*)\\$" "$file"
			if module2 "$file" "$name"; then true; else
				set why="cannot read $file"
				return 1
			fi
		fi
	done
	boot
	set why="the boot loader cannot start the kernel"
}}

# What went wrong stays readable: ten seconds as it was printed, then as a title of the menu.
bulkhead
echo "bulkhead: not started: $why"
sleep --interruptible 10

menuentry "Bulkhead was not started: $why" {{
	true
}}
menuentry "Try again" {{
	configfile $prefix/grub.cfg
}}
menuentry "Restart the machine" {{
	reboot
}}
"""


def grub_mkimage(platform, prefix, out, early=None, form=None):
    # efi_gop alone: the native drivers that all_video brings choose 24 bits a pixel.
    modules = GRUB_MODULES[platform]
    extra = ["-c", early] if early else []
    run("grub-mkimage", "-O", form or platform, "-d", f"{GRUB_DIR}/{platform}", "-p", prefix, *extra, "-o", out, *modules)


# ---- the EFI system partition ------------------------------------------------------------------------

def copy_in(work, name, source):
    path = os.path.join(work, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copyfile(source, path)
    return path


def stage(work, files, kernel, loader, options):
    """Lays out the partition's tree below `work`; returns its files' relative paths, sorted."""
    for path, what in ((kernel, "the kernel"), (loader, "the UEFI loader")):
        if not os.path.isfile(path):
            raise ImageError(f"{path}: {what} is not built")
    copy_in(work, "EFI/BOOT/BOOTX64.EFI", loader)
    copy_in(work, f"{FOLDER}/{KERNEL_NAME}", kernel)
    for name, source in files:
        copy_in(work, f"{FOLDER}/{name}", source)
    if options:
        with open(os.path.join(work, FOLDER, OPTIONS_NAME), "w") as file:
            file.write(options + "\n")
    with open(os.path.join(work, "EFI/BOOT/grub.cfg"), "w") as file:
        file.write(grub_config())
    grub_mkimage("x86_64-efi", "/EFI/BOOT", os.path.join(work, "EFI/BOOT/grubx64.efi"))
    found = []
    for folder, folders, names in os.walk(work):
        folders.sort()
        for name in names:
            path = os.path.join(folder, name)
            os.utime(path, (EPOCH, EPOCH))
            found.append(os.path.relpath(path, work))
    return sorted(found)


def digest(work, paths):
    total = hashlib.sha256()
    for path in paths:
        with open(os.path.join(work, path), "rb") as file:
            total.update(path.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.digest()


def derived_uuid(seed, label):
    return uuid.UUID(bytes=hashlib.sha256(seed + label.encode()).digest()[:16], version=4)


def make_esp(work, paths, seed, out):
    """Writes the FAT32 file system with the staged tree to `out`."""
    content = sum((os.path.getsize(os.path.join(work, path)) + 4095) // 4096 * 4096 for path in paths)
    size = max(ESP_MIN_BYTES, content + content // 64 + ESP_SLACK_BYTES)
    size = (size + MIB - 1) // MIB * MIB
    open(out, "wb").close()
    os.truncate(out, size)  # by name, which an error then has
    cluster = ["-s", "1"] if size <= ESP_ONE_SECTOR_CLUSTERS_MAX else []
    run("mkfs.vfat", "-F", "32", *cluster, "-i", seed[:4].hex(), "-n", "BULKHEAD", "--invariant", out)
    folders = sorted({os.path.dirname(path) for path in paths})
    folders = sorted({"/".join(folder.split("/")[:i + 1]) for folder in folders for i in range(folder.count("/") + 1)})
    for folder in folders:
        run("mmd", "-i", out, f"::{folder}")
    for path in paths:
        run("mcopy", "-m", "-i", out, os.path.join(work, path), f"::{path}")
    return size


# ---- the command -------------------------------------------------------------------------------------

TOOLS = ("mkfs.vfat", "mmd", "mcopy", "grub-mkimage")


def os_error(error):
    """One line of an OSError."""
    name = error.filename2 or error.filename  # of a copy, the target
    return f"{name}: {error.strerror}" if name else error.strerror or str(error)


def check_out(out, inputs):
    """Refuses what the finished image could not or must not replace, before any work."""
    if os.path.isdir(out):
        raise ImageError(f"{out}: is a directory; name the image file to write")
    if os.path.exists(out) and not os.path.isfile(out):
        raise ImageError(f"{out}: is not a regular file; write the image to a file and copy that (dd)")
    if any(os.path.exists(out) and os.path.samefile(out, path) for path in inputs if os.path.exists(path)):
        raise ImageError(f"{out}: is one of the files that the image is made of")


def write(args, build):
    """Makes the image beside its final name, then renames it: there is a whole one or none. Returns the number of
    files that the configuration brought."""
    out = os.path.realpath(args.out)
    unfinished = f"{out}.{os.getpid()}.part"
    check_out(out, [args.config, args.kernel, args.loader])
    files = read_config(args.config, args.checker, args.files, args.options)
    check_out(out, [path for _, path in files])
    try:
        open(unfinished, "wb").close()  # a folder that takes no file shows before the work
        with tempfile.TemporaryDirectory(prefix="bulkhead-image.") as temporary:
            tree, esp = os.path.join(temporary, "tree"), os.path.join(temporary, "esp.img")
            os.mkdir(tree)
            paths = stage(tree, files, args.kernel, args.loader, args.options)
            seed = digest(tree, paths)
            esp_bytes = make_esp(tree, paths, seed, esp)
            build(esp, esp_bytes, seed, temporary, unfinished)
        os.replace(unfinished, out)
    except OSError as error:
        if error.filename == unfinished or not error.filename:
            error.filename = args.out
        raise
    finally:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
    return len(files)


def terminated(_signal, _frame):
    raise KeyboardInterrupt


def main(build, description, tools=()):
    """The command line of both tools; build(esp_path, esp_bytes, seed, work, out) writes the result with `tools`."""
    import argparse
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help="the configuration (TOML); the files it names lie beside it")
    parser.add_argument("-o", "--out", required=True, help="the file to write")
    parser.add_argument("--files", help="a folder with the files that do not lie beside the configuration")
    parser.add_argument("--kernel", default=f"{here}/build/bulkhead.elf", help="kernel ELF (default: the built one)")
    parser.add_argument("--loader", default=f"{here}/build/BOOTX64.EFI", help="UEFI loader (default: the built one)")
    parser.add_argument("--checker", default=f"{here}/build/bulkhead-check",
                        help="run on the configuration first when it exists (default: the built one)")
    parser.add_argument("--options", default="",
                        help=f"words for the hypervisor itself, instead of those in {OPTIONS_NAME} beside the configuration")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, terminated)
    try:
        require((*TOOLS, *tools))
        count = write(args, build)
    except (ImageError, OSError) as error:
        print(os_error(error) if isinstance(error, OSError) else error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(f"{args.out}: {os.path.getsize(args.out) // MIB} MiB, {count} files")
    return 0
