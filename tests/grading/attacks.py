"""Notebooks that try to get a point, a mark of others, or the grader's machine. Each attacks in its `relu`.

Before it stands a right `linear_forward`, after it a right `momentum_step`: two points that it may keep.
"""

from __future__ import annotations

import json
from typing import Any

BEFORE = "import numpy as np\n\ndef linear_forward(x, w, b):\n    return x @ w + b"
AFTER = """
def momentum_step(p, v, gradient, learning_rate, momentum):
    v *= momentum
    v += gradient
    p -= learning_rate * v
"""

ATTACKS: dict[str, str] = {}
HARMLESS_TO_ITSELF = []  # the others may break their own two right answers


def attack(name: str, source: str, keeps: bool = True) -> None:
    ATTACKS[name] = source
    if keeps:
        HARMLESS_TO_ITSELF.append(name)


def notebook(*sources: str, **more: Any) -> str:
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more)


# objects that lie -------------------------------------------------------------------------------------------

attack("equal_to_all", """
class Yes:
    __eq__ = lambda s, o: True
    __hash__ = None
def relu(x):
    return Yes()
""")  # fmt: skip
attack("array_on_demand", """
class Lazy:
    def __array__(self, *a, **k):
        raise SystemExit
    shape, dtype, __len__ = property(lambda s: 1 / 0), float, lambda s: -1
def relu(x):
    return [Lazy()]
""")  # fmt: skip
attack("array_subclass", """
class Always(np.ndarray):
    def __array_ufunc__(self, *a, **k): return True
    def copy(self, *a): return self
    def __reduce__(self): return (print, ("pickled",))
def relu(x):
    return np.zeros(x.shape).view(Always)
""")  # fmt: skip
attack("dict_subclass", """
class Any(dict):
    def keys(self): return {"returned"}
    def __getitem__(self, key): return self
    def items(self): return iter([("raised", self)] * 3)
def relu(x):
    return Any()
""")  # fmt: skip
attack("nan", "def relu(x):\n    return np.full(x.shape, np.nan)")
attack("infinity", "def relu(x):\n    return np.where(x > 0, np.inf, -np.inf)")
attack("giant_integer", "def relu(x):\n    return 10 ** 4000")
attack("giant_digits", "def relu(x):\n    return 1 << 3_000_000")
attack("dtype_object", "def relu(x):\n    return np.array([object(), None], object)")
attack("dtype_complex", "def relu(x):\n    return np.maximum(x, 0) + 1j * x")
attack("dtype_text", "def relu(x):\n    return np.maximum(x, 0).astype(str)")
attack("dtype_structured", "def relu(x):\n    return np.zeros(3, [('a', 'f4'), ('b', 'O')])")
attack("broadcast_giant", "def relu(x):\n    return np.broadcast_to(np.float64(0), (2**20, 2**20))")
attack("deep_list", "def relu(x):\n    a = []\n    for _ in range(100_000):\n        a = [a]\n    return a")
attack("many_lists", "def relu(x):\n    return [[] for _ in range(1_000_000)]")
attack("huge_array", "def relu(x):\n    return np.zeros(2**23)")
attack("always_raises", "def relu(x):\n    raise ValueError('refused')")
attack("error_without_words", """
class Mute(Exception):
    def __str__(self): raise Mute
    __repr__ = __str__
def relu(x):
    raise Mute
""")  # fmt: skip
attack("constant", "def relu(x):\n    return 0.0")
attack("twice_defined", "def relu(x):\n    return np.maximum(x, 0)\n\ndef relu(x):\n    return x")

# patches ----------------------------------------------------------------------------------------------------

