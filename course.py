"""The course's commands, for a machine that has Python 3.10 or newer and nothing else.

    python3 course.py lab      make .venv, fetch the weights, open JupyterLab on the first notebook
    python3 course.py test     make .venv, run the unit tests, every notebook and the style check
                               (--offline: the same with the network cut off)
    python3 course.py demo     execute notebook 03 and write one HTML file under build/
    python3 course.py render   write every notebook and a start page as HTML under build/
                               (as they lie; --preset quick executes them first)

A second run does no work twice. This file uses the standard library only, and a syntax that
Python 2.7 can still read, so that an old Python ends with a sentence and not with a traceback.
"""

import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "The course needs Python 3.10 or newer, and this is Python %d.%d (%s). Install a newer "
        "Python from python.org or your system's packages, then run course.py with it, for "
        "example: python3.12 course.py lab\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
    sys.exit(1)

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
STAMP = os.path.join(VENV, "course.json")
MEASURED = os.path.join(ROOT, "build", "test")
WORKERS = "2"
NO_NETWORK = (
    "getaddrinfo failed|Temporary failure in name|Name or service not known|nodename nor servname|"
    "NewConnectionError|NameResolutionError|Connect(ion)?TimeoutError|ReadTimeoutError|ProxyError|"
    "Network is unreachable|Failed to establish a new connection"
)


class Stop(Exception):
    """The command ends here: one sentence for the user."""


def say(text, stream=None):
    """Write one line now, whatever the terminal's encoding is."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def child_environment(extra=None):
    """The environment for every program started here: .venv's packages and UTF-8, nothing else."""
    env = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "__PYVENV_LAUNCHER__"):
        env.pop(name, None)
    env.update(PYTHONUTF8="1", PYTHONNOUSERSITE="1", PIP_USER="0", JUPYTER_PREFER_ENV_PATH="1")
    env.update(extra or {})
    return env


def wait(process):
    """Wait for a program; Ctrl-C is that program's to answer, the third one kills it."""
    interrupts = 0
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 2:
                process.kill()
    if interrupts:
        raise KeyboardInterrupt
    return process.returncode


def run(arguments, env=None):
    """Run .venv's Python with these arguments in the course's folder; its exit status."""
    command = [PYTHON] + arguments
    return wait(subprocess.Popen(command, cwd=ROOT, env=child_environment(env)))


def pip(arguments, purpose):
    """Run pip, show what it prints, and turn a failure into a sentence that says what to do."""
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"] + arguments
    process = subprocess.Popen(command, cwd=ROOT, env=child_environment(), stderr=subprocess.PIPE)
    complaints = []
    try:
        for line in iter(process.stderr.readline, b""):
            complaints.append(line.decode("utf-8", "replace").rstrip())
            say(complaints[-1], sys.stderr)
    finally:
        status = wait(process)
    if status != 0:
        raise Stop(why_pip_failed("\n".join(complaints), purpose))


def why_pip_failed(complaints, purpose):
    """One sentence on what stood in pip's way, and what to do."""
    again = "then run the same command again; what is already there is kept."
    if "No space left" in complaints or "Errno 28" in complaints:
        return "The disk is full while %s. Make room (8 GB is enough), %s" % (purpose, again)
    if re.search(NO_NETWORK, complaints):
        return (
            "No network: the package index could not be reached while %s. Connect, or check the "
            "proxy and the address of the index, %s" % (purpose, again)
        )
    if "No matching distribution" in complaints:
        return (
            "The index has no build that fits while %s. Perhaps Python %d.%d is too new or too old "
            "for it: delete .venv, take another one, %s"
            % ((purpose,) + sys.version_info[:2] + (again,))
        )
    return "pip failed while %s; its last lines above say why. Mend that, %s" % (purpose, again)


