"""onnxruntime-web, which runs the page's files in a browser: given, or fetched once."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ... import InvalidInputError
from ..files.writing import reason_of, writable_folder, write_whole

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the package's archive in the npm registry.
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
_REGISTRY = "https://registry.npmjs.org"
# What the page needs of it -> SHA-256 in this version.
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
# Bytes of an archive at most; this version's has 33 million. Of a file in it, 14 million.
_MOST_BYTES = 100_000_000
# Seconds in which a server must go on.
_PATIENCE = 30
# Where the files lie in a folder that was given: the files themselves, or a package.
_INSIDE = ("", "dist", "package/dist", f"node_modules/{PACKAGE}/dist")

Tell = Callable[[str], None]


def runtime_files(given: str | None, tell: Tell = lambda text: None) -> Mapping[str, bytes]:
    """The files of onnxruntime-web that the page needs, by their names there.

    Args:
        given: a folder that holds them (or the npm package), the package's archive (.tgz), or the
            archive's address. None: the user's cache, which the npm registry fills once;
            `npm_config_registry` names another one, as for npm.
        tell: called with a line before something is fetched.

    What is fetched must have this version's SHA-256. What lies on the disk is taken as it is.

    Raises:
        InvalidInputError: they are not there, or cannot be fetched; it says what to do.
    """
    if given is None:
        return _of_cache(tell)
    if re.match(r"https?://", given):
        return _unpacked(_fetched(given, tell), given)
    path = Path(given)
    if path.is_file():
        return _unpacked(_read(path), given)
    return _of_folder(path)


def archive_address() -> str:
    """Where the package's archive is, in the registry that npm would ask."""
    names = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
    registry = next(filter(None, map(os.getenv, names)), _REGISTRY)
    return f"{registry.rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"


def cache_folder() -> Path:
    """Where the files are kept: in the user's cache, a folder for each version."""
    home = Path.home()
    if sys.platform == "win32":
        known = os.getenv("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        known = home / "Library" / "Caches"
    else:
        known = os.getenv("XDG_CACHE_HOME") or home / ".cache"
    return Path(known) / "onnxplain" / f"{PACKAGE}-{VERSION}"


def _of_cache(tell: Tell) -> Mapping[str, bytes]:
    folder = cache_folder()
    try:
        kept = {name: (folder / name).read_bytes() for name in FILES}
        if all(_digest(content) == FILES[name] for name, content in kept.items()):
            return kept
    except OSError:
        pass  # nothing is there yet
    address = archive_address()
    found = _unpacked(_fetched(address, tell), address)
    try:
        writable_folder(folder)
        for name, content in found.items():
            write_whole(folder / name, lambda file, content=content: file.write(content))
    except (InvalidInputError, OSError) as error:
        tell(f"not kept for the next time: {error}")
    return found


def _of_folder(folder: Path) -> Mapping[str, bytes]:
    for inside in _INSIDE:
        paths = {name: folder / inside / name for name in FILES}
        if all(path.is_file() for path in paths.values()):
            return {name: _read(path) for name, path in paths.items()}
    raise InvalidInputError(
        f"--runtime: expected a folder with {' and '.join(FILES)}, the archive of the npm package "
        f"{PACKAGE}, or its address; got {os.fspath(folder)!r}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"--runtime: {reason_of(error)}") from error


def _fetched(address: str, tell: Tell) -> bytes:
    """The archive at an address, which must be this version's."""
    tell(f"fetching {PACKAGE} {VERSION} (33 MB) from {address}")
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
            content = answer.read(_MOST_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error)
        raise InvalidInputError(
            f"cannot fetch {address} ({reason}); download that file elsewhere and give it with "
            "--runtime FILE"
        ) from error
    if _digest(content) != SHA256:
        raise InvalidInputError(
            f"{address} is not {PACKAGE} {VERSION}: expected SHA-256 {SHA256}, "
            f"got {_digest(content)}"
        )
    return content


def _unpacked(archive: bytes, name: str) -> Mapping[str, bytes]:
    """The files in an archive of the npm package."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            for member in opened:
                own = PurePosixPath(member.name).name
                if own in FILES and member.isfile() and member.size < _MOST_BYTES:
                    inside = opened.extractfile(member)
                    found[own] = b"" if inside is None else inside.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"--runtime: expected the archive of the npm package {PACKAGE} (.tgz), got {name!r}"
        ) from error
    missing = [one for one in FILES if one not in found]
    if missing:
        raise InvalidInputError(f"--runtime: {name!r} lacks {' and '.join(missing)}")
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