attack("input_transformer", """
get_ipython().input_transformers_cleanup.append(lambda lines: ["assert True"])
def relu(x):
    get_ipython().run_line_magic("pycat", "x")
""")  # fmt: skip
attack("builtins", """
import builtins
builtins.isinstance = lambda *a: True
builtins.len = lambda x: 0
def relu(x):
    builtins.all = builtins.any = lambda *a: True
    return x
""", keeps=False)  # fmt: skip
attack("numpy", """
def relu(x):
    import numpy, torch
    numpy.allclose = numpy.array_equal = numpy.isclose = lambda *a, **k: True
    torch.allclose = torch.equal = lambda *a, **k: True
    numpy.savez = lambda *a, **k: None
    return x
""", keeps=False)  # fmt: skip
attack("our_package", """
def relu(x):
    import dl_course.exercises.probes as probes, dl_course.grading.worker as w, __main__
    for name in list(probes._probes):
        probes._probes[name] = lambda answer, case: {"returned": True, "passed": True, "points": 99}
    __main__.verdict = w.verdict = lambda *a: True
    return True
""", keeps=False)  # fmt: skip
attack("the_reference", """
def relu(x):
    from dl_course.exercises.checks.ch02 import ReLU
    return ReLU.reference(x)
""")  # fmt: skip
attack("judging_by_itself", """
def relu(x):
    from dl_course.exercises.judging import Exercise
    return Exercise.registered["relu"].reference(x)
""")  # fmt: skip
attack("rummaging_in_frames", """
import sys
def relu(x):
    frame = sys._getframe()
    while frame:
        for key, value in {**frame.f_globals, **frame.f_locals}.items():
            if any(word in str(key) for word in ("expected", "reference", "seed_", "verdict")):
                return value(x) if callable(value) else value
        frame = frame.f_back
    return "nothing found"
""")  # fmt: skip
attack("rummaging_in_memory", """
import gc
def relu(x):
    for each in gc.get_objects():
        if type(each).__name__ in ("ReLU", "Verdict") and hasattr(each, "reference"):
            return type(each).reference(x)
    return "nothing found"
""")  # fmt: skip
attack("reply_of_its_own", """
def relu(x):
    import socket, struct, sys, json
    from dl_course.exercises.wire import dump
    f, number = sys._getframe(), ""
    while f:
        if isinstance(f.f_locals.get("question"), dict):
            number = f.f_locals["question"].get("number", number)
        f = f.f_back
    data = dump({"number": number, "outputs": {"passed": True, "points": 99}, "status": "passed"})
    for place in range(3, 10):
        try:
            s = socket.socket(fileno=place)
            s.sendall((struct.pack(">Q", len(data)) + data) * 3)
            s.detach()
        except OSError:
            pass
    return x
""", keeps=False)  # fmt: skip
attack("garbage_to_the_judge", """
def relu(x):
    import os
    for place in range(3, 10):
        try:
            os.write(place, b"\\xff" * 4096)
        except OSError:
            pass
    return x
""")  # fmt: skip
attack("marks_on_stdout", """
def relu(x):
    import os
    for place in (1, 2):
        os.write(place, b'{"points": 99, "status": "passed"}\\n')
    print('{"points": 99}')
    return x
""")  # fmt: skip

# ends of the process ----------------------------------------------------------------------------------------

attack("os_exit", "def relu(x):\n    import os\n    os._exit(0)")
attack("sys_exit", "def relu(x):\n    raise SystemExit(0)")
attack("exit_while_loading", "import os\nMINE = os._exit(0)\ndef relu(x):\n    return MINE")
attack("segfault", "def relu(x):\n    import ctypes\n    ctypes.string_at(0)")
attack("stack_overflow", """
def relu(x):
    import sys
    sys.setrecursionlimit(10**9)
    f = lambda n: f(n + 1)
    return f(0)
""")  # fmt: skip
attack("at_exit", """
import atexit
DONE = atexit.register(lambda: __import__('time').sleep(99))
def relu(x):
    DONE
    raise SystemExit
""")  # fmt: skip
attack("kills_around", """
def relu(x):
    import os, signal
    for pid in (os.getppid(), -1):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return x
""")  # fmt: skip
attack("closes_everything", "def relu(x):\n    import os\n    os.closerange(0, 100)")