def fingerprint():
    """What the installed packages depend on: the text of pyproject.toml."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        return hashlib.sha256(file.read().replace(b"\r\n", b"\n")).hexdigest()


def read_stamp():
    """What the last installation wrote; without "extras" it is unfinished. Empty if unreadable."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(**facts):
    """Put the facts into the stamp, at once or not at all."""
    with open(STAMP + ".part", "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)
    os.replace(STAMP + ".part", STAMP)


def venv_version():
    """The environment's Python as "3.11", or None when it does not start or has no pip."""
    command = [PYTHON, "-c", "import sys, pip; print('%d.%d' % sys.version_info[:2])"]
    try:
        answer = subprocess.check_output(
            command, env=child_environment(), stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.decode("ascii", "replace").strip()


def why_anew(stamp, version, torch_index):
    """Why the environment cannot be kept, or None."""
    if version is None:
        return "does not work"
    if tuple(int(part) for part in version.split(".")) < (3, 10):
        return "has Python %s, and the course needs 3.10 or newer" % version
    if stamp and stamp.get("python") != version:
        return "was made for Python %s and now has %s" % (stamp.get("python"), version)
    if stamp and stamp.get("place") != ROOT:
        return "was made in another folder"
    if stamp and torch_index is not None and stamp.get("torch_index") != torch_index:
        return "has torch from another package index"
    return None


def make_venv():
    """Create .venv, or say what this Python lacks for that."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Stop(
            "This Python comes without the modules venv and ensurepip. On Debian and Ubuntu: "
            "sudo apt install python3-venv (or python%d.%d-venv). Then run the same command "
            "again." % sys.version_info[:2]
        )
    say("Making the environment .venv with Python %d.%d ..." % sys.version_info[:2])
    if subprocess.call([sys.executable, "-m", "venv", VENV], env=child_environment()) != 0:
        raise Stop(
            "The environment could not be made in %s; the lines above say why. Check that the "
            "folder can be written to and that the disk has room, then run the same command "
            "again." % VENV
        )


def remove_venv(reason):
    """Delete an environment that cannot be kept."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        raise Stop(
            ".venv %s and has to be made anew, but course.py is running inside it. Leave it "
            "(deactivate) and run the same command with the system's Python." % reason
        )
    say("The environment .venv %s: making it anew." % reason)
    try:
        shutil.rmtree(VENV)
    except OSError as error:
        raise Stop(
            "%s could not be deleted (%s). Close every program that uses it, delete it by hand, "
            "and run the same command again." % (VENV, error.strerror or error)
        )


def prepare(extra, torch_index):
    """Bring .venv to where the package and this extra are installed; quick when they are."""
    stamp, version = read_stamp(), None
    if os.path.lexists(VENV):
        version = venv_version()
        reason = why_anew(stamp, version, torch_index)
        if reason:
            remove_venv(reason)
            stamp, version = {}, None
        elif "extras" not in stamp:
            say("The environment .venv is unfinished: completing it.")
    current = stamp.get("pyproject") == fingerprint()
    if current and extra in stamp.get("extras", ()):
        return
    if "extras" in stamp and not current:
        say("pyproject.toml has changed: bringing .venv up to date.")
    if version is None:
        make_venv()
    install(extra, torch_index, stamp)


def install(extra, torch_index, stamp):
    """Install the package with its extras, check that it can be imported, and write the stamp."""
    extras = sorted(set(stamp.get("extras", ())) | {extra})
    if torch_index is None:
        torch_index = stamp.get("torch_index")
    facts = dict(python=venv_version(), place=ROOT, torch_index=torch_index)
    write_stamp(**facts)
    say("Installing the course's packages (the first time this takes some minutes) ...")
    pip(["pip>=24.1"], "bringing pip up to date")
    if torch_index:
        pip(["--index-url", torch_index, "torch", "torchvision"], "installing torch")
    pip(["-e", ".[%s]" % ",".join(extras)], "installing the course's packages")
    if run(["-c", "import coursekit, torch, torchvision"]) != 0:
        raise Stop(
            "The packages are installed, but they cannot be imported; the lines above say why. "
            "Delete the folder .venv and run the same command again."
        )
    write_stamp(extras=extras, pyproject=fingerprint(), **facts)


def fetch():
    """Fetch the pretrained weights; nothing else can start without them."""
    if run(["-m", "coursekit.cli", "fetch"]) != 0:
        raise Stop("The pretrained weights are not there; the line above says what to do.")


def lab(options):
    """Open JupyterLab on the first notebook."""
    prepare("lab", options.torch_index)
    fetch()
    say("Opening JupyterLab; Ctrl-C in this window ends it.")
    # In a container there often is no other user than root.
    root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    return run(["-m", "jupyterlab", os.path.join("notebooks", "00_start_here.ipynb")] + root)


def test(options):
    """Unit tests, notebooks and style, all of them even when one fails."""
    slow_too = options.slow or options.only_slow
    extra = "coverage" if options.coverage else "slow" if slow_too else "test"
    prepare(extra, options.torch_index)
    fetch()
    if options.coverage:
        # In one process: coverage of several workers would have to be put together.
        counting = ["--cov=coursekit", "--cov-report=term:skip-covered", "tests"]
        return run_stages([("coverage", ["-m", "pytest"] + counting)], {})
    workers = ["-m", "pytest", "-n", WORKERS]
    notebooks = workers + ["--dist", "loadscope", "--nbval-lax", "--nbval-current-env"]
    notebooks += ["--nbval-cell-timeout=180"]
    stages = [
        ("unit tests", workers + ["tests"] + (["--slow"] if options.slow else [])),
        ("notebooks", notebooks + ["notebooks"]),
        ("style", ["-m", "ruff", "check", "."]),
        ("format", ["-m", "ruff", "format", "--check", "."]),
    ]
    # With every answer filled in: there a check that does not pass is an error.
    solved = os.path.join("build", "solved")
    slow = [
        ("solving", ["-m", "coursekit.cli", "solve", "--out", solved]),
        ("solutions", notebooks + [solved], {"COURSEKIT_GRADING": "1"}),
    ]
    if options.only_slow:
        stages = [("slow tests", workers + ["--only-slow", "tests"])]
    stages += slow if slow_too else []
    return run_stages(stages, cut_off() if options.offline else {})


def cut_off():
    """The environment in which every Python refuses to use the network, and notes who tried."""
    guard, log = os.path.join(ROOT, "tests", "offline"), os.path.join(MEASURED, "network.txt")
    return dict(PYTHONPATH=guard, COURSEKIT_OFFLINE="1", COURSEKIT_NETWORK_LOG=log)


def run_stages(stages, surroundings):
    """Run every stage (name, arguments, environment), then print the table; 1 if any failed."""
    # One torch thread a worker: the workers share the cores.
    env = dict(surroundings, COURSEKIT_PRESET="ci", COURSEKIT_THREADS="1", OMP_NUM_THREADS="1")
    shutil.rmtree(MEASURED, ignore_errors=True)
    os.makedirs(MEASURED)
    done = []
    for stage in stages:
        name, arguments, start = stage[0], list(stage[1]), time.time()
        if arguments[1] == "pytest":
            tally = os.path.join(MEASURED, name.replace(" ", "_") + ".json")
            arguments += ["-p", "coursekit.tally", "--tally", tally]
        say("\n== %s" % name)
        status = run(arguments, dict(env, **(stage[2] if len(stage) > 2 else {})))
        done.append(dict(name=name, status=status, seconds=time.time() - start))
        say("== %s %s, %d s" % (name, "failed" if status else "passed", done[-1]["seconds"]))
    with open(os.path.join(MEASURED, "stages.json"), "w", encoding="utf-8") as file:
        json.dump(dict(stages=done, offline=bool(surroundings)), file, indent=1)
    table = run(["-m", "coursekit.run_table", MEASURED])
    return 1 if table or any(stage["status"] for stage in done) else 0


def demo(options):
    """Notebook 03 on the quick preset, as one HTML file."""
    prepare("run", options.torch_index)
    fetch()
    return run(["-m", "coursekit.cli", "run", "03", "--preset", "quick", "--out", "build"])


def render(options):
    """Every notebook as HTML with a start page: as it lies, or executed on a preset."""
    prepare("run", options.torch_index)
    if options.preset is None:
        return run(["-m", "coursekit.cli", "render"])
    fetch()
    return run(["-m", "coursekit.cli", "render", "--preset", options.preset])


def main():
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(
        prog="course.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="{lab,test,demo,render}")
    index_help = "take torch and torchvision from this package index"
    for function in (lab, test, demo, render):
        command = commands.add_parser(function.__name__, description=function.__doc__)
        command.add_argument("--torch-index", metavar="URL", help=index_help)
        command.set_defaults(function=function)
        if function is test:
            # The slow tests install packages: they need the network.
            kind = command.add_mutually_exclusive_group()
            kind.add_argument("--slow", action="store_true", help="the slow tests too")
            kind.add_argument("--only-slow", action="store_true", help="nothing but those")
            kind.add_argument("--offline", action="store_true", help="with the network cut off")
            counted = "the unit tests in one process, and which lines they reach"
            kind.add_argument("--coverage", action="store_true", help=counted)
        if function is render:
            presets = dict(choices=("ci", "quick", "full"), help="execute the notebooks on it")
            command.add_argument("--preset", **presets)
    options = parser.parse_args()
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return options.function(options)
    except Stop as stop:
        say(str(stop), sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped. Run the same command again to go on.", sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
