"""Packages: ZIP files with one notebook, or with one Python module that becomes a notebook."""

import codecs
import io
import lzma
import tokenize
import zipfile
import zlib

from jupyter_exec_ext.core.errors import MalformedRequestError, TooLargeError
from jupyter_exec_ext.dialects.qinling.modules import notebook_of_module
from jupyter_exec_ext.services.notebook_files import notebook_of
from jupyter_exec_ext.services.notebook_format import Content

MAX_ENTRIES = 10_000

CODECS = frozenset(
    ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "iso8859-15", "cp1251", "cp1252", "koi8-r")
)
"""In what a module may be written: not in what takes hours to read, as punycode does."""

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_HEAD_OF_ENTRY = b"PK\x01\x02"


def package_of(text: str, path: str) -> bytes:
    """Return a ZIP file with the notebook: the same text gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        name = path.rpartition("/")[2].encode("utf-8", "replace").decode()
        package.writestr(zipfile.ZipInfo(name, _FIRST_DAY), text.encode("utf-8", "replace"))
    return buffer.getvalue()


def notebook_in(package: bytes, *, entry: str | None, max_bytes: int) -> tuple[str, Content]:
    """Return the name and the content of the only notebook in a package.

    Without one it is made of the only Python module, and has the module's name.

    Args:
        entry: The function of a module to call, as ``module.function``.

    Raises:
        MalformedRequestError: It is no ZIP file, or has neither, or several.
        InvalidNotebookError: The notebook is none.
        TooLargeError: What is in it has more than *max_bytes*.
    """
    name, data = _read(package, max_bytes)
    try:
        if name.endswith(".ipynb"):
            return name.rpartition("/")[2], notebook_of(data.decode())
        source = _source_of(data)
    except (UnicodeError, SyntaxError, LookupError) as error:
        raise MalformedRequestError("The file in the package is no text.") from error
    module = name.removesuffix(".py").replace("/", ".")
    return module.rpartition(".")[2], notebook_of_module(source, module, entry)


def _source_of(data: bytes) -> str:
    """Return the text of a module (PEP 263), with the ends of lines as Python reads them.

    Raises:
        LookupError: It is written in what is not read here.
        SyntaxError, UnicodeError: It is not written in what it says.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if codecs.lookup(encoding).name not in CODECS:
        raise LookupError(encoding)
    return io.IncrementalNewlineDecoder(None, translate=True).decode(data.decode(encoding))


def _read(package: bytes, max_bytes: int) -> tuple[str, bytes]:
    """Return the path in *package* of what a function is made of, and its content."""
    # Before all entries are read: each of them begins so.
    if package.count(_HEAD_OF_ENTRY) > MAX_ENTRIES:
        raise MalformedRequestError(f"A package has at most {MAX_ENTRIES} files.")
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            name = _chosen(archive.namelist())
            with archive.open(name) as member:
                data = member.read(max_bytes + 1)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        lzma.LZMAError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
    ) as error:
        raise MalformedRequestError("Package is not a valid ZIP file.") from error
    if len(data) > max_bytes:
        raise TooLargeError(f"what a function is made of has at most {max_bytes} bytes")
    return name, data


def _chosen(names: list[str]) -> str:
    names = [name for name in names if not name.startswith("__MACOSX/")]
    notebooks = [
        name for name in names if name.endswith(".ipynb") and ".ipynb_checkpoints/" not in name
    ]
    modules = [name for name in names if name.endswith(".py")]
    found = notebooks or modules
    if len(found) != 1:
        raise MalformedRequestError(
            "A function is made of one notebook (.ipynb), or of one Python module; this package"
            f" has {len(notebooks)} notebooks and {len(modules)} modules."
        )
    return found[0]
