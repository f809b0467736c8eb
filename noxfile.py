"""Every task of the project, for people and for CI alike: `nox -s lint tests`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "build", "tests"]

BUILD = ["scikit-build-core>=0.10", "pybind11>=3", "cmake>=3.20", "ninja"]
SOURCES = [
    str(p) for d in ("src/cpp", "bench/cpp") for p in sorted(Path(d).rglob("*.[ch]pp"))
]
# Tests of the native module and of the layers on it: what the sanitizers should see.
NATIVE_TESTS = [
    "core",
    "layer_gru",
    "cells",
    "input_decay",
    "layers",
    "bidirectional",
    "memory",
    "stack",
    "dense",
    "inputs",
    "masks",
    "fit_lists",
    "threads",
    "optimizers",
    "losses",
]

# What the site consists of, in the places where it is in the repository.
SITE = ["*.md", "LICENSE", "docs/*", "examples/*.*", "bench/results/**/*.*"]


def project_group(name: str) -> list[str]:
    """Requirements of a dependency group, with no group inside."""
    project = nox.project.load_toml("pyproject.toml")
    return [r for r in project["dependency-groups"][name] if isinstance(r, str)]


def install_wheel(session: nox.Session, extras: str) -> None:
    """Install the wheel that `build` left in dist/."""
    wheels = sorted(Path("dist").glob("grufast-*.whl"))
    if not wheels:
        session.error("dist/ has no wheel: run `nox -s build` first")
    session.install(f"{wheels[-1]}{extras}", "--force-reinstall")


def gcc_library(name: str) -> str:
    """Where g++ finds one of its libraries."""
    command = ["g++", f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.strip()


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint rules and types."""
    session.install(*project_group("lint"), *project_group("typing"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("clang-format", "--dry-run", "--Werror", *SOURCES)
    session.run("mypy")


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Rewrite the sources as `lint` wants them."""
    session.install(*project_group("lint"))
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")
    session.run("clang-format", "-i", *SOURCES)


@nox.session
def dev(session: nox.Session) -> None:
    """Editable install into .venv that recompiles what changed on import."""
    session.run("python", "-m", "venv", ".venv")
    python = str(Path(".venv/bin/python").absolute())
    pip = [python, "-m", "pip", "install", "-q"]
    session.run(*pip, *BUILD, *project_group("lint"), external=True)
    options = [
        "--no-build-isolation",
        "-Ceditable.rebuild=true",
        "-Ceditable.verbose=false",
    ]
    session.run(*pip, *options, "-e", ".[test]", external=True)


@nox.session
def build(session: nox.Session) -> None:
    """A wheel in dist/, warnings being errors; checks what its kernels export."""
    session.install(*BUILD, "build")
    shutil.rmtree("dist", ignore_errors=True)
    options = ["-Cbuild-dir=build/wheel", "-Ccmake.define.GRUFAST_WERROR=ON"]
    session.run("python", "-m", "build", "--wheel", "--no-isolation", *options)
    # An inline function shared by objects of different instruction sets would be merged
    # by the linker, and might keep the copy that this CPU cannot run.
    for path in sorted(Path("build/wheel").glob("CMakeFiles/kernels_*.dir/**/*.o")):
        command = ["nm", "--demangle", "--defined-only", "--extern-only", str(path)]
        names = subprocess.run(command, capture_output=True, text=True, check=True)
        symbols = [line.split()[-1] for line in names.stdout.splitlines() if line]
        if len(symbols) != 1 or not symbols[0].endswith("::kernels"):
            session.error(f"{path} exports {symbols}, expected its kernel table alone")
        session.log(f"{symbols[0]} is all that its object exports")


@nox.session
def tests(session: nox.Session) -> None:
    """The suite, once per instruction set of this machine, on the wheel in dist/.

    GRUFAST_TEST_ALSO names further packages to install: tests that need them are
    skipped where they are missing.
    """
    install_wheel(session, "[test]")
    if also := os.environ.get("GRUFAST_TEST_ALSO"):
        session.install(*also.split())
    code = "import grufast; print(*grufast.build_info()['isas_available'])"
    isas = session.run("python", "-c", code, silent=True)
    for isa in str(isas).split():
        session.run("pytest", *session.posargs, env={"GRUFAST_ISA": isa})


@nox.session
def sanitize(session: nox.Session) -> None:
    """The native module under AddressSanitizer and UBSan."""
    session.install(*BUILD)
    session.install(
        "--no-build-isolation",
        "--verbose",
        "-Cbuild-dir=build/sanitize",
        "-Ccmake.build-type=Debug",
        "-Ccmake.define.CMAKE_CXX_FLAGS_DEBUG=-O1",
        "-Ccmake.define.GRUFAST_SANITIZE=address,undefined",
        ".[test]",
    )
    libraries = [gcc_library("libasan.so"), gcc_library("libstdc++.so")]
    env = {
        # The second one too, or the first finds no exceptions to intercept.
        "LD_PRELOAD": " ".join(libraries),
        # Python itself leaks on purpose; bad_alloc must stay an exception.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    code = "import grufast; print(*grufast.build_info()['isas_available'])"
    found = session.run("python", "-c", code, silent=True, env=env)
    widest = str(found).split()[-1]
    # The core under every instruction set, what is built on it under the widest one.
    core, *others = [f"tests/test_{name}.py" for name in NATIVE_TESTS]
    session.run("pytest", core, *session.posargs, env=env)
    # How much memory a large training takes says nothing more here, in minutes.
    others += ["-k", "not takes_a_small_part_of_the_memory"]
    session.run("pytest", *others, *session.posargs, env={**env, "GRUFAST_ISA": widest})


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks in C++, run as briefly as their checks of the results allow."""
    session.install("cmake>=3.20", "ninja")
    options = ["-DGRUFAST_BENCH=ON", "-DGRUFAST_WERROR=ON"]
    session.run("cmake", "-S", ".", "-B", "build/bench", "-G", "Ninja", *options)
    session.run("cmake", "--build", "build/bench")
    for name in ("kernels", "recurrent"):
        program = f"build/bench/bench/cpp/grufast_bench_{name}"
        session.run(program, "--benchmark_min_time=0.001", external=True)


@nox.session
def demo(session: nox.Session) -> None:
    """The README's demo, from the wheel in dist/ into build/demo."""
    install_wheel(session, "[plot]")
    session.run("grufast", "demo", "--out", "build/demo")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages as a site in build/site; a link that leads nowhere is an error."""
    session.install(*project_group("docs"))
    pages = Path("build/pages")
    shutil.rmtree(pages, ignore_errors=True)
    for pattern in SITE:
        for path in Path().glob(pattern):
            (pages / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, pages / path)
    session.run("mkdocs", "build", "--strict", "--clean")


@nox.session
def sizes(session: nox.Session) -> None:
    """Size of the wheel, and seconds that `import grufast` adds to NumPy's."""
    install_wheel(session, "")
    wheel = sorted(Path("dist").glob("grufast-*.whl"))[-1]
    megabytes = wheel.stat().st_size / 1e6
    code = (
        "import numpy, time; start = time.perf_counter(); import grufast;"
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        runs = [
            float(str(session.run("python", "-c", code, silent=True))) for _ in range(5)
        ]
    seconds = sorted(runs)[2]
    session.log(f"wheel: {megabytes:.2f} MB (limit 3)")
    session.log(f"import grufast: {seconds:.3f} s beyond NumPy (limit 0.15)")
    if megabytes > 3 or seconds > 0.15:
        session.error("over the limit")


if __name__ == "__main__":
    sys.exit("run me with nox")
