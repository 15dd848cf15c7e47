"""Compile ``src/medmirror/native/*.c`` to a plain shared library, which any Python loads with ctypes.

With this machine's C compiler, else with the one of the wheel ``ziglang``, else not at all: then rows are made in
Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent / "backend"))

from medmirror_backend import compiler, wanted

FLAGS = ["-std=c11", "-O3", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden"]
ENDING = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


class BuildLibrary(build_ext):
    """Build a library without anything of Python's in it, and go on without when that fails."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ENDING

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        commands = [command for command in (compiler(), _zig()) if command]
        if not wanted():
            self.warn("MEDMIRROR_NATIVE=0: the fast readers are not compiled.")
            return
        for command in commands:
            with tempfile.TemporaryDirectory() as cache:
                environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache}
                try:
                    subprocess.run([*command, *FLAGS, *ext.sources, "-o", str(target)], check=True, env=environment)
                except (OSError, subprocess.CalledProcessError) as error:
                    self.warn(f"{command[0]} cannot compile the fast readers: {error}")
                else:
                    return
        target.unlink(missing_ok=True)
        self.warn("Installed without the fast readers: everything will load many times slower. Install a C compiler.")


def _zig() -> list[str] | None:
    return [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None


class AnyPython(bdist_wheel):
    """A wheel for every Python of this platform: the library is not linked with one."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[
        Extension(
            "medmirror.native.xmlrows",
            sources=sorted(str(path) for path in Path("src/medmirror/native").glob("*.c")),
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": AnyPython},
)
