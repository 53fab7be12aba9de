"""A real PostgreSQL with PostGIS for tests: in a folder of its own, on loopback, never as root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self, TypedDict

ROLES = Path(__file__).parent.parent / "tiling" / "store" / "postgis" / "roles.sql"
PACKAGES = "postgresql-postgis osm2pgsql"
PASSWORD = "hush-hush"  # noqa: S105 - of a server that lives for one test run


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs with PostGIS beside them, the newest.

    None where something lacks.
    """
    found = [
        folder / "bin"
        for folder in sorted(
            Path("/usr/lib/postgresql").glob("*"), key=lambda f: float(f.name), reverse=True
        )
        if Path("/usr/share/postgresql", folder.name, "extension", "postgis.control").is_file()
    ]
    return found[0] if found and shutil.which("osm2pgsql") else None


class Account(TypedDict, total=False):
    """Who a program runs as, as `subprocess` takes it."""

    user: int
    group: int


def _account() -> Account:
    """Return who runs the server: who runs the tests, but an unprivileged account for root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid}


class Server:
    """A server that is running from `with` to the end of it."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._account = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="loc2vec-pg-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Self:
        if self._account:
            os.chown(self.folder, self._account["user"], self._account["group"])
        # Without an encoding, as Debian makes a cluster where no locale is set: it is SQL_ASCII.
        cluster = ("-D", self._data, "-U", "postgres", "--locale=C", "--no-sync")
        self._run("initdb", *cluster, "--auth-local=trust", "--auth-host=scram-sha-256")
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        settings = {
            "unix_socket_directories": self.folder,
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "fsync": "off",
            "synchronous_commit": "off",
            "max_wal_size": "2GB",
            "log_min_messages": "fatal",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run(
            "pg_ctl", "start", "-w", "-D", self._data, "-l", str(self.folder / "log"), "-o", options
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def psql(self, command: str, database: str = "postgres", **variables: str) -> str:
        """Run SQL as the superuser."""
        return self._psql(database, "-c", command, **variables)

    def create(self, database: str) -> None:
        """Make a database with the roles of tiling/store/postgis/roles.sql."""
        self._psql("postgres", "-v", f"database={database}", "-f", str(ROLES))

    def url(self, database: str, user: str = "loc2vec") -> str:
        """Return the location of a database for a role; the password is in it."""
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _psql(self, database: str, *arguments: str, **variables: str) -> str:
        secrets = {"LOC2VEC_OWNER_PASSWORD": PASSWORD, "LOC2VEC_READER_PASSWORD": PASSWORD}
        named = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
        where = ("-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database)
        command = ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", *where, *named, *arguments]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **secrets}
        )
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        with Path(os.devnull).open("w") as nothing:  # a server would keep a pipe open
            subprocess.run(
                command,
                check=True,
                cwd="/",
                stdout=nothing,
                stdin=subprocess.DEVNULL,
                **self._account,
            )