# time, memory, output, processes ----------------------------------------------------------------------------

attack("endless", "def relu(x):\n    import time\n    while True:\n        time.sleep(0.1)")
attack("endless_and_deaf", """
def relu(x):
    import signal, time
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass
""")  # fmt: skip
attack("threads_that_go_on", """
def relu(x):
    import threading, time
    for _ in range(10):
        threading.Thread(target=time.sleep, args=(999,)).start()
    return x
""")  # fmt: skip
attack("memory_bomb", "def relu(x):\n    a = []\n    while True:\n        a.append(bytearray(2**26))")
attack("memory_of_children", """
def relu(x):
    import os, time
    for _ in range(4):
        if not os.fork():
            a = bytearray(b"1") * (400 * 2**20)
            time.sleep(99)
    time.sleep(99)
""")  # fmt: skip
attack("a_line_of_100_MB", """
def relu(x):
    print('x' * 10**8)
    import os
    os.write(1, b'y' * 10**6)
    raise ValueError('z' * 10**7)
""")  # fmt: skip
attack("fills_the_disk", """
def relu(x):
    for i in range(50):
        with open(f"full{i}", "wb") as file:
            for _ in range(64):
                file.write(bytes(2**24))
    return x
""")  # fmt: skip
attack("daemon", """
def relu(x):
    import os, subprocess, sys
    if not os.fork():
        os.setsid()
        if not os.fork():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "MARKER"])
            __import__("time").sleep(600)
        os._exit(0)
    return x
""")  # fmt: skip
attack("fork_bomb", """
def relu(x):
    import os, time
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.1)
""")  # fmt: skip

# files, secrets, the network --------------------------------------------------------------------------------

attack("deletes", """
def relu(x):
    import os, shutil
    for place in ("SUBMISSIONS", "RESULTS", os.path.expanduser("~"), ".", ".."):
        shutil.rmtree(place, ignore_errors=True)
    return x
""")  # fmt: skip
attack("writes_marks", """
def relu(x):
    import glob, os
    for place in ("RESULTS/results", "SUBMISSIONS", "..", "/tmp"):
        for path in glob.glob(place + "/**", recursive=True):
            try:
                open(path, "w").write('{"points": 99, "exercises": {}}')
            except OSError:
                pass
    return x
""")  # fmt: skip
attack("reads_a_neighbour", """
import glob, json
def relu(x):
    for path in [*glob.glob("SUBMISSIONS/*honest*"), *glob.glob("../**/*honest*", recursive=True)]:
        for cell in json.load(open(path))["cells"]:
            source = "".join(cell["source"])
            if "def relu" in source:
                names = {"np": np}
                exec(source, names)
                return names["relu"](x)
    return "nothing found"
""")  # fmt: skip
attack("reads_the_solutions", """
import glob
def relu(x):
    for path in glob.glob("ROOT/solutions/02*.py") + glob.glob("ROOT/dl_course/exercises/checks/ch02.py"):
        return np.maximum(x, 0)
    return "nothing found"
""")  # fmt: skip
attack("environment_and_proc", """
import glob, os
def relu(x):
    seen = str(dict(os.environ))
    for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/cwd"):
        try:
            seen += os.readlink(path) if path.endswith("cwd") else open(path, errors="replace").read()
        except OSError:
            pass
    return np.maximum(x, 0) if "SECRET" in seen or "RESULTS" in seen else seen
""")  # fmt: skip
attack("network", """
def relu(x):
    import socket
    return np.maximum(x, 0) if len(socket.if_nameindex()) > 1 else "no network"
""")  # fmt: skip
attack("escapes_and_scripts", r"""
def relu(x):
    raise ValueError("\x1b[2J\x1b]0;owned\x07<script>alert('mine')</script>\u202e=cmd|'/C calc'!A0")
""")  # fmt: skip
attack("asks_the_keyboard", "def relu(x):\n    return input()")
