"""Removes from an environment what the functions never load, so that the image is smaller.

Usage: trim.py FOLDER, the `site-packages` of the environment. It prints what each rule has saved. The test
`tests/e2e/test_image.py` imports every module of ours in the image and uses what is left.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """Paths below the folder that are not needed, but for those that are kept, and why."""

    why: str
    patterns: tuple[str, ...]
    kept: frozenset[str] = frozenset()


_S3: Final = frozenset({"s3", "sts", "sso", "sso-oidc", "signin"})
_UNUSED: Final = (
    *("azurefs", "csv", "dataset", "dataset_orc", "dataset_parquet", "dataset_parquet_encryption", "feather", "flight"),
    *("gcsfs", "hdfs", "json", "orc", "parquet_encryption", "pyarrow_cpp_tests", "s3fs", "substrait"),
)
_OTHERS: Final = ("starlette", "uvicorn", "*.dist-info/RECORD")

RULES: Final = (
    Rule(
        "headers and tests",
        ("pyarrow/include", "pyarrow/src", "**/tests", "**/*.pyi", "**/*.pxd", "**/*.pxi", "**/*.pyx"),
    ),
    Rule(
        "parts of Arrow that nothing of ours uses: its server, other formats, and file systems of its own",
        ("pyarrow/libarrow_flight*", "pyarrow/libarrow_python_flight*", *(f"pyarrow/_{part}.*.so" for part in _UNUSED)),
    ),
    Rule(
        "services of AWS other than S3 and those that give credentials",
        ("botocore/data/*/", "boto3/data/*/", "boto3/examples"),
        _S3,
    ),
    Rule("servers that the functions framework has besides ours, and lists of installed files", _OTHERS),
    Rule("early versions of Google's APIs", ("google/cloud/tasks_v2beta*", "google/cloud/bigquery_storage_v1[a-z]*")),
    Rule(
        "highlighting of languages other than Python, for `da`",
        ("pygments/lexers/*.py", "pygments/lexers/__pycache__/*"),
        frozenset({"__init__", "_mapping", "python"}),
    ),
)


_OURS: Final = ("analyst", "da", "functions")


def main(folder: Path) -> None:
    """Apply all rules, link equal copies of libraries, and strip libraries of the symbols that only linkers need."""
    for rule in RULES:
        saved = 0
        for path in sorted({path for pattern in rule.patterns for path in folder.glob(pattern)}):
            if path.name.partition(".")[0] not in rule.kept and path.exists():
                saved += _size(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        print(f"{saved / 1e6:6.1f} MB  {rule.why}")
    print(f"{_compile(folder) / 1e6:6.1f} MB  sources of packages of others, which are compiled")
    print(f"{_link(folder / 'pyarrow') / 1e6:6.1f} MB  copies of libraries, which wheels have instead of links")
    print(f"{_strip(folder) / 1e6:6.1f} MB  symbols that only linkers need")


def _compile(folder: Path) -> int:
    """Replace sources by what was compiled of them. Ours stay: the functions framework loads a function from its source."""
    saved = 0
    for source in folder.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        if source.relative_to(folder).parts[0] not in _OURS and compiled.is_file():
            saved += source.stat().st_size
            compiled.replace(source.with_suffix(".pyc"))
            source.unlink()
    return saved


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _link(folder: Path) -> int:
    """Replace `libx.so` and `libx.so.1.2` by links to an equal `libx.so.1`."""
    saved = 0
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("lib*.so*")):
        by_name.setdefault(path.name.partition(".so")[0], []).append(path)
    for first, *others in by_name.values():
        for other in others:
            if not other.is_symlink() and other.read_bytes() == first.read_bytes():
                saved += other.stat().st_size
                other.unlink()
                other.symlink_to(first.name)
    return saved


def _strip(folder: Path) -> int:
    """Strip libraries, where the system has `strip`."""
    if shutil.which("strip") is None:
        return 0
    libraries = [path for path in folder.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    before = sum(path.stat().st_size for path in libraries)
    for path in libraries:
        subprocess.run(["strip", "--strip-unneeded", str(path)], check=False, stderr=subprocess.DEVNULL)
    return before - sum(path.stat().st_size for path in libraries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
