"""What the scripts of this folder, and bench/postgres, share: a PostgreSQL in a container, and the shop in it."""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DRUPE = os.environ.get("DRUPE", "drupe")
IMAGE, LOADED, WARM = "postgres-15", "postgres-15:loaded", "postgres-15:warm"
LIMIT_S = 600  # of whatever is waited for

PROGRAMS = "/usr/lib/postgresql/15/bin/"
SERVER = (PROGRAMS + "postgres", "-D", "/var/lib/postgresql/15/main",
          "-c", "config_file=/etc/postgresql/15/main/postgresql.conf", "-c", "external_pid_file=", "-c", "listen_addresses=",
          "-c", "unix_socket_directories=/tmp", "-c", "shared_buffers=192MB")
# Not /usr/bin/psql, which is a Perl program that looks for this one.
PSQL = (PROGRAMS + "psql", "-h", "/tmp", "-qAtX", "-v", "ON_ERROR_STOP=1")
# psql exits with 2, and has read nothing, as long as no server lets it in.
PATIENTLY = ("sh", "-c", 'for _ in $(seq 3000); do "$@"; code=$?; [ $code = 2 ] || break; sleep 0.01; done; exit $code', "sh")

CUSTOMERS = 10_000
FIRST_QUERY = "SELECT count(*), min(note) FROM purchase WHERE customer = 4711;"
FIRST_ANSWER = "25|" + 300 * "n"


def drupe(*argv, text=None):
    """What it says; a RuntimeError if it fails."""
    done = subprocess.run((DRUPE,) + argv, input=text, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"drupe {' '.join(argv[:4])} exited with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def start(image, *options):
    """A container of it, with a server that will be up soon."""
    return drupe("run", "-d", "--memory", "768m", *options, "--user", "postgres", image, *SERVER)


def psql(container, text, patiently=False):
    """What psql says to the text; patiently: once there is a server to connect to."""
    return drupe("exec", "-i", "-u", "postgres", container, *(PATIENTLY if patiently else ()), *PSQL, text=text)


def schema():
    with open(HERE + "/schema.sql") as file:
        return file.read()
