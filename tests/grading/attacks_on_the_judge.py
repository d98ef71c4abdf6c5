"""Notebooks that try to end a run, to hold the judge up, to outlive their worker, or to tell what is hidden.

Those that try a system call return the right answer where it works: then it shows in their points.
"""

from __future__ import annotations

from tests.grading.attacks import ATTACKS, attack

_FORGE = """
import json, os, struct, sys
import numpy as np

def forge(value=None, arrays=(), data=b"", text=b"", **fields):
    frame, number = sys._getframe(), ""
    while frame:
        if isinstance(frame.f_locals.get("question"), dict):
            number = frame.f_locals["question"].get("number", number)
        frame = frame.f_back
    value = {"number": number, **fields} if value is None else value
    text = text or json.dumps({"value": value, "arrays": list(arrays)}).encode()
    body = struct.pack(">I", len(text)) + text + data
    body = memoryview(struct.pack(">Q", len(body)) + body)
    while body:
        body = body[os.write(3, body):]
    os._exit(0)

A = {"__array__": None}
ONE = {"arrays": [["<f8", [2]]], "data": bytes(16)}
"""

_FORGED = {  # a field → what stands there; a reply to the question at hand, with the right number
    "an_array_for_what_was_raised": 'forge(outputs={"raised": A, "message": "", "line": ""}, **ONE)',
    "an_array_for_the_outputs": "forge(outputs=A, **ONE)",
    "an_array_for_the_number": "forge({'number': A, 'outputs': {}}, **ONE)",
    "a_list_for_a_reply": "forge([1, 2, 3])",
    "a_number_for_a_reply": "forge(7)",
    "a_reply_without_outputs": "forge(found=True)",
    "raised_without_words": 'forge(outputs={"raised": "ValueError"})',
    "a_field_that_nobody_asked_for": 'forge(outputs={}, points=99, status="passed")',
    "a_field_of_escapes": 'forge(**{"\\x1b[2J" + "x" * 10**5: 1})',
    "colliding_integers": 'forge(outputs={"returned": [k * (2**61 - 1) for k in range(60_000)]})',
    "colliding_small_integers": 'forge(outputs={"returned": [k * (2**61 - 1) for k in range(9)] * 9_000})',
    "a_thousand_arrays": 'forge(outputs={"returned": [A] * 1000}, arrays=[["<f8", [2**20, 0]]] * 1000)',
    "ten_thousand_arrays": 'forge([A] * 10_000, [["<f8", []]] * 10_000, bytes(80_000))',
    "an_array_named_300_times": 'forge([A] * 300, [["<f8", [2**20]]], bytes(2**23))',
    "twenty_thousand_names": 'forge(outputs={str(n): n for n in range(20_000)})',
    "many_names": 'forge(outputs={str(n): n for n in range(200_000)})',
    "digits_without_end": "forge(text=b'{\"value\": ' + b'9' * 2**20 + b', \"arrays\": []}')",
    "brackets_without_end": "forge(text=b'[' * 2**20)",
    "objects_in_an_array": 'forge(outputs={"returned": A}, arrays=[["|O", [2]]], data=bytes(16))',
    "an_array_of_negative_size": 'forge(outputs={"returned": A}, arrays=[["<f8", [-1, -2]]], data=bytes(16))',
    "a_length_without_bytes": 'os.write(3, struct.pack(">Q", 2**63)); os._exit(0)',
    "a_reply_in_drips": """os.write(3, struct.pack(">Q", 1000))
    for _ in range(1000):
        os.write(3, b"x")
        __import__("time").sleep(0.2)""",
    "nan_everywhere": 'forge(outputs={"returned": float("nan"), "inputs afterwards": [float("-inf")] * 9})',
}  # fmt: skip
for _name, _call in _FORGED.items():
    attack(_name, f"{_FORGE}\ndef relu(x):\n    {_call}")

for _name, _call in {
    "an_array_for_found": "forge(found=A, **ONE)",
    "an_array_for_cells": "forge(found=True, cells=A, untouched=False, **ONE)",
    "texts_that_are_none": 'forge(found=True, used=[1, None], skipped=[["x"]], untouched=False)',
}.items():
    attack(_name, f"{_FORGE}\nFOUND = {_call}\ndef relu(x):\n    return FOUND")

# what outlives a worker, or looks out of it -----------------------------------------------------------------

