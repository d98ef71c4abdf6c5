"""A statement of practice: what the judge found, signed by an instructor, and verified without a server.

It is signed by Ed25519 (RFC 8032). What it attests and what it doesn't stands in it, in plain words.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dl_course.grading.names import printable

MOST_BYTES = 2**20
ATTESTS = (
    "These exercises were answered in a notebook handed in under this name, and the answers gave the right "
    "numbers for hidden inputs. Not attested: who wrote them, and with whose help."
)
_FORMAT = "dl_course statement of practice, 1"


def keys(path: Path) -> Path:
    """Make a key pair: the private key at the path, readable by you alone, and PATH.pub; return the latter.

    FileExistsError where one of the two is there already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name}.pub")
    for each in (path, public):
        if each.exists():
            raise FileExistsError(f"'{each}' is there already; a new key would make old signatures worthless")
    key = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.touch(0o600)
    path.write_bytes(secret)
    shown = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, shown))
    return public


def certificate(result: dict[str, Any], key: Path, issuer: str) -> dict[str, Any]:
    """Return a signed statement of a judge's result. ValueError where that or the key is none.

    result: as the judge stored it, in results/ · issuer: who signs, in words, such as a course and a school.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = _loaded(key, lambda text: load_pem_private_key(text, None), Ed25519PrivateKey)
    _check(result)
    passed = [name for name, mark in result["exercises"].items() if mark["status"] == "passed"]
    statement = {
        "format": _FORMAT,
        "student": result["student"],
        "chapter": result["chapter"],
        "passed": passed,
        "points": result["points"],
        "of": result["of"],
        "issuer": issuer,
        "date": datetime.now(UTC).date().isoformat(),
        "attests": ATTESTS,
    }
    signature = base64.b64encode(private.sign(_bytes(statement))).decode()
    return {"statement": statement, "signature": signature}


def verify(text: str, key: Path) -> dict[str, Any]:
    """Return the statement that a signed file makes.

    ValueError where the text is none, was changed since it was signed, or was signed with another key, and
    where the key's file is no Ed25519 public key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = _loaded(key, load_pem_public_key, Ed25519PublicKey)
    try:
        if len(text) > MOST_BYTES:
            raise ValueError("larger than any statement")
        signed = json.loads(text)
        statement = signed["statement"]
        signature = base64.b64decode(signed["signature"], validate=True)
        known = statement["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("that is no statement of practice: dl-course certificate writes one") from error
    if not known:
        raise ValueError(
            f"that statement has another form: '{printable(statement['format'], 60)}'; known: '{_FORMAT}'"
        )
    try:
        public.verify(signature, _bytes(statement))
    except InvalidSignature as error:
        raise ValueError("not genuine: it was changed, or signed with another key than this one") from error
    return dict(statement)


def _bytes(statement: dict[str, Any]) -> bytes:
    """Return one text for one statement, whatever the order and spaces of its file."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _check(result: Any) -> None:
    try:
        marks = [result["points"], result["of"], *(each["status"] for each in result["exercises"].values())]
        whole = all(map(math.isfinite, marks[:2])) and all(type(each) is str for each in marks[2:])
        whole &= type(result["student"]) is type(result["chapter"]) is str
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError("that is no result of the judge: give RESULTS/results/STUDENT.json")


def _loaded(path: Path, load: Any, kind: type) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = load(path.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # or locked by a password
        raise ValueError(
            f"'{path}' is no Ed25519 key: dl-course certificate --new-key FILE makes one"
        ) from error
    if not isinstance(key, kind):
        wanted = "private" if "Private" in kind.__name__ else "public"
        raise ValueError(f"'{path}' holds another key than the Ed25519 {wanted} one that is needed here")
    return key
