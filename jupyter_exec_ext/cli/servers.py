"""Which server a command talks to: a given one, a running one, or one of its own."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from jupyter_exec_ext.cli.arguments import UsageError
from jupyter_exec_ext.cli.embedded import BASE_URL, EmbeddedServer, running_servers
from jupyter_exec_ext.client import ClientError, ExecClient

CHECK_SECONDS = 3.0

STARTING = "starting a server"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A server to talk to.

    Attributes:
        root: Its root folder; ``None`` for a server that was named, which may be anywhere.
        embedded: Our own server; ``None`` when it is somebody else's.
        others: More servers with the same records; each can cancel only what it runs itself.
    """

    client: ExecClient
    root: Path | None = None
    embedded: EmbeddedServer | None = None
    others: tuple[ExecClient, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether the server may still answer, as far as this process can know."""
        return self.embedded is None or self.embedded.is_alive


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is and what opens it."""

    url: str
    token: str | None


def named_server(
    url: str | None, token: str | None, environment: Mapping[str, str]
) -> Address | None:
    """Return the server that the options name, else the environment; ``None`` if neither does.

    A URL as Jupyter prints it (``http://localhost:8888/lab?token=…``) is taken too.

    Raises:
        UsageError: That is no URL of a server, or there is a token for no server.
    """
    option = "--server" if url else "JUPYTER_EXEC_URL"
    if token and not url and not environment.get("JUPYTER_EXEC_URL"):
        raise UsageError("--token needs --server")
    if url is None:
        url = environment.get("JUPYTER_EXEC_URL")
        token = token or environment.get("JUPYTER_EXEC_TOKEN")
    elif token is None and url == environment.get("JUPYTER_EXEC_URL", url):
        token = environment.get("JUPYTER_EXEC_TOKEN")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and parts.username is None  # it would show in messages
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"{option}: not the URL of a server")
    path = parts.path
    in_query = parse_qs(parts.query).get("token")
    if in_query:
        token = token or in_query[0]
        # Without the query nothing tells the page from a base URL (/user/lab/).
        path = path.removesuffix("/lab").removesuffix("/tree")
    if token and not (token.isascii() and token.isprintable()):
        raise UsageError("--token: a token has printable ASCII characters only")
    return Address(url=urlunsplit((parts.scheme, parts.netloc, path, "", "")), token=token or None)


@contextmanager
def connect(
    address: Address | None,
    *,
    holds: Path,
    tell: Callable[[str], None],
    borrow: bool = False,
    root: Path | None = None,
) -> Iterator[Connection]:
    """Give a server, and stop it afterwards if it is our own.

    Args:
        address: The server that was named; ``None`` looks for one.
        holds: The file or folder that the server's root folder must hold.
        tell: Takes a word for people about what happens.
        borrow: Whether a server of another command will do, which ends with that command.
        root: The root folder of our own server; ``None`` for one that holds what is held.

    Raises:
        StartFailedError: None was found and our own did not start.
    """
    if address is not None:
        with ExecClient(address.url, address.token) as client:
            yield Connection(client=client)
        return
    found = find_server(holds)
    if found is not None:
        address, root = found
        tell(f"using the running server {address.url}, which keeps records of its own")
        with ExecClient(address.url, address.token, trust_env=False) as client:
            yield Connection(client=client, root=root)
        return
    borrowed = _borrowed_servers() if borrow else []
    if borrowed:
        with ExitStack() as stack:
            clients = [stack.enter_context(client) for client in borrowed]
            yield Connection(client=clients[0], others=tuple(clients[1:]))
        return
    tell(STARTING)
    with (
        EmbeddedServer(root or own_root(holds, Path.cwd())) as embedded,
        ExecClient(embedded.url, embedded.token, trust_env=False) as client,
    ):
        yield Connection(client=client, root=embedded.root, embedded=embedded)


def find_server(holds: Path) -> tuple[Address, Path] | None:
    """Return the running server whose root is nearest above *holds* and that answers; or none."""
    candidates = []
    for info in running_servers():
        url, token, root = (info.get(key) for key in ("url", "token", "root_dir"))
        if not (isinstance(url, str) and url.startswith(("http://", "https://"))):
            continue  # on a Unix socket
        # A server without a token takes no request that runs code; a server of another command
        # ends with that command.
        if not token or not root or info.get("base_url") == BASE_URL:
            continue
        if api_path(holds, Path(root)) is not None:
            candidates.append((Address(url=url, token=str(token)), Path(root)))
    candidates.sort(key=lambda candidate: len(candidate[1].resolve().parts), reverse=True)
    for address, root in candidates:
        if _answers(address):
            return address, root
    return None


def api_path(file: Path, root: Path) -> str | None:
    """Return the path of *file* for a server with this root; ``None`` when it cannot serve it.

    Servers do not serve hidden files by default.
    """
    for path, base in ((file.absolute(), root.absolute()), (file.resolve(), root.resolve())):
        try:
            relative = Path(os.path.normpath(path)).relative_to(os.path.normpath(base))
        except ValueError:
            continue
        if not any(part.startswith(".") for part in relative.parts):
            return relative.as_posix()
    return None


def own_root(holds: Path, folder: Path) -> Path:
    """Return the root of a server of our own: *folder* if that can serve the file, else its own."""
    if holds.is_dir():
        return holds.absolute()
    return folder if api_path(holds, folder) is not None else holds.absolute().parent


def _borrowed_servers() -> list[ExecClient]:
    """Return clients of the servers that other commands run: they share one set of records."""
    addresses = (
        Address(url=str(info.get("url")), token=str(info.get("token")))
        for info in running_servers()
        if info.get("base_url") == BASE_URL and info.get("token")
    )
    return [
        ExecClient(address.url, address.token, trust_env=False)
        for address in addresses
        if _answers(address)
    ]


def _answers(address: Address) -> bool:
    try:
        with ExecClient(address.url, address.token, trust_env=False) as client:
            client.capabilities(timeout_seconds=CHECK_SECONDS)
    except ClientError:
        return False
    return True