_CALL = """
import ctypes, platform
SYSTEM = ctypes.CDLL(None, use_errno=True)
def call(x86, arm, *arguments):
    number = {"x86_64": x86, "aarch64": arm}[platform.machine()]
    return SYSTEM.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
"""
_CALLS = {
    "shared_segment": "call(29, 194, 0, 2**20, 0o1600)",
    "memory_in_a_file": "call(319, 279, b'mine', 0)",
    "key_left_behind": "call(248, 217, b'user', b'copied', b'ANSWER', 6, -4)",
    "key_of_a_neighbour": "call(249, 218, b'user', b'copied', None, 0)",
    "keyring_of_its_own": "call(250, 219, 1, None)",
    "user_namespace": "call(272, 97, 0x10000000)",
    "clone_into_namespaces": "call(56, 220, 0x10000000 | 17, None, None, None, None)",
    "clone3_into_namespaces": "call(435, 435, b'\\0\\0\\0\\x10' + bytes(84), 88)",
    "tmpfs_of_its_own": "call(165, 40, b't', b'/tmp', b'tmpfs', 0, None)",
    "message_queue": "call(240, 180, b'mine', 0o102, 0o600, None)",
    "virtual_socket": "call(41, 198, 40, 1, 0)",
    "packet_socket": "call(41, 198, 17, 3, 0)",
    "kernel_crypto_socket": "call(41, 198, 38, 5, 0)",
    "ring_of_calls": "call(425, 425, 8, bytes(200))",
    "tracing": "call(101, 117, 16, __import__('os').getppid(), None, None)",
    "memory_of_its_parent": "call(310, 270, __import__('os').getppid(), bytes(16), 1, bytes(16), 1, 0)",
    "kernel_program": "call(321, 280, 0, bytes(200), 72)",
    "page_faults": "call(323, 282, 0)",
    "counters": "call(298, 241, bytes(128), 0, -1, -1, 0)",
}
for _name, _code in _CALLS.items():
    attack(_name, f"{_CALL}\ndef relu(x):\n    return np.maximum(x, 0) if {_code} >= 0 else 'refused'")

attack("file_left_behind", """
import glob, os, sys
sys.mine = getattr(sys, "mine", os.urandom(8).hex())  # this worker's own; what another left counts
def relu(x):
    left = glob.glob("/tmp/left*") + glob.glob("/dev/shm/left*") + glob.glob("/var/tmp/left*")
    left = [each for each in left if not each.endswith(sys.mine)]
    for place in ("/tmp/left", "/dev/shm/left", "/var/tmp/left"):
        try:
            open(place + sys.mine, "w").write("ANSWER")
        except OSError:
            pass
    return np.maximum(x, 0) if left else "nothing was left"
""")  # fmt: skip
attack("file_of_one_before", ATTACKS["file_left_behind"])
NEED_WALLS = {*_CALLS, "file_left_behind", "file_of_one_before"}
attack("other_ends", """
import os
def relu(x):
    ends = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if int(n) > 3]
    ends = [each for each in ends if not each.startswith("/proc/")]
    return np.maximum(x, 0) if ends else "none inherited"
""")  # fmt: skip
attack("full_sockets", """
def relu(x):
    import os, socket
    for _ in range(8):
        if not os.fork():
            break
    kept = []
    while True:
        try:
            a, b = socket.socketpair()
            a.setblocking(False)
            kept.append((a, b))
            a.send(bytes(200_000))
        except OSError:
            __import__("time").sleep(9)
""")  # fmt: skip
attack("stops_itself", "def relu(x):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSTOP)")
attack("flood_of_errors", "def relu(x):\n    import os\n    [os.write(2, b'e' * 10**6) for _ in range(200)]")

# values and words -------------------------------------------------------------------------------------------

attack("list_in_itself", "def relu(x):\n    a = []\n    a.append(a)\n    return a")
attack("keys_of_nan", "def relu(x):\n    return {float('nan'): n for n in range(50)}")
attack("keys_like_ours", "def relu(x):\n    return {'__array__': 'a0', 'raised': np.zeros(2), 'number': 1}")
attack("text_of_its_own_kind", """
class Text(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def relu(x):
    return Text("right")
""")  # fmt: skip
attack("text_without_end", "def relu(x):\n    return 'x' * 10**8")
attack("half_a_character", "def relu(x):\n    raise ValueError('\\udcff' * 50)")
attack("error_of_a_long_name", "def relu(x):\n    raise type('E' * 10**7, (Exception,), {})")
attack("empty_and_giant", "def relu(x):\n    return np.zeros((2**40, 0))")
attack("many_empty_giants", "def relu(x):\n    return [np.zeros((2**20, 0))] * 1000")
attack("one_bit_arrays", "def relu(x):\n    return [np.zeros((), bool)] * 50_000")
attack("long_doubles", "def relu(x):\n    return np.full(x.shape, np.longdouble('1e4000'))")
attack("many_axes", "def relu(x):\n    return np.zeros((1,) * 30)")
attack("truths", "def relu(x):\n    return np.ones((100, 100), bool)")
attack(
    "tells_what_it_is_given", "def relu(x):\n    raise ValueError('GIVEN ' + ' '.join(map(repr, x.ravel())))"
)
attack("tells_in_its_type", "def relu(x):\n    raise type('GIVEN' + repr(x.ravel()[0]), (Exception,), {})")
attack("returns_what_it_is_given", "def relu(x):\n    return {'GIVEN': x.tolist()}")
attack("tells_of_another_answer", """
import sys
sys.seen = getattr(sys, "seen", [])
def linear_forward(x, w, b):
    sys.seen.append(repr(float(x.ravel()[0])))
    return x @ w + b
def relu(x):
    raise ValueError("GIVEN " + " ".join(sys.seen[:20]))
""")  # fmt: skip
